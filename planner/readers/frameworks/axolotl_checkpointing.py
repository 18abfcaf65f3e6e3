"""Says what axolotl computes again in backward, and what it moves to the host.

Source: axolotl 0.19, utils/config/__init__.py and monkeypatch/selective_checkpointing.py.
"""

from __future__ import annotations

from planner.readers.documents.keys import Keys
from planner.readers.tables.axolotl import KEPT_MATMULS, SELECTIVE
from strategies import Attention, Checkpointing, Finetuning


def read_checkpointing(keys: Keys) -> None:
    """Says what is computed again in backward; task, attention and fine-tuning have been said."""
    reading = keys.reading
    asked, place = keys.word("gradient_checkpointing"), keys.place("gradient_checkpointing")
    offloads, at = (keys.word("activation_offloading") or "false").lower(), keys.place("activation_offloading")
    if asked is None or asked.lower() == "false":
        if reading.value("checkpointing") is None:
            reading.say("checkpointing", Checkpointing.NONE, place, "" if place else "axolotl: off unless said")
        if offloads != "false":
            reading.refuse("activation offloading without checkpointing", at)
    elif asked.lower() in ("offload", "offload_disk", "disk") or offloads in ("disk", "offload_disk"):
        if asked.lower() == "offload":
            reading.say("checkpointing", Checkpointing.OFFLOAD, place)
        else:
            reading.refuse("activations that are offloaded to disk", place)
    elif offloads != "false":
        reading.say("checkpointing", Checkpointing.OFFLOAD, at)
        if reading.value("finetuning") is not Finetuning.FULL:
            reading.refuse("activation offloading in place of recomputation, as axolotl does with adapters", at)
    elif asked.lower() != "true":
        reading.refuse(f"gradient_checkpointing {asked}", place)
    else:
        said = keys.entry("gradient_checkpointing_kwargs.use_reentrant")
        default = reading.value("task") == "sft"
        reentrant = keys.flag("gradient_checkpointing_kwargs.use_reentrant", otherwise=default)
        choice = Checkpointing.FULL_REENTRANT if reentrant else Checkpointing.FULL
        why = "" if said else f"use_reentrant {str(default).lower()}: axolotl 0.19, utils/config/__init__.py"
        reading.say("checkpointing", choice, place, why)
        _read_selective(keys)


def _read_selective(keys: Keys) -> None:
    """Says which results axolotl keeps by torch's selective checkpointing; all others are computed again."""
    reading, kept = keys.reading, keys.names(f"{SELECTIVE}.save")
    if kept is None:
        return
    place, plain = keys.place(f"{SELECTIVE}.save"), keys.flag(f"{SELECTIVE}.save_sliding_window")
    if set(kept) == set(KEPT_MATMULS) and plain and reading.value("attention") is Attention.SDPA:
        reading.say("checkpointing", Checkpointing.SELECTIVE_MATMULS, place)
    else:
        reading.refuse("axolotl's selective checkpointing", place)
