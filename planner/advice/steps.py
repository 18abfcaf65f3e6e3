"""Takes one step along each axis from a configuration: what every other choice saves or costs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from planner.advice.trials import Trial, tried
from planner.advice.variants import Variants
from planner.problem.problem import Problem
from planner.records.explanation import Step
from planner.search import Candidate, Solver
from strategies import OPTIONS, Choice, Finetuning, Loading, Outputs, Space, UnquantizedDtype, WholeNumbers

_LEFT_OUT = frozenset({"framework"})
"""Options that set several others."""


_UNQUANTIZED = (UnquantizedDtype.FP32, UnquantizedDtype.BF16)
"""What is usual for embeddings, norms and head next to a quantized base."""


def steps_from(problem: Problem, solver: Solver, candidate: Candidate) -> tuple[Step, ...]:
    """Returns what each other choice of an axis saves or costs, one at a time, with all else as it is.

    Numbers of options and of the workload are halved and doubled. Choices that cannot run are left out, as are those
    that change neither memory nor time.

    Args:
        problem: The resolved request for one configuration.
        solver: A solver with its budget.
        candidate: The configuration.
    """
    values = candidate.strategy.to_options()
    variants = Variants(problem, Space(**{name: (value,) for name, value in values.items()}), solver)
    now = tried(variants.changed({}), candidate.strategy)
    if now is None:
        return ()
    usual, process = now.seconds_per_token(), candidate.process_bytes
    found = []
    for options in (*_of_techniques(values), *_of_workload(problem)):
        trial = _trial(variants, options, candidate)
        if trial is None:
            continue
        taken = trial.candidate().process_bytes
        step = Step.model_construct(
            option=next(iter(options)),
            value=_told(options),
            process_bytes=taken,
            saved_bytes=process - taken,
            relative_time=trial.seconds_per_token() / usual,
            fits=trial.fits,
        )
        if step.is_felt:
            found.append(step)
    return tuple(found)


def _trial(variants: Variants, options: dict[str, Any], candidate: Candidate) -> Trial | None:
    """Returns the configuration with other values of options, or None if it cannot run."""
    variant = variants.changed(options)
    strategy = next(variant.strategies(candidate.strategy), None)
    return tried(variant, strategy) if strategy is not None else None


def _of_techniques(values: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yields each other choice of the options that apply to a strategy, and half and twice its numbers."""
    for name, value in values.items():
        kind = OPTIONS[name].kind
        if name in _LEFT_OUT:
            continue
        if isinstance(kind, type) and issubclass(kind, Choice):
            for choice in kind:
                if choice is Finetuning.QLORA is not value:  # trainers differ in what they leave unquantized
                    yield from ({name: choice, "unquantized_dtype": dtype} for dtype in _UNQUANTIZED)
                elif choice is not value:
                    yield {name: choice}
        elif isinstance(kind, WholeNumbers) and value:
            numbers = (value // 2, value * 2)
            yield from ({name: number} for number in numbers if kind.low <= number <= kind.high and number)


def _of_workload(problem: Problem) -> Iterator[dict[str, Any]]:
    """Yields half and twice the micro-batch and the sequences, and other ways of loading and of the loop."""
    request = problem.request
    (size,) = request.micro_batch_size
    for number in (size // 2, size * 2):
        if number:
            yield {"micro_batch_size": number}
    if problem.memory.is_cheap:
        lengths = (request.sequence_length // 2, request.sequence_length * 2)
        context = problem.model.max_positions
        fixed = problem.model.tokens_per_sample is not None
        for length in lengths:
            if length and not fixed and (context is None or length <= context):
                yield {"sequence_length": length}
        yield from ({"outputs": choice} for choice in Outputs if choice is not request.outputs)
        if problem.cluster.gpus_per_node > 1:
            yield from ({"loading": choice} for choice in Loading if choice is not request.loading)


def _told(options: dict[str, Any]) -> str:
    """Returns the value of the first option, and the others with their names."""
    (_, first), *others = options.items()
    return ", ".join((_spelled(first), *(f"{name} {_spelled(value)}" for name, value in others)))


def _spelled(value: Any) -> str:
    return ",".join(value) if isinstance(value, tuple) else str(value)
