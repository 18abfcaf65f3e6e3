"""Provides `explain`, which lists what one configuration saves for backward, part by part and tensor by tensor."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

from hardware import GPU
from planner.answers.plans import plan_of
from planner.extras import Progress
from planner.memory import MemoryModel, Part, Saved
from planner.models import Model
from planner.problem.problem import CatalogSource, resolve_one
from planner.records.explanation import Explanation, SavedTensor, SavingPart
from strategies import ContradictionError

if TYPE_CHECKING:
    from typing import Unpack

    from planner.records.option_types import Options


def explain(
    model: str | Model,
    *,
    gpu: str | GPU,
    gpus: int | None = None,
    nodes: int = 1,
    task: str | None = None,
    sequence_length: int | None = None,
    micro_batch_size: int = 1,
    batching: str = "full",
    mean_length: int | None = None,
    headroom: float = 0.05,
    host_memory: int | str | None = None,
    loading: str = "auto",
    catalog: CatalogSource = None,
    progress: Progress = lambda _: None,
    **axes: Unpack[Options],
) -> Explanation:
    """Lists the tensors that one configuration saves for backward.

    The arguments are those of `estimate`.

    Returns:
        Every part of the model (stem, blocks, head, loss) with the tensors that it saves: names, shapes, bytes per
        element and bytes; equal blocks are listed once.

    Raises:
        ContradictionError: The model is planned by replays, which do not say what each block saves; `verify` lists
            the tensors that are alive at its peak.
        PlannerError: Any other reason for which `estimate` raises.
    """
    workload = {
        "gpus": gpus,
        "nodes": nodes,
        "task": task,
        "sequence_length": sequence_length,
        "batching": batching,
        "mean_length": mean_length,
        "headroom": headroom,
        "host_memory": host_memory,
        "loading": loading,
    }
    problem, solver, candidate = resolve_one(model, gpu, catalog, axes, workload, micro_batch_size, 1, progress)
    memory = problem.memory
    if not isinstance(memory, MemoryModel):
        raise ContradictionError(
            f"{problem.request.model} is known by replays alone, which do not say what each block saves",
            f"planner verify {problem.request.model} lists what is alive at the peak",
        )
    parts = memory.parts(candidate.strategy, micro_batch_size)
    return Explanation.model_construct(
        request=problem.request, plan=plan_of(candidate, solver), parts=tuple(_parts(parts))
    )


def _parts(parts: Sequence[Part]) -> Iterator[SavingPart]:
    """Yields the stem, each kind of equal blocks, the head and the loss."""
    stem, *blocks, head, loss = parts
    yield _part("stem", (), stem)
    alike: dict[tuple[Any, ...], list[int]] = {}
    for i, block in enumerate(blocks):
        alike.setdefault((block.saved, block.saved_tensors), []).append(i)
    for numbers in alike.values():
        yield _part("block", tuple(numbers), blocks[numbers[0]])
    yield _part("head", (), head)
    yield _part("loss", (), loss)


def _part(name: Literal["stem", "block", "head", "loss"], blocks: tuple[int, ...], part: Part) -> SavingPart:
    fixed, per_sample = part.saved
    return SavingPart.model_construct(
        part=name,
        blocks=blocks,
        fixed_bytes=fixed,
        bytes_per_sample=per_sample,
        tensors=tuple(map(_tensor, part.saved_tensors)),
    )


def _tensor(saved: Saved) -> SavedTensor:
    elements = (saved.per_sample or saved.fixed) // saved.itemsize if saved.itemsize else 0
    return SavedTensor.model_construct(
        name=saved.name,
        shape=(elements // saved.width, saved.width) if elements else None,
        itemsize=saved.itemsize or None,
        fixed_bytes=saved.fixed,
        bytes_per_sample=saved.per_sample,
    )
