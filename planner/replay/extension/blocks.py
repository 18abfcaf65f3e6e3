"""Finds the runs of equal blocks in a model, shortens them, and follows which block a step is in."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch.utils._pytree import tree_leaves

from planner.replay.recording.recorder import LiveBytes
from planner.replay.recording.trace import Scope
from planner.replay.structure.stacks import stacks

KEPT = 4
"""Periods of a run that are replayed: the first and the last, which have neighbours of another kind, and two between,
which have to be equal for the rest to follow."""


class BlockRun(NamedTuple):
    """Blocks of one list that repeat with a period."""

    path: str
    start: int
    """Number of its first block in the model."""
    replayed_from: int
    """Number of its first block in the replay."""
    period: int
    periods: int
    """In the model."""
    kept: int
    """Periods in the replay."""

    @property
    def missing(self) -> int:
        return self.periods - self.kept

    def before_the_cut(self, index: int) -> int:
        """Which period of the model the `index`-th of the replay is."""
        return index if index < (self.kept + 1) // 2 else index + self.missing


def shorten(model: torch.nn.Module, kept: int = KEPT) -> list[BlockRun]:
    """Removes blocks from the middle of every run longer than `kept` periods; `kept` = 0 removes none."""
    runs: list[BlockRun] = []
    for path, blocks in stacks(model):
        remaining: list[torch.nn.Module] = []
        for start, period, count in _repetitions([signature(block) for block in blocks]):
            run = BlockRun(path, start, len(remaining), period, count, min(kept or count, count))
            first, last = (run.kept + 1) // 2 * period, run.kept // 2 * period
            end = start + count * period
            remaining += [*blocks[start : start + first], *blocks[end - last : end]]
            runs.append(run)
        _keep(model, path, remaining)
    return runs


def _keep(model: torch.nn.Module, path: str, blocks: list[torch.nn.Module]) -> None:
    parent, _, name = path.rpartition(".")
    setattr(model.get_submodule(parent), name, torch.nn.ModuleList(blocks))


def signature(block: torch.nn.Module) -> tuple[Any, ...]:
    """Everything about a block that a step can depend on, but its own number."""
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
    return isinstance(value, bool | int | float | str) and not name.endswith(("_idx", "_id", "_index"))


def _repetitions(signatures: list[Any]) -> list[tuple[int, int, int]]:
    """(start, period, count) of consecutive parts that cover all, from the left; the repetition that covers most first,
    the shortest period of these."""
    found, i = [], 0
    while i < len(signatures):
        period, count = 1, 1
        for width in range(1, (len(signatures) - i) // 2 + 1):
            times = 1
            while signatures[i + times * width : i + (times + 1) * width] == signatures[i : i + width]:
                times += 1
            if times > 1 and times * width > period * count:
                period, count = width, times
        found.append((i, period, count))
        i += period * count
    return found


def follow(model: torch.nn.Module, live: LiveBytes, runs: list[BlockRun]) -> dict[str, Scope]:
    """Keeps `live.scope` and `live.path` where the step is. Returns the scope of every block by its path."""
    scopes = {}
    for number, run in enumerate(runs):
        path = next(name for name, _ in model.named_modules() if name.endswith(run.path))
        for i in range(run.kept * run.period):
            scopes[f"{path}.{run.replayed_from + i}"] = Scope(number, i // run.period)
    for path, module in model.named_modules():
        module.register_forward_pre_hook(_enter(live, path, scopes.get(path)), prepend=True)
        module.register_forward_hook(_leave(live, path, scopes.get(path)), always_call=True)
    return scopes


def _enter(live: LiveBytes, path: str, scope: Scope | None) -> Any:
    def hook(module: torch.nn.Module, args: Any) -> None:
        live.path = path
        live.scope = scope or live.scope

    return hook


def _leave(live: LiveBytes, path: str, scope: Scope | None) -> Any:
    def backward_arrives(gradient: torch.Tensor) -> None:
        live.path, live.scope = path, scope

    def hook(module: torch.nn.Module, args: Any, output: Any) -> None:
        live.path = path.rpartition(".")[0]
        first = next((x for x in tree_leaves(output) if isinstance(x, torch.Tensor)), None)
        if scope is not None and first is not None and first.requires_grad:
            first.register_hook(backward_arrives)

    return hook
