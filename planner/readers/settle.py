"""Settles what several files of a run say about one thing: DeepSpeed's numbers have to be those of the recipe."""

from __future__ import annotations

from collections.abc import Mapping

from planner.readers.checkpoints import refuse_quantized
from planner.readers.documents.reading import Reading, Said
from planner.readers.frameworks.spelling import TRAINER
from planner.readers.spelling.spelling import Spelling
from strategies import Sharding, ShardingBackend

_SHARED = ("micro_batch_size", "gradient_accumulation_steps")


def settle(reading: Reading, spelling: Spelling = TRAINER) -> None:
    """Compares what a DeepSpeed configuration says with the recipe, and lets its own optimizer win.

    transformers fills "auto" in, and refuses other numbers than its arguments: integrations/deepspeed.py,
    `trainer_config_process`. A checkpoint that is quantized already is refused, whatever program trains it.

    Args:
        reading: What the files say.
        spelling: Keys of the recipe's program, which messages name.
    """
    refuse_quantized(reading)
    backend = reading.value("sharding_backend")
    numbers = {word: reading.said.pop(f"deepspeed {word}", None) for word in _SHARED}
    _refuse_others(reading, {word: said for word, said in numbers.items() if said is not None}, spelling)
    optimizer = reading.said.pop("deepspeed optimizer", None)
    if optimizer is not None:
        reading.said["optimizer"] = optimizer
    for word in ("deepspeed bf16", "deepspeed fp16", "deepspeed bf16 masters", "launcher precision"):
        reading.said.pop(word, None)
    if backend is not ShardingBackend.DEEPSPEED and reading.value("sharding") is Sharding.NO_SHARD:
        for word in ("sharding_backend", "offload"):
            reading.said.pop(word, None)


def _refuse_others(reading: Reading, numbers: Mapping[str, Said], spelling: Spelling) -> None:
    """Refuses numbers of a DeepSpeed configuration that are not the recipe's, or not its program's defaults."""
    others = {word: said for word, said in numbers.items() if reading.value(word, said.value) != said.value}
    keys = {word: (spelling.numbers.get(word) or (word,))[0] for word in others}
    way_out = " ".join(f"--{keys[word]} {said.value}" for word, said in others.items())
    for word, said in others.items():
        mine = reading.said[word]
        if mine.place is not None:
            reading.refuse(f"{word} is {said.value} here and {mine.value} in the recipe", said.place)
            continue
        reading.refuse(
            f"{said.value} here, and nothing says {keys[word]}, whose default is {mine.value} ({mine.why}): "
            f"transformers refuses numbers that differ. The way out: {way_out}, or auto here",
            said.place,
        )
