"""Reads exported files back as `planner check` reads them, and compares the plan that they make."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from hardware import GIB, Catalog
from hardware.errors import PlannerError
from planner.api import estimate
from planner.checking.check import check
from planner.exporting.launch import Launch, Target
from planner.libraries.deepspeed import filled_in
from planner.records.plan import Plan
from planner.records.plan_file import arguments_of_plan
from strategies import Batching, Zero

_NOT_OF_FILES = ("framework", "allocator", "wrapping")
"""Options that no file of a recipe says: who runs it, and the environment. The script sets the allocator, and
requirements.txt has a torch that wraps as today."""


def read_back(launch: Launch, target: Target, files: Mapping[str, str], catalog: Catalog) -> None:
    """Checks that the files make the plan; raises ExportError with the first option that they do not."""
    request, plan = launch.request, launch.plan
    with TemporaryDirectory() as folder:
        for name, text in files.items():
            (Path(folder) / name).write_text(text)
        read = [Path(folder) / name for name in target.read]
        try:
            result = check(
                read,
                gpu=request.gpu,
                gpus=request.gpus,
                nodes=request.nodes,
                headroom=request.headroom,
                catalog=catalog,
                changes=False,
            )
        except PlannerError as error:
            raise launch.cannot_say(f"this plan: {error.message}", error.hint) from None
    if result.plan is None:
        raise launch.cannot_say(f"this plan: {result.refused[0].what}")
    other = result.plan
    if target.takes_exact_rows and (request.batching, other.request.batching) == (Batching.FULL, Batching.PADDED):
        # Rows of exactly that length, which the file's comment asks for, need no padding.
        again = arguments_of_plan(other.request, other, "the files")
        other = estimate(**{**again, "batching": Batching.FULL, "catalog": catalog})
    filled = _filled_in(launch)
    for option, wanted in plan.strategy:
        got = getattr(other.strategy, option)
        if (got or filled.get(option)) != (wanted or filled.get(option)) and option not in _NOT_OF_FILES:
            name = option.replace("_", "-")
            raise launch.cannot_say(f"{name} {wanted} with the rest of this plan: it does {got}", f"--{name} {got}")
    for word in ("batching", "evaluation_batch_size", "outputs", "task"):
        wanted, got = getattr(request, word), getattr(other.request, word)
        if wanted != got:
            name = word.replace("_", "-")
            raise launch.cannot_say(f"{name} {wanted} with the rest of this plan: it does {got}", f"--{name} {got}")
    if other.gradient_accumulation_steps != plan.gradient_accumulation_steps:
        raise launch.cannot_say(f"{plan.gradient_accumulation_steps} accumulation steps")
    if other.memory.allocated_bytes != plan.memory.allocated_bytes:
        rows, length = other.micro_batch_size, other.request.sequence_length
        raise launch.cannot_say(
            f"{plan.micro_batch_size} sequences of {request.sequence_length} tokens: "
            f"it makes {rows} of {length}, with {_gib(other)} instead of {_gib(plan)} GiB at the peak"
        )


def _filled_in(launch: Launch) -> Mapping[str, int]:
    """Returns what the planner's 0 stands for, of DeepSpeed's sizes: a JSON in numbers has these."""
    sharding = launch.strategy.strategy().sharding
    if not isinstance(sharding, Zero):
        return {}
    return filled_in(sharding, launch.described.architecture.hidden_size)._asdict()


def _gib(plan: Plan) -> str:
    """Returns what torch allocates at the peak, in GiB."""
    return f"{plan.memory.allocated_bytes / GIB:.2f}"
