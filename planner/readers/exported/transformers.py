"""Reads the train.yaml of `planner export --to transformers`: TrainingArguments, and what its train.py takes beside.

Source of defaults: transformers 5.24, training_args.py.
"""

from __future__ import annotations

from planner.readers.documents.keys import Keys
from planner.readers.documents.table import Table
from planner.readers.exported.run import read_dtypes, read_kernels, read_model, read_rows
from planner.readers.exported.spelling import TRANSFORMERS
from planner.readers.exported.table import RUN, RUN_IDLE, liger
from planner.readers.reader import Reader, Role
from planner.readers.run import Run
from planner.readers.trainer.engine import read_engine
from planner.readers.trainer.fsdp import fsdp_decides, fsdp_idle, fsdp_left_out
from planner.readers.trainer.optimizer import read_trainer_optimizer
from planner.readers.trainer.shared import (
    SYNC,
    TRAINER_IDLE,
    TRAINER_IDLE_PREFIXES,
    TRAINER_LEFT_OUT,
    TRAINER_NO_WORD,
    read_batches,
    read_interval,
)
from strategies import Checkpointing

_SOURCE = "transformers 5.24, training_args.py"
_DECIDED = ("optim_args", "tf32")

TABLE = Table(
    decides={
        **RUN,
        "bf16": "precision",
        "fp16": "precision",
        "tf32": "precision",
        "per_device_train_batch_size": "micro_batch_size",
        "gradient_accumulation_steps": "gradient_accumulation_steps",
        "per_device_eval_batch_size": "evaluation_batch_size",
        "eval_strategy": "evaluation_batch_size",
        "activation_checkpointing": "checkpointing",
        "gradient_checkpointing": "checkpointing",
        "activation_checkpointing_kwargs.use_reentrant": "checkpointing",
        "activation_checkpointing_kwargs.offload": "checkpointing",
        "activation_checkpointing_kwargs.every_n_layers": "checkpoint_every",
        "optim": "optimizer, update",
        "optim_args": "optimizer, optimizer_rank",
        "optim_target_modules": "optimizer",
        "use_liger_kernel": "kernels, loss",
        **liger("liger_kernel_config"),
        SYNC: "gradient_sync",
        "deepspeed": "all that the JSON says",
        "fsdp": "sharding",
        **fsdp_decides("fsdp_config"),
    },
    strict=True,
    no_word={key: what for key, what in TRAINER_NO_WORD.items() if key not in _DECIDED},
    left_out={**TRAINER_LEFT_OUT, **fsdp_left_out("fsdp_config")},
    idle=(TRAINER_IDLE - {"evaluation_strategy", *_DECIDED}) | fsdp_idle("fsdp_config") | RUN_IDLE,
    idle_prefixes=TRAINER_IDLE_PREFIXES,
)


def read(keys: Keys, run: Run) -> None:
    """Says what train.py does."""
    read_model(keys, run)
    read_engine(keys, run)
    half = "bf16" if keys.flag("bf16") else "fp16" if keys.flag("fp16") else None
    read_dtypes(keys, half, keys.place("bf16") or keys.place("fp16"))
    read_batches(keys, "per_device_train_batch_size", 8, _SOURCE)
    read_rows(keys)
    read_trainer_optimizer(keys)
    _read_checkpointing(keys)
    liger_place = keys.place("use_liger_kernel") if keys.flag("use_liger_kernel") else None
    # liger_kernel/transformers/monkey_patch.py: all but cross_entropy, unless told otherwise
    read_kernels(keys, "liger_kernel_config", liger_place, otherwise=True)
    if (keys.word("eval_strategy") or "no").lower() not in ("no", "false"):
        size, place = keys.whole("per_device_eval_batch_size"), keys.place("per_device_eval_batch_size")
        keys.reading.say("evaluation_batch_size", size or 8, place, "" if size else _SOURCE)


def _read_checkpointing(keys: Keys) -> None:
    reading, names = keys.reading, ("activation_checkpointing", "gradient_checkpointing")
    place = keys.place(*names)
    if not keys.flag(*names):
        if reading.value("checkpointing") is None:
            reading.say("checkpointing", Checkpointing.NONE, place, "" if place else _SOURCE)
        return
    kwargs = "activation_checkpointing_kwargs"
    choice = Checkpointing.FULL_REENTRANT if keys.flag(f"{kwargs}.use_reentrant") else Checkpointing.FULL
    if keys.flag(f"{kwargs}.offload"):
        choice = Checkpointing.OFFLOAD
    reading.say("checkpointing", choice, place)
    read_interval(keys)


READER = Reader(
    "transformers",
    "transformers 5.24",
    Role.RECIPE,
    TABLE,
    frozenset({"sequence_length"}),
    read,
    spelling=TRANSFORMERS,
    expands_from=1,  # run.sh, which is exported with it
)
