"""Lists the readers, those whose files have the most telling keys first."""

from __future__ import annotations

from planner.readers import accelerate, axolotl, deepspeed, llama_factory, llama_factory_v1, trainer, trl
from planner.readers.run import Reader

READERS: tuple[Reader, ...] = (
    accelerate.READER,
    deepspeed.READER,
    axolotl.READER,
    llama_factory_v1.READER,
    llama_factory.READER,
    trainer.READER,
    trl.READER,
)
