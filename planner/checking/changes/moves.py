"""Lists the changes that a run can make: those of `planner.advice` that take less memory, and some that are faster."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from planner.advice.changes import Change
from planner.advice.techniques import changes_from
from planner.records.advice import Cost
from strategies import OPTIONS, Attention, Checkpointing, Kernels, Loss, Offload, Optimizer

_RECOMPUTED = (Checkpointing.FULL, Checkpointing.FULL_REENTRANT)
_WHOLE_LOGITS = tuple(loss for loss in Loss if not loss.is_fused)

FASTER: tuple[tuple[Change, tuple[Any, ...]], ...] = (
    (Change({"checkpointing": Checkpointing.NONE}, "nothing is recomputed"), _RECOMPUTED),
    (
        Change({"loss": Loss.LIGER_FUSED_LINEAR}, "liger-kernel's fused loss, without logits", Cost.PACKAGE),
        _WHOLE_LOGITS,
    ),
    (Change({"kernels": Kernels.LIGER}, "Liger's kernels", Cost.PACKAGE), (Kernels.EAGER,)),
    (Change({"attention": Attention.SDPA}, "fused attention"), (Attention.EAGER,)),
    (Change({"offload": Offload.NONE}, "nothing is on the host"), (Offload.CPU, Offload.OPTIMIZER)),
    (Change({"optimizer": Optimizer.ADAMW}, "AdamW, fused"), (Optimizer.ADAMW_FOREACH,)),
)
"""Changes of one option that make a step faster, if there is memory for them, and what the option has to be before."""


def smaller_changes(does: Mapping[str, Any]) -> Iterator[Change]:
    """Yields the changes that may take less memory, of each cost the most usual first.

    Args:
        does: What the run does in respect of each option that applies to it.
    """
    return changes_from({word: (value,) for word, value in does.items()})


def faster_changes(does: Mapping[str, Any]) -> Iterator[Change]:
    """Yields the changes that make a step faster; the argument is that of `smaller_changes`."""
    for change, before in FASTER:
        (word,) = change.options
        if does.get(word) in before:
            yield change


def meant(value: Any) -> tuple[Any, ...]:
    """Returns the choices that a change to one of them means: programs differ in which checkpointing they switch on."""
    return _RECOMPUTED if value in _RECOMPUTED else (value,)


def respects(value: Any) -> dict[str, Any]:
    """Returns what a run does in respect of each option that applies to it.

    Args:
        value: Returns what it does in one respect, None where the option does not apply.
    """
    return {word: found for word in OPTIONS if (found := value(word)) is not None}
