"""Settles what several files of a run say about one thing: DeepSpeed's numbers have to be those of the recipe."""

from __future__ import annotations

from planner.readers.checkpoints import refuse_quantized
from planner.readers.reading import Reading
from strategies import Sharding, ShardingBackend

_SHARED = ("micro_batch_size", "gradient_accumulation_steps")


def settle(reading: Reading) -> None:
    """Compares what a DeepSpeed configuration says with the recipe, and lets its own optimizer win.

    transformers fills "auto" in, and refuses other numbers than its arguments: integrations/deepspeed.py,
    `trainer_config_process`. A checkpoint that is quantized already is refused, whatever program trains it.
    """
    refuse_quantized(reading)
    backend = reading.value("sharding_backend")
    for word in _SHARED:
        said = reading.said.pop(f"deepspeed {word}", None)
        if said is not None and word in reading.said and said.value != reading.value(word):
            reading.refuse(f"{word} is {said.value} here and {reading.value(word)} in the recipe", said.place)
    optimizer = reading.said.pop("deepspeed optimizer", None)
    if optimizer is not None:
        reading.said["optimizer"] = optimizer
    for word in ("deepspeed bf16", "deepspeed fp16", "deepspeed bf16 masters", "launcher precision"):
        reading.said.pop(word, None)
    if backend is not ShardingBackend.DEEPSPEED and reading.value("sharding") is Sharding.NO_SHARD:
        for word in ("sharding_backend", "offload"):
            reading.said.pop(word, None)
