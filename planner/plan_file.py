"""Plans read back from the JSON that `fit` and `estimate` print."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from hardware import PlannerError
from planner.plan import Plan
from planner.request import Request
from planner.result import EstimateResult, FitResult
from strategies import Quantization

_WAY_OUT = "planner fit ... --json > plan.json"


class PlanFileError(PlannerError):
    """A file that does not hold a plan."""


def is_plan(text: str) -> bool:
    """Whether a command's argument names a plan: `-`, or a file that is an answer of `fit` or `estimate`."""
    if text == "-":
        return True
    path = Path(text)
    try:
        return path.suffix == ".json" and b'"schema_version"' in path.read_bytes()
    except OSError:
        return False


def check_exists(text: str) -> None:
    """Raises PlanFileError for the name of a file that is not there."""
    if text.endswith(".json") and not Path(text).exists():
        raise PlanFileError(f"{text}: no such file", _WAY_OUT)


def arguments_of(file: str, index: int = 1) -> dict[str, Any]:
    """The arguments of `estimate` that give the plan of a file again; of a `fit`, the plan with that rank.

    Raises PlanFileError if the file does not hold such a plan.
    """
    request, plan = _read(file, index)
    chosen = {axis: choice for axis, choice in plan.strategy.model_dump().items() if choice is not None}
    if plan.strategy.quantization is Quantization.NONE:
        del chosen["quantization"]
    return {
        "model": request.model,
        "gpu": request.gpu,
        "gpus": request.gpus,
        "nodes": request.nodes,
        "sequence_length": request.sequence_length,
        "headroom": request.headroom,
        "evaluation_batch_size": request.evaluation_batch_size,
        "batching": request.batching,
        "mean_length": request.mean_length,
        "micro_batch_size": plan.micro_batch_size,
        "gradient_accumulation_steps": plan.gradient_accumulation_steps,
        **chosen,
    }


def _read(file: str, index: int) -> tuple[Request, Plan]:
    name = "standard input" if file == "-" else file
    try:
        content = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
        document = json.loads(content)
        if "plans" not in document:
            estimated = EstimateResult.model_validate(document, strict=False)
            return estimated.request, estimated
        found = FitResult.model_validate(document, strict=False)
    except (OSError, UnicodeDecodeError) as error:
        raise PlanFileError(f"{name} cannot be read: {error}", _WAY_OUT) from None
    except (ValueError, TypeError, ValidationError) as error:
        first = (
            str(error)
            .splitlines()[0]
            .replace("validation errors for", "problems as")
            .replace("EstimateResult", "an estimate")
        )
        hint = "planner fit ... --json and planner estimate ... --json print plans"
        raise PlanFileError(f"{name} is not a plan: {first}", hint) from None
    if not 0 < index <= len(found.plans):
        raise PlanFileError(f"{name} has {len(found.plans)} plans, not a plan {index}", "--plan 1 is the best")
    return found.request, found.plans[index - 1]
