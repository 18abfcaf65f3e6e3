"""Provides `explain`: what one configuration saves for backward, tensor by tensor, and what other choices save."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal, Unpack

from hardware import GPU
from planner.advice.one_more import one_more_of
from planner.advice.steps import steps_from
from planner.answers.plans import plan_of
from planner.memory import MemoryModel, Part, Saved
from planner.models import Model
from planner.problem.arguments import ConfigurationArguments
from planner.problem.questions import question
from planner.problem.resolve import resolve_asked
from planner.records.explanation import Explanation, Group, SavedTensor, SavingPart
from strategies import ContradictionError


@question(ConfigurationArguments)
def explain(
    model: str | Model,
    *,
    gpu: str | GPU,
    gpus: int | None = None,
    nodes: int = 1,
    **asked: Unpack[ConfigurationArguments],
) -> Explanation:
    """Says what the memory of one configuration is made of, and what every other choice would save or cost.

    Args:
        model: The model, as for `fit`.
        gpu: Name or alias of a GPU or a machine in the catalog, or a `GPU`, as for `fit`.
        gpus: GPUs per node, by default as for `fit`.
        nodes: Number of nodes.
        asked: Options of `SearchSpace` by name, with one value each and the defaults of `estimate`.

    Returns:
        Every part of the model (stem, blocks, head, loss) with the tensors that it saves: names, shapes, bytes per
        element and bytes; equal blocks are listed once. Tensors of the same name in all blocks stand together in
        `groups`; `steps` are all single changes of its options; `one_more` says where the micro-batch stops.

    Raises:
        ContradictionError: The model is planned by replays, which do not say what each block saves; `verify` lists
            the tensors that are alive at its peak.
        PlannerError: Any other reason for which `estimate` raises.
    """
    problem, solver, candidate = resolve_asked(model, gpu, gpus, nodes, asked)
    memory = problem.memory
    if not isinstance(memory, MemoryModel):
        raise ContradictionError(
            f"{problem.request.model} is known by replays alone, which do not say what each block saves",
            f"planner verify {problem.request.model} lists what is alive at the peak",
        )
    parts = memory.parts(candidate.strategy, candidate.micro_batch_size)
    listed = tuple(_parts(parts))
    return Explanation.model_construct(
        request=problem.request,
        plan=plan_of(candidate, solver),
        parts=listed,
        groups=tuple(_groups(listed, candidate.micro_batch_size)),
        steps=steps_from(problem, solver, candidate),
        one_more=one_more_of(candidate, solver),
    )


def _groups(parts: Sequence[SavingPart], size: int) -> list[Group]:
    """Returns the tensors of all parts, those of the same name and shape together, the largest first."""
    found: dict[tuple[str, SavedTensor], int] = {}
    for part in parts:
        for tensor in part.tensors:
            name = f"{tensor.name} of each block" if part.part == "block" else tensor.name
            found[name, tensor] = found.get((name, tensor), 0) + part.count
    groups: list[Group] = []
    for (name, tensor), count in found.items():
        samples = [str(size)] if tensor.bytes_per_sample else []
        shape = " x ".join([*samples, *(f"{n:,}" for n in tensor.shape)]) if tensor.shape is not None else ""
        formula = f"{count:,} x {shape} x {tensor.itemsize} B" if shape else ""
        num_bytes = count * tensor.saved_bytes(size)
        groups.append(
            Group.model_construct(None, name=name, count=count, shape=shape, formula=formula, num_bytes=num_bytes)
        )
    return sorted(groups, key=lambda group: -group.num_bytes)


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
