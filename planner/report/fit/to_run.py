"""Renders the plan to run: what it does, what fills the GPU, how fast it is, and the command that goes on."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence

from rich.console import RenderableType
from rich.text import Text

from hardware import PlannerError
from planner.models import find_model
from planner.records.asked.request import Request
from planner.records.plan import Plan
from planner.records.result import FitResult
from planner.report.parts import words
from planner.report.parts.blocks import Filling, Wrapped, on_host
from planner.report.parts.format import gib, gib_difference, grouped, plural, seconds, seconds_between, total_usd
from planner.report.parts.table import INDENT
from strategies import Finetuning, Framework, Objective, Sharding, Task

_PROGRAM = "planner"
_ENCODERS = (Task.SEQUENCE_CLASSIFICATION, Task.TOKEN_CLASSIFICATION, Task.MASKED_LM, Task.CONTRASTIVE)
"""What scripts train encoders to do, whole ones or beside adapters, on one GPU or as replicas."""
_METHODS = (Finetuning.FULL, Finetuning.LORA, Finetuning.QLORA)
_CONTINUED = " \\"
"""End of a line that a shell joins with the next one."""


def to_run(result: FitResult, command: Sequence[str], width: int) -> Iterator[RenderableType]:
    """Yields the plan to run.

    Args:
        result: The answer, with at least one plan.
        command: Arguments of the command that asked; empty for no line that goes on.
        width: Columns of the terminal.
    """
    plan, request = result.recommended, result.request
    number = result.numbered()(plan)
    says = words.strategy(plan.strategy, plan.data_parallel_size, brief=True)
    yield Wrapped(Text.assemble((f"plan {number}", "bold"), f": {says}"))
    if plan.risks:
        yield Wrapped(Text.assemble(("at risk", "bold yellow"), f": {', '.join(plan.risks)}"))
    yield Filling(plan.memory)
    yield Wrapped(_filled(plan, request))
    yield from on_host(plan.memory)
    yield Wrapped(speed(plan))
    if plan.run is not None:
        yield Wrapped(f"the run: {takes(plan)}")
    elif request.objective is Objective.COST and plan.usd_per_million_tokens is not None:
        yield Wrapped(f"{plan.usd_per_million_tokens:.3g} USD per million tokens")
    if command:
        yield from _goes_on(result, number, command, width)


def _filled(plan: Plan, request: Request) -> str:
    memory = plan.memory
    free = gib_difference(memory.budget_bytes, memory.process_bytes)
    of_gpu = gib_difference(request.gpu_memory_bytes, memory.process_bytes)
    text = f"fills {gib(memory.process_bytes)} GiB; free: {free} of the budget's {gib(memory.budget_bytes)}"
    return f"{text}, {of_gpu} of the GPU's {gib(request.gpu_memory_bytes)}"


def speed(plan: Plan) -> str:
    """Returns how long a step takes, with its range, and the tokens per second."""
    time, between = plan.time, ""
    if time.step_seconds_low is not None and time.step_seconds_high is not None:
        between = f" ({seconds_between(time.step_seconds_low, time.step_seconds_high)} in 9 of 10 cases)"
    of = plural(plan.global_batch_size, "sequence")
    return f"a step of {of}: {seconds(time.step_seconds)}{between}, {grouped(time.tokens_per_second)} tokens/s"


def takes(plan: Plan) -> str:
    """Returns what the run takes with a plan: steps, time, and price where it is known, with the range of its steps."""
    if plan.run is None:
        return ""
    run, time, between, price, prices = plan.run, plan.time, "", "", ""
    if time.step_seconds_low is not None and time.step_seconds_high is not None:
        shares = time.step_seconds_low / time.step_seconds, time.step_seconds_high / time.step_seconds
        between = f" ({seconds_between(*(share * run.seconds for share in shares))})"
        prices = "" if run.usd is None else f" ({'-'.join(total_usd(share * run.usd) for share in shares)})"
    if run.usd is not None:
        price = f", {total_usd(run.usd)} USD{prices}"
    return f"{plural(run.steps, 'step')}, {seconds(run.seconds)}{between}{price}"


def _goes_on(result: FitResult, number: int, command: Sequence[str], width: int) -> Iterator[Text]:
    """Yields the command that goes on, on lines that a shell takes as one."""
    command = [word for word in command if word not in ("--notes", "--plot")]
    asks = [_PROGRAM, *command] + ([] if "--json" in command else ["--json"])
    plan = [f"--plan {number}"] if number > 1 else []
    if _can_be_exported(result.request, result.recommended):
        target = _target(result.request, result.recommended)
        then = [f"{_PROGRAM} export -", f"--to {target}", *plan, "-o run"]
    else:
        then = [f"{_PROGRAM} verify -", *plan]
    yield from _shell_lines([*_with_values(asks), "|"], then, width)


def _with_values(said: Sequence[str]) -> list[str]:
    """Returns words as a shell takes them, each option together with its value."""
    found: list[str] = []
    for word in said:
        if found and found[-1].startswith("-") and " " not in found[-1] and not word.startswith("-"):
            found[-1] += f" {shlex.quote(word)}"
        else:
            found.append(shlex.quote(word))
    return found


def _shell_lines(first: Sequence[str], then: Sequence[str], width: int) -> Iterator[Text]:
    """Yields two parts of a pipeline, on one line if both fit, else each on lines of its own."""
    room = width - INDENT - len(_CONTINUED)
    whole = " ".join((*first, *then))
    lines = [whole] if len(whole) <= room else [*_filled_lines(first, room), *_filled_lines(then, room - INDENT)]
    for i, line in enumerate(lines):
        on = "" if i == len(lines) - 1 or line.endswith("|") else _CONTINUED
        indent = INDENT if i == 0 else 2 * INDENT
        yield Text(" " * indent + line + on, style="bold", no_wrap=True, overflow="ignore")


def _filled_lines(parts: Sequence[str], room: int) -> list[str]:
    lines = [parts[0]]
    for part in parts[1:]:
        if len(lines[-1]) + 1 + len(part) > room:
            lines.append(part)
        else:
            lines[-1] += f" {part}"
    return lines


def _target(request: Request, plan: Plan) -> str:
    """Returns where an export goes: to a framework, or to Slurm on several nodes, where FSDP2's mesh needs torch."""
    if request.nodes == 1:
        return str(plan.strategy.framework)
    return "slurm --with pytorch" if plan.strategy.sharding is Sharding.HYBRID_SHARD else "slurm"


def _can_be_exported(request: Request, plan: Plan) -> bool:
    """Returns whether a program can be written: for a model of the Hub and what scripts train it to do.

    On several nodes it is transformers' or torch's own.
    """
    replicated = plan.strategy.finetuning in _METHODS and plan.strategy.sharding is Sharding.NO_SHARD
    if request.nodes > 1 and plan.strategy.framework is not Framework.TRANSFORMERS:
        return False
    if not (request.task in (None, Task.CAUSAL_LM) or (request.task in _ENCODERS and replicated)):
        return False
    try:
        return find_model(request.model).hf is not None
    except PlannerError:
        return False
