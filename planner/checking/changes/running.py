"""Finds the smallest changes after which a run can run at all on a GPU that lacks what its files ask for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import combinations
from typing import Any, NamedTuple

from planner.advice.changes import Change, options_of
from planner.checking.changes.trials import Trial, Trials
from planner.readers.spelling.spelling import spelled
from planner.records.advice import Cost
from strategies import AdapterDtype, Attention, Kernels, Loss, Precision

_OF_GPUS: tuple[Change, ...] = (
    Change({"precision": Precision.BF16_MIXED}, "mixed precision in bf16"),
    Change({"precision": Precision.FP16_MIXED}, "mixed precision in fp16", Cost.METHOD),
    Change({"attention": Attention.SDPA}, "fused attention"),
    Change({"kernels": Kernels.EAGER}, "the model's own modules"),
    Change({"loss": Loss.FULL}, "whole logits"),
)
"""Changes away from what some GPUs lack: strategies/rules/gpus.py. fp16 has fewer exponents, and trains otherwise."""


class Runnable(NamedTuple):
    """Holds what a run needs changed to run."""

    changes: tuple[Change, ...]
    trials: Trials
    """Trials that begin with these changes."""


def runnable(trials: Trials) -> Iterator[Runnable]:
    """Yields the smallest sets of changes with which a run can run; none if no such set is known or can be said."""
    original = trials.unchanged()
    assert original.recipe is not None
    there = {key: entry.value for key, entry in original.entries().items()}
    for size in range(1, len(_OF_GPUS) + 1):
        found = False
        for changes in combinations(_OF_GPUS, size):
            says = options_of(changes)
            keys = spelled(original.recipe.spelling, says, there) if len(says) == size else None
            if keys and _runs(trials.of(keys), says):
                found = True
                yield Runnable(changes, trials.beginning_with(keys))
        if found:
            return


def _runs(trial: Trial | None, says: Mapping[str, Any]) -> bool:
    """Returns whether a run says what is wanted and can train.

    Adapters in fp16 cannot under fp16-mixed: torch's GradScaler unscales gradients in fp32 alone.
    """
    if trial is None or any(trial.value(word) != value for word, value in says.items()):
        return False
    halves = trial.value("adapter_dtype") is AdapterDtype.WEIGHTS
    return not (halves and trial.value("precision") is Precision.FP16_MIXED)
