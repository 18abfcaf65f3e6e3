"""Reads what the scripts of `planner export` share that have a loop of their own: optimizer and checkpoints.

Source of defaults: exporting/scripts/optimizers.py, `Chosen`, and checkpointing.py, `Checkpointed`.
"""

from __future__ import annotations

from planner.readers.documents.keys import Keys
from planner.readers.documents.reading import Place
from planner.readers.documents.table import words
from planner.readers.exported.table import liger
from strategies import Checkpointing, Optimizer

OPTIMIZERS = (
    Optimizer.ADAMW,
    Optimizer.ADAMW_FOREACH,
    Optimizer.SGD,
    Optimizer.SGD_MOMENTUM,
    Optimizer.ADAFACTOR,
    Optimizer.ADAMW_8BIT,
    Optimizer.PAGED_ADAMW_8BIT,
    Optimizer.PAGED_ADAMW_32BIT,
    Optimizer.LION,
    Optimizer.LION_8BIT,
    Optimizer.ADAMW_8BIT_TORCHAO,
    Optimizer.ADAMW_4BIT,
    Optimizer.ADAMW_OFFLOAD,
)
"""Those of one optimizer for all that trains, which scripts/optimizers.py builds."""
OF_SOME_LAYERS = (Optimizer.MUON, Optimizer.GALORE, Optimizer.APOLLO, Optimizer.APOLLO_MINI)
"""Those that scripts/optimizers.py builds with another for what is no matrix."""
CHECKPOINTING = (
    Checkpointing.NONE,
    Checkpointing.FULL,
    Checkpointing.FULL_REENTRANT,
    Checkpointing.OFFLOAD,
    Checkpointing.SELECTIVE_MATMULS,
    Checkpointing.SELECTIVE_EVERY_SECOND_MATMUL,
)
"""Policies of scripts/checkpointing.py."""
LOOP = {
    "optimizer": "optimizer",
    "optimizer_rank": "optimizer_rank",
    "checkpointing": "checkpointing",
    "checkpoint_every": "checkpoint_every",
    "evaluation_batch_size": "evaluation_batch_size",
    "tf32": "precision",
    "liger": "kernels, loss",
    **liger("liger"),
}
"""Keys that decide memory, and their words."""
LOOP_IDLE = words("learning_rate evaluate_every epochs max_steps seed output")
"""Keys without an effect on memory."""


def read_optimizer(keys: Keys, known: tuple[Optimizer, ...]) -> None:
    """Says the optimizer, one of those that the script builds."""
    reading = keys.reading
    name, place = keys.word("optimizer") or Optimizer.ADAMW.value, keys.place("optimizer")
    found = next((choice for choice in known if choice.value == name), None)
    if found is None:
        reading.refuse(f"the optimizer {name}", place)
        return
    reading.say("optimizer", found, place, "" if place else "optimizers.py, Chosen")
    rank = keys.whole("optimizer_rank")
    if rank and found in (Optimizer.GALORE, Optimizer.APOLLO):
        reading.say("optimizer_rank", rank, keys.place("optimizer_rank"))
    elif rank:
        reading.refuse(f"a rank of {found}", keys.place("optimizer_rank"))


def read_checkpointing(keys: Keys) -> None:
    """Says which blocks are checkpointed, and what of them is kept."""
    reading = keys.reading
    name, place = keys.word("checkpointing") or "none", keys.place("checkpointing")
    found = next((choice for choice in CHECKPOINTING if choice.value == name), None)
    if found is None:
        reading.refuse(f"checkpointing {name}", place)
        return
    reading.say("checkpointing", found, place, "" if place else "checkpointing.py, Checkpointed")
    every = keys.whole("checkpoint_every") or 1
    if every > 1 and found is not Checkpointing.NONE:
        reading.say("checkpoint_every", every, keys.place("checkpoint_every"))


def read_evaluation(keys: Keys) -> None:
    """Says how many sequences are evaluated at once; none where nothing says it."""
    size = keys.whole("evaluation_batch_size")
    if size:
        keys.reading.say("evaluation_batch_size", size, keys.place("evaluation_batch_size"))


def liger_place(keys: Keys) -> Place | None:
    """Returns where Liger's kernels are switched on: the first of their names that is true; None if none is."""
    return next((keys.place(name) for name in liger("liger") if keys.flag(name)), None)
