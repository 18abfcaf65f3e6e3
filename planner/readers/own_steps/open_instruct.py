"""Reads open-instruct's YAML of supervised fine-tuning.

Source of defaults: open-instruct e6c3044, open_instruct/finetune.py.
"""

from __future__ import annotations

from planner.readers.documents.keys import Keys
from planner.readers.documents.table import Table, words
from planner.readers.own_steps.shared import read_packing
from planner.readers.reader import Reader, Role
from planner.readers.run import Run
from planner.readers.trainer.precision import read_adapter_dtypes, read_precision
from planner.readers.trainer.shared import TRAINER_IDLE, TRAINER_IDLE_PREFIXES, read_liger
from strategies import (
    AdapterDtype,
    Attention,
    Checkpointing,
    Finetuning,
    Optimizer,
    Quantization,
    Sharding,
    UnquantizedDtype,
)

_SOURCE = "open-instruct e6c3044, open_instruct/finetune.py"
_FLAGS = ("use_lora", "use_qlora")

TABLE = Table(
    decides={
        "model_name_or_path": "model",
        **dict.fromkeys(_FLAGS, "finetuning"),
        "lora_rank": "lora_rank",
        "lora_alpha": "lora_alpha",
        "lora_dropout": "lora_dropout",
        "per_device_train_batch_size": "micro_batch_size",
        "gradient_accumulation_steps": "gradient_accumulation_steps",
        "max_seq_length": "sequence_length",
        "gradient_checkpointing": "checkpointing",
        "packing": "batching",
        "use_liger_kernel": "kernels, loss",
        "fused_optimizer": "optimizer",
        "use_8bit_optimizer": "optimizer",
        "use_flash_attn": "attention",
    },
    no_word={
        "sequence_parallel_size": "sequence parallelism",
        **dict.fromkeys(("dpo_beta", "beta", "loss_type"), "dpo: pairs"),
        "num_epochs": "dpo: pairs, whose script alone has num_epochs",
    },
    left_out={"load_balancing_loss": "the router's auxiliary loss"},
    idle=TRAINER_IDLE
    | words("""tokenizer_name use_slow_tokenizer dataset_name dataset_mixer dataset_mix_dir dataset_mixer_list
            preprocessing_num_workers with_tracking checkpointing_steps exp_name chat_template_name add_bos
            tokenizer_revision clip_grad_norm timeout do_not_randomize_output_dir"""),
    idle_prefixes=(*TRAINER_IDLE_PREFIXES, "dataset_", "keep_last_", "try_", "gs_", "oe_"),
)


def read(keys: Keys, run: Run) -> None:
    """Says what a run of open-instruct does; its engine stands in the launcher's file alone.

    Its loop lets the model's outputs go before backward (`del outputs`), as transformers' Trainer does.
    """
    reading = keys.reading
    reading.say("model", keys.word("model_name_or_path"), keys.place("model_name_or_path"))
    reading.say("task", "sft", why="the loss of the next token")
    _read_finetuning(keys)
    if reading.value("sharding") is None:
        reading.say("sharding", Sharding.NO_SHARD, why="no launcher's file that divides the model")
    read_precision(reading, "bf16", None, stored="bf16", why=f"{_SOURCE}: loaded in bf16")
    unquantized = UnquantizedDtype.FP32
    read_adapter_dtypes(reading, AdapterDtype.FP32, unquantized, "PEFT's k-bit preparation has the last word")
    keys.say_whole("micro_batch_size", "per_device_train_batch_size", otherwise=8, why=_SOURCE)
    keys.say_whole("gradient_accumulation_steps", "gradient_accumulation_steps", otherwise=1, why=_SOURCE)
    keys.say_length("max_seq_length")
    read_packing(keys, "packing", _SOURCE)
    _read_optimizer(keys)
    recomputes, place = keys.flag("gradient_checkpointing"), keys.place("gradient_checkpointing")
    if recomputes or reading.value("checkpointing") is None:  # else a launcher's file switches it on
        choice = Checkpointing.FULL if recomputes else Checkpointing.NONE
        reading.say("checkpointing", choice, place, "" if place else _SOURCE)
    flash, place = keys.flag("use_flash_attn", otherwise=True), keys.place("use_flash_attn")
    why = "" if place else f"{_SOURCE}: flash-attn where it is installed, as in its environment"
    reading.say("attention", Attention.FLASH_2 if flash else Attention.SDPA, place, why)
    read_liger(keys, _SOURCE)


def _read_finetuning(keys: Keys) -> None:
    reading = keys.reading
    if not keys.flag("use_lora"):
        reading.say("finetuning", Finetuning.FULL, keys.place("use_lora"), "" if keys.entry("use_lora") else _SOURCE)
        return
    reading.say("finetuning", Finetuning.LORA, keys.place("use_lora"))
    if keys.flag("use_qlora"):
        reading.say("finetuning", Finetuning.QLORA, keys.place("use_qlora"))
        reading.say("quantization", Quantization.NF4_DOUBLE, keys.place("use_qlora"), _SOURCE)
    keys.say_whole("lora_rank", "lora_rank", otherwise=64, why=_SOURCE)
    keys.say_whole("lora_alpha", "lora_alpha", otherwise=16, why=_SOURCE)
    keys.say_share("lora_dropout", "lora_dropout", otherwise=0.1, why=_SOURCE)
    reading.say("lora_targets", "all-linear", why=f"{_SOURCE}: all seven of a block")


def _read_optimizer(keys: Keys) -> None:
    reading = keys.reading
    if reading.value("quantization") is not None:
        eight, place = keys.flag("use_8bit_optimizer"), keys.place("use_8bit_optimizer")
        choice = Optimizer.PAGED_ADAMW_8BIT if eight else Optimizer.PAGED_ADAMW_32BIT
        reading.say("optimizer", choice, place, "" if place else f"{_SOURCE}: bitsandbytes' over a quantized base")
        return
    fused, place = keys.flag("fused_optimizer", otherwise=True), keys.place("fused_optimizer")
    reading.say("optimizer", Optimizer.ADAMW if fused else Optimizer.ADAMW_FOREACH, place, "" if place else _SOURCE)


_SIGNS = words("use_qlora use_lora with_tracking use_slow_tokenizer checkpointing_steps dataset_mix_dir")
READER = Reader("open-instruct", "open-instruct e6c3044", Role.RECIPE, TABLE, _SIGNS, read)
