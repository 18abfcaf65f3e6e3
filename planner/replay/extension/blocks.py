"""Finds the runs of equal blocks in a model, shortens them, and tracks which block a step is in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any, NamedTuple

import torch
from torch.utils._pytree import tree_leaves

from planner.replay.recording.recorder import LiveBytes
from planner.replay.recording.trace import Scope
from planner.replay.structure.stacks import stacks

REPLAYED_PERIODS = 4
"""Number of periods of a run that are replayed.

The first and the last have a neighbour of another kind; the two between them have to allocate alike, so that the
omitted ones can be derived from them.
"""

LEAST_OMITTED = 1 / 4
"""Share of a list's blocks that has to be left out, or else all are replayed.

Where a few are left out, the rest takes nearly as long, and nothing is derived from it if blocks turn out to differ.
"""


class BlockRun(NamedTuple):
    """Describes consecutive blocks of one list that repeat with a period."""

    path: str
    """Path of the list of blocks in the model."""
    start: int
    """Index in the list of the run's first block, in the whole model."""
    replayed_from: int
    """Index in the list of the run's first block, in the replayed model."""
    period: int
    """Number of blocks after which the run repeats."""
    periods: int
    """Number of periods in the whole model."""
    kept: int
    """Number of periods in the replayed model."""

    @property
    def missing(self) -> int:
        """Number of periods that the replay omits."""
        return self.periods - self.kept

    def before_the_cut(self, index: int) -> int:
        """Returns the index in the whole model of a period, given its index in the replayed model."""
        return index if index < (self.kept + 1) // 2 else index + self.missing


def shorten(model: torch.nn.Module, kept: int = REPLAYED_PERIODS) -> list[BlockRun]:
    """Removes blocks from the middle of every run that has more than `kept` periods, if these are many.

    Args:
        model: The model, which is changed in place.
        kept: Periods that remain of each run; 0 removes no block.

    Returns:
        All runs of the model, in order, whether shortened or not.
    """
    runs: list[BlockRun] = []
    for path, blocks in stacks(model):
        remaining: list[int] = []
        signatures = [signature(block) for block in blocks]
        first_of = {s: i for i, s in reversed([*enumerate(signatures)])}
        kinds = [first_of[s] for s in signatures]
        division = repetitions(kinds, kept)
        most = kept if _replayed(division, kept) <= (1 - LEAST_OMITTED) * len(blocks) else 0
        for start, period, count in division if most == kept else repetitions(kinds, 0):
            run = BlockRun(path, start, len(remaining), period, count, min(most or count, count))
            first, last = (run.kept + 1) // 2 * period, run.kept // 2 * period
            end = start + count * period
            remaining += [*range(start, start + first), *range(end - last, end)]
            runs.append(run)
        _keep(model, path, remaining)
    return runs


def _replayed(division: Sequence[tuple[int, int, int]], kept: int) -> int:
    """Returns how many blocks of a list are replayed, given its (start, period, count)."""
    return sum(period * min(count, kept or count) for _, period, count in division)


def _keep(model: torch.nn.Module, path: str, remaining: Sequence[int]) -> None:
    """Keeps some blocks of the list at a path of the model, and what its configuration says of them.

    Models look up the kind of a block by its place (`self.config.layer_types[i]`), which changes.
    """
    owner = model.get_submodule(path.rpartition(".")[0])
    name = path.rpartition(".")[2]
    blocks: Any = getattr(owner, name)
    if len(remaining) == len(blocks):
        return
    facts: dict[str, Any] = getattr(getattr(owner, "config", None), "__dict__", {})
    for key, value in facts.items():
        is_per_block = isinstance(value, list | tuple) and len(value) == len(blocks)
        if is_per_block and not {"layer", "layers", "block"}.isdisjoint(key.split("_")):
            facts[key] = [value[i] for i in remaining]
    setattr(owner, name, torch.nn.ModuleList([blocks[i] for i in remaining]))


def signature(block: torch.nn.Module) -> tuple[Any, ...]:
    """Returns everything about a block that a step can depend on, except its number; equal blocks have equal ones.

    These are names, shapes, dtypes and `requires_grad` of its tensors, and the classes and plain attributes of its
    modules.
    """
    tensors = [
        (name, tuple(t.shape), t.dtype, t.requires_grad)
        for name, t in (*block.named_parameters(), *block.named_buffers())
    ]
    facts = [
        (path, type(module).__qualname__, *sorted((k, v) for k, v in vars(module).items() if _tells(k, v)))
        for path, module in block.named_modules()
    ]
    return (*tensors, *facts)


def _tells(name: str, value: Any) -> bool:
    """Returns whether a module's attribute is a setting, and not the number of the block or an object."""
    return isinstance(value, bool | int | float | str) and not name.endswith(("_idx", "_id", "_index"))


class Division(NamedTuple):
    """Divides the end of a list of blocks into repetitions."""

    replayed: int = 0
    """Number of blocks that are replayed."""
    periods: int = 0
    """Sum of the lengths of all periods."""
    runs: tuple[tuple[int, int, int], ...] = ()
    """(start, period, count) of each repetition."""


def repetitions(kinds: Sequence[Any], kept: int) -> tuple[tuple[int, int, int], ...]:
    """Divides a list into repetitions, so that as few blocks as possible are replayed, and periods are short.

    A hybrid of 40 layers whose every tenth attends is four periods of ten, all of them replayed; or runs of nine equal
    layers between the others, of which four each are.

    Args:
        kinds: What is equal for equal blocks.
        kept: Periods of a repetition that are replayed; 0 for all.

    Returns:
        (start, period, count) of consecutive repetitions that together cover the list.
    """
    best = [Division()] * (len(kinds) + 1)
    for i in reversed(range(len(kinds))):
        longest_first = sorted(_from(kinds, i), key=lambda found: -found[0] * found[1])
        divisions = [_before(best[i + period * count], i, period, count, kept) for period, count in longest_first]
        best[i] = min(divisions, key=lambda division: division[:2])
    return best[0].runs


def _before(rest: Division, start: int, period: int, count: int, kept: int) -> Division:
    """Returns a division with one more repetition in front of it."""
    replayed = rest.replayed + _replayed([(start, period, count)], kept)
    return Division(replayed, rest.periods + period, ((start, period, count), *rest.runs))


def _from(kinds: Sequence[Any], start: int) -> Iterator[tuple[int, int]]:
    """Yields (period, count) of every repetition that begins at a place."""
    for period in range(1, len(kinds) - start + 1):
        count = 1
        yield period, count
        while kinds[start + count * period : start + (count + 1) * period] == kinds[start : start + period]:
            count += 1
            yield period, count
            if period * (count + 1) > len(kinds) - start:
                break


def follow(model: torch.nn.Module, live: LiveBytes, runs: list[BlockRun]) -> dict[str, Scope]:
    """Installs hooks that keep `live.scope` and `live.path` up to date while the model runs.

    Args:
        model: The shortened model.
        live: The recorder of the step.
        runs: The runs that `shorten` found in the model.

    Returns:
        The scope of every block in a run, by the block's path.
    """
    scopes = scopes_of(model, runs)
    for path, module in model.named_modules():
        module.register_forward_pre_hook(_enter(live, path, scopes.get(path)), prepend=True)
        module.register_forward_hook(_leave(live, path, scopes.get(path)), always_call=True)
    return scopes


def scopes_of(model: torch.nn.Module, runs: list[BlockRun]) -> dict[str, Scope]:
    """Returns the scope of every block in a run, by the block's path in the shortened model."""
    scopes = {}
    for number, run in enumerate(runs):
        path = next(name for name, _ in model.named_modules() if name.endswith(run.path))
        for i in range(run.kept * run.period):
            scopes[f"{path}.{run.replayed_from + i}"] = Scope(number, i // run.period)
    return scopes


def home_of(name: str, scopes: Mapping[str, Scope]) -> Scope | None:
    """Returns the block to which a module, parameter or buffer belongs, by its path in the model."""
    paths = accumulate(name.split("."), "{}.{}".format)
    return next((scopes[path] for path in paths if path in scopes), None)


def repeats_of(scope: Scope | None, runs: Sequence[BlockRun]) -> int:
    """Returns how many blocks of the model a replayed one stands for: the first inner one for all missing ones."""
    if scope is None:
        return 1
    run = runs[scope.run]
    return 1 + run.missing * (scope.block == run.kept // 2 - 1)


def _enter(live: LiveBytes, path: str, scope: Scope | None) -> Any:
    """Returns the hook that runs before a module's forward."""

    def hook(module: torch.nn.Module, args: Any) -> None:
        live.path = path
        live.scope = scope or live.scope

    return hook


def _leave(live: LiveBytes, path: str, scope: Scope | None) -> Any:
    """Returns the hook that runs after a module's forward.

    For a block it also arranges that `live` points to the block again when backward reaches the block's output.
    """

    def backward_arrives(gradient: torch.Tensor) -> None:
        live.path, live.scope = path, scope

    def hook(module: torch.nn.Module, args: Any, output: Any) -> None:
        live.path = path.rpartition(".")[0]
        first = next((x for x in tree_leaves(output) if isinstance(x, torch.Tensor)), None)
        if scope is not None and first is not None and first.requires_grad:
            first.register_hook(backward_arrives)

    return hook
