"""Reads transformers' TrainingArguments as JSON or YAML, alone or with what its example scripts add.

Source of defaults: transformers 5.24, training_args.py; examples/pytorch/language-modeling/run_clm.py. The arguments
alone do not name the model and the length: `-- model_name_or_path=llama-3-8b block_size=2048` does.
"""

from __future__ import annotations

from planner.readers.documents.keys import Keys
from planner.readers.documents.table import Table, words
from planner.readers.frameworks.spelling import TRAINER
from planner.readers.reader import Reader, Role
from planner.readers.recognized import MODELS
from planner.readers.run import Run
from planner.readers.trainer.engine import read_engine
from planner.readers.trainer.fsdp import fsdp_decides, fsdp_idle, fsdp_left_out
from planner.readers.trainer.precision import read_precision
from planner.readers.trainer.shared import (
    SYNC,
    TRAINER_IDLE,
    TRAINER_IDLE_PREFIXES,
    TRAINER_LEFT_OUT,
    TRAINER_NO_WORD,
    read_attention,
    read_batches,
    read_evaluation,
    read_interval,
    read_liger,
    read_optimizer,
)
from strategies import Batching, Checkpointing, Finetuning

_SOURCE = "transformers 5.24, training_args.py"
_LENGTHS = ("block_size", "max_length", "max_seq_length", "model_max_length")
_CHECKPOINTS = ("gradient_checkpointing", "activation_checkpointing")
_KWARGS = tuple(f"{name}_kwargs" for name in _CHECKPOINTS)
_EARLIER = (
    *("evaluation_strategy", "overwrite_output_dir", "no_cuda", "fp16_backend", "half_precision_backend"),
    *("fsdp_transformer_layer_cls_to_wrap", "fsdp_min_num_params", "save_safetensors", "include_inputs_for_metrics"),
    *("per_gpu_train_batch_size", "per_gpu_eval_batch_size", "jit_mode_eval", "use_ipex", "use_mps_device"),
    *("past_index", "push_to_hub_token", "sharded_ddp", "tpu_num_cores"),
)
"""Arguments of transformers 4 that 5 has no more, and refuses."""

TABLE = Table(
    decides={
        **dict.fromkeys(MODELS, "model"),
        "dtype": "precision",
        "torch_dtype": "precision",
        "bf16": "precision",
        "fp16": "precision",
        "tf32": "precision",
        **dict.fromkeys(_LENGTHS, "sequence_length"),
        "per_device_train_batch_size": "micro_batch_size",
        "gradient_accumulation_steps": "gradient_accumulation_steps",
        "per_device_eval_batch_size": "evaluation_batch_size",
        "eval_strategy": "evaluation_batch_size",
        "evaluation_strategy": "evaluation_batch_size",
        **dict.fromkeys(_CHECKPOINTS, "checkpointing"),
        **{f"{name}.use_reentrant": "checkpointing" for name in _KWARGS},
        "activation_checkpointing_kwargs.offload": "checkpointing",
        "activation_checkpointing_kwargs.every_n_layers": "checkpoint_every",
        **{key: "the version of transformers" for key in _EARLIER if key != "evaluation_strategy"},
        "optim": "optimizer",
        "attn_implementation": "attention",
        "use_liger_kernel": "kernels, loss",
        SYNC: "gradient_sync",
        "deepspeed": "all that the JSON says",
        "fsdp": "sharding",
        **fsdp_decides("fsdp_config"),
    },
    no_word={
        **TRAINER_NO_WORD,
        "label_smoothing_factor": "label smoothing, which makes whole logits and a second forward pass",
        "liger_kernel_config": "Liger's kernels in part",
        "optim_target_modules": "an optimizer of some modules alone",
        "config_overrides": "another shape of the model",
        "use_peft": "adapters, which the arguments do not describe",
    },
    left_out={**TRAINER_LEFT_OUT, **fsdp_left_out("fsdp_config")},
    idle=(TRAINER_IDLE - {"tf32", "label_smoothing_factor", *_EARLIER})
    | fsdp_idle("fsdp_config")
    | words("""do_eval dataset_name dataset_config_name train_file validation_file validation_split_percentage
            preprocessing_num_workers max_train_samples max_eval_samples config_name tokenizer_name use_fast_tokenizer
            model_type streaming overwrite_cache keep_linebreaks token low_cpu_mem_usage _n_gpu n_gpu mp_parameters
            log_level eval_use_gather_object split_batches tpu_metrics_debug fp16_opt_level include_for_metrics
            torchdynamo ray_scope group_by_length sortish_sampler predict_with_generate auto_find_batch_size_kwargs
            warmup_ratio use_legacy_prediction_loop"""),
    idle_prefixes=(*TRAINER_IDLE_PREFIXES, "eval_", "dataset_", "fp16_"),
)


def read(keys: Keys, run: Run) -> None:
    """Says what a run of transformers' Trainer does."""
    read_of(keys, run, "bf16")


def read_of(keys: Keys, run: Run, checkpoint: str) -> None:
    """Says what a run does.

    Args:
        keys: The keys.
        run: The files.
        checkpoint: The dtype of weights that no key says, that of usual checkpoints.
    """
    reading, earlier = keys.reading, keys.entry(*_EARLIER)
    if earlier is not None:
        reading.say("version", "transformers 4", earlier.place, f"{earlier.place.key} is no argument of transformers 5")
    reading.say("model", keys.word(*MODELS), keys.place(*MODELS))
    reading.say("task", "causal-lm", why="a language model, unless its script trains another")
    reading.say("finetuning", Finetuning.FULL, why="TrainingArguments has no adapters")
    read_engine(keys, run, earlier=earlier is not None)
    _read_precision(keys, checkpoint, earlier=earlier is not None)
    read_batches(keys, "per_device_train_batch_size", 8, _SOURCE)
    keys.say_length(*_LENGTHS)
    full, place = keys.entry("block_size") is not None, keys.place("block_size")
    why = "run_clm.py: texts are joined and cut" if full else "padded to the longest, unless the script packs"
    reading.say("batching", Batching.FULL if full else Batching.PADDED, place, why)
    read_optimizer(keys, "optim", program="Trainer")
    _read_checkpointing(keys, earlier is not None)
    read_attention(keys, "attn_implementation")
    read_liger(keys, _SOURCE)
    if (keys.word("eval_strategy", "evaluation_strategy") or "no").lower() not in ("no", "false"):
        read_evaluation(keys)


def _read_precision(keys: Keys, checkpoint: str, *, earlier: bool) -> None:
    reading = keys.reading
    half = "bf16" if keys.flag("bf16") else "fp16" if keys.flag("fp16") else None
    name, place = keys.word("dtype", "torch_dtype"), keys.place("dtype", "torch_dtype")
    loaded = "fp32" if earlier else checkpoint
    stored = {"bfloat16": "bf16", "float16": "fp16", "float32": "fp32", "auto": checkpoint, None: loaded}.get(name)
    if stored is None:
        reading.refuse(f"the dtype {name}", place)
        return
    said = keys.place(half or "bf16") or place
    if half is None and (launched := reading.said.get("launcher precision")):
        half, said = launched.value, launched.place
    as_checkpoint = f"5, from_pretrained: weights as the checkpoint has them, {checkpoint}"
    why = "" if place else f"transformers {'4, from_pretrained: fp32' if earlier else as_checkpoint}"
    read_precision(reading, half, said, stored=stored, tf32=keys.flag("tf32"), why=why)


def _read_checkpointing(keys: Keys, earlier: bool) -> None:
    reading, place = keys.reading, keys.place(*_CHECKPOINTS)
    if not keys.flag(*_CHECKPOINTS):
        if reading.value("checkpointing") is None:
            reading.say("checkpointing", Checkpointing.NONE, place, "" if place else f"{_SOURCE}: off")
        return
    # transformers 4, modeling_utils.py, `gradient_checkpointing_enable`: reentrant unless the arguments say otherwise
    reentrant = keys.flag(*(f"{name}.use_reentrant" for name in _KWARGS), otherwise=earlier)
    choice = Checkpointing.FULL_REENTRANT if reentrant else Checkpointing.FULL
    if keys.flag("activation_checkpointing_kwargs.offload"):
        choice = Checkpointing.OFFLOAD
    reading.say("checkpointing", choice, place)
    read_interval(keys)


SCRIPT = Reader(
    "transformers",
    "transformers 5.24",
    Role.RECIPE,
    TABLE,
    words("block_size validation_split_percentage train_file keep_linebreaks"),
    read,
    spelling=TRAINER,
    scripts="",
)
ARGUMENTS = SCRIPT._replace(
    signs=words("per_device_train_batch_size optim gradient_checkpointing gradient_accumulation_steps logging_steps")
)
"""The arguments alone, which share all their keys with files of other programs: those come first."""
