"""Says what can be asked about a run without a plan: of training on pairs, fine-tuning as its lower bound."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from planner.readers.documents.reading import Reading
from planner.readers.run import Run
from planner.readers.tables.trl import DPO

_OF_PAIRS = ("dpo", "ipo", "orpo", "simpo", "cpo")
"""Trainers that put two sequences of each sample into a batch: trl/trainer/dpo_trainer.py, `forward`."""
_WITH_REFERENCE = ("dpo", "ipo")
_AS_SFT: Mapping[str, Mapping[str, str]] = {
    "axolotl": {"rl": "none"},
    "llama-factory": {"stage": "sft"},
    "trl": dict.fromkeys(DPO, ""),
}
"""Values of keys with which a program fine-tunes instead; those that a file has not are left out."""


def next_steps(reading: Reading, run: Run) -> Iterator[str]:
    """Yields a note with the command that plans a lower bound of a run on pairs, if nothing else is refused."""
    task, rows = reading.said.get("task"), reading.value("micro_batch_size")
    if task is None or task.value not in _OF_PAIRS or run.recipe is None or not rows:
        return
    if any(refused.place != task.place for refused in reading.refused):
        return
    there, sizes = run.entries(), run.recipe.spelling.numbers.get("micro_batch_size", ())
    instead = {key: value for key, value in _AS_SFT.get(run.recipe.name, {}).items() if key in there}
    if not instead or not sizes:
        return
    size = next((key for key in sizes if key in there), sizes[0])
    words = " ".join(f"{key}={value}" for key, value in {**instead, size: str(2 * rows)}.items())
    reference = ""
    if task.value in _WITH_REFERENCE:
        reference = "; without adapters, the weights of a frozen reference model come on top"
    yield (
        f"{task.value} has two sequences of each sample in a batch: at the least it takes what fine-tuning does with "
        f"twice the micro-batch, which `planner check {' '.join(run.files)} -- {words}` plans{reference}"
    )
