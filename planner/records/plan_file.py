"""Reads plans back from the JSON that `fit` and `estimate` print."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from hardware import PlannerError
from hardware.files.json_text import JsonError, decoded, parse_json
from hardware.files.untrusted import UnreadableError, read_file, read_standard_input
from planner.models.trusted import named_in
from planner.records.asked.axes import RequestError
from planner.records.asked.request import Request
from planner.records.machines import MachineRanking
from planner.records.plan import Plan
from planner.records.result import EstimateResult, FitResult
from strategies import Quantization

MAX_FILE_BYTES: Final = 1 << 24
"""Bytes of the largest file that is read: an answer with 5,000 plans, as a long front has; one with ten has 40 kB."""

STANDARD_INPUT: Final = "-"
"""Name of standard input as a file."""

_WAY_OUT: Final = "planner fit ... --json > plan.json"


class PlanFileError(PlannerError):
    """Reports a file that does not hold a plan."""


def is_plan(text: str) -> bool:
    """Returns whether a command's argument names a plan: `-`, or a file with an answer of `fit` or `estimate`."""
    if text == STANDARD_INPUT:
        return True
    try:
        return text.endswith(".json") and b'"schema_version"' in read_file(text, MAX_FILE_BYTES, pipes=False)
    except UnreadableError:
        return False


def check_exists(text: str) -> None:
    """Raises PlanFileError if an argument is the name of a `.json` file that does not exist."""
    if text.endswith(".json") and not Path(text).exists():
        raise PlanFileError(f"{text}: no such file", _WAY_OUT)


def arguments_of(file: str, index: int | None = None, *, model: str | None = None) -> dict[str, Any]:
    """Returns the arguments of `estimate` that reproduce the plan in a file.

    Args:
        file: Path of the file, or `-` for standard input.
        index: Number of the plan in an answer of `fit`, from 1; the one to run if None.
        model: Name of the plan's model as the user repeats it. Without it, a plan whose model is code is refused, and
            a model on the Hub is not downloaded.

    Raises:
        PlanFileError: The file does not hold such a plan.
        PlannerError: The plan's model cannot be found, or is not trusted.
    """
    return arguments_of_plan(*read_plan(file, index), _name(file), model=model)


def arguments_of_plan(request: Request, plan: Plan, source: str, *, model: str | None = None) -> dict[str, Any]:
    """Returns the arguments of `estimate` that reproduce a plan.

    Args:
        request: The request that the plan answers.
        plan: The plan.
        source: Name of its source in errors.
        model: Name of the plan's model as the user repeats it, as for `arguments_of`.

    Raises:
        PlannerError: The plan's model cannot be found, or is not trusted.
    """
    chosen = {axis: choice for axis, choice in plan.strategy.model_dump().items() if choice is not None}
    if plan.strategy.quantization is Quantization.NONE:
        del chosen["quantization"]
    return {
        "model": named_in(source, request.model, model),
        "task": request.task,
        "gpu": request.machine or request.gpu,
        "gpus": request.gpus,
        "nodes": request.nodes,
        "sequence_length": request.sequence_length,
        "target_length": request.target_length,
        "headroom": request.headroom,
        "host_memory": request.host_memory_bytes,
        "loading": request.loading,
        "evaluation_batch_size": request.evaluation_batch_size,
        "batching": request.batching,
        "mean_length": request.mean_length,
        "outputs": request.outputs,
        "micro_batch_size": plan.micro_batch_size,
        "gradient_accumulation_steps": plan.gradient_accumulation_steps,
        **chosen,
    }


def read_plan(file: str, index: int | None = None) -> tuple[Request, Plan]:
    """Returns the request and a plan of a file.

    Args:
        file: Path of the file, or `-` for standard input.
        index: Number of the plan in an answer of `fit`, from 1; the one to run if None.

    Raises:
        PlanFileError: The file does not hold such a plan.
    """
    name, found = _name(file), read_answer(file)
    if isinstance(found, MachineRanking):
        raise PlanFileError(f"{name} ranks machines", "choose one: the file has the command of each")
    if isinstance(found, EstimateResult):
        if index not in (None, 1):
            raise PlanFileError(f"{name} has one plan, not a plan {index}", "--plan 1")
        return found.request, found
    try:
        return found.request, found.plan(index)
    except RequestError as error:
        raise PlanFileError(f"{name}: {error.message}", error.hint) from None


def read_answer(file: str) -> FitResult | EstimateResult | MachineRanking:
    """Returns the answer of `fit`, `fit_machines` or `estimate` in a file, or on standard input.

    Raises:
        PlanFileError: The file does not hold one.
    """
    return _validated(_name(file), _document(file))


def _document(file: str) -> Any:
    """Returns the data of the JSON in a file or on standard input."""
    try:
        is_standard_input = file == STANDARD_INPUT
        content = read_standard_input(MAX_FILE_BYTES) if is_standard_input else read_file(file, MAX_FILE_BYTES)
        if not content.strip():
            raise PlanFileError(f"{_name(file)} is empty", _WAY_OUT)
        return parse_json(decoded(content))
    except UnreadableError as error:
        raise PlanFileError(f"{_name(file)}: {error}", _WAY_OUT) from None
    except JsonError as error:
        place = f":{error.line}:{error.column}" if error.line else ""
        raise PlanFileError(f"{_name(file)}{place} is not a plan: {error.message}", _WAY_OUT) from None


def _validated(name: str, document: Any) -> FitResult | EstimateResult | MachineRanking:
    """Returns the answer that a document holds; raises PlanFileError with the first problem if it holds none."""
    kind: type[FitResult | EstimateResult | MachineRanking] = EstimateResult
    if isinstance(document, dict) and "plans" in document:
        kind = FitResult
    elif isinstance(document, dict) and "machines" in document:
        kind = MachineRanking
    try:
        return kind.model_validate(document, strict=False)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"])) or "(file)"
        hint = "planner fit ... --json and planner estimate ... --json print plans"
        raise PlanFileError(f"{name} is not a plan: {place}: {first['msg']}"[:300], hint) from None


def _name(file: str) -> str:
    return "standard input" if file == STANDARD_INPUT else file
