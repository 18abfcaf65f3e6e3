"""Lists the readers, those whose files have the most telling keys first."""

from __future__ import annotations

from planner.readers.exported import deepspeed as deepspeed_loop
from planner.readers.exported import pytorch, transformers
from planner.readers.frameworks import (
    accelerate,
    axolotl,
    deepspeed,
    llama_factory,
    llama_factory_v1,
    seq2seq,
    training_arguments,
    trl,
)
from planner.readers.own_steps import litgpt, llm_foundry, ms_swift, nemo, open_instruct, torchtitan, torchtune
from planner.readers.reader import Reader

READERS: tuple[Reader, ...] = (
    accelerate.READER,
    deepspeed.READER,
    torchtune.READER,
    llm_foundry.READER,
    nemo.READER,
    axolotl.READER,
    llama_factory_v1.READER,
    llama_factory.READER,
    deepspeed_loop.READER,
    pytorch.READER,
    transformers.READER,
    ms_swift.READER,
    open_instruct.READER,
    seq2seq.READER,
    training_arguments.SCRIPT,
    trl.READER,
    litgpt.READER,
    torchtitan.READER,
    training_arguments.ARGUMENTS,
)
