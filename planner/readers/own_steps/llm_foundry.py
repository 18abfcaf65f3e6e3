"""Reads llm-foundry's YAML, alone or below `parameters` in the file of a job.

Source of defaults: llm-foundry 8c8dd48, llmfoundry/utils/config_utils.py, and Composer, composer/utils/parallelism.py.
"""

from __future__ import annotations

from planner.readers.documents.keys import Keys
from planner.readers.documents.table import Table, words
from planner.readers.own_steps.shared import refuse_step
from planner.readers.reader import Reader, Role
from planner.readers.run import Run
from planner.readers.trainer.fsdp import FSDP_STRATEGIES
from planner.readers.trainer.shared import read_targets
from strategies import (
    AdapterDtype,
    Allocator,
    Attention,
    Batching,
    Checkpointing,
    Finetuning,
    Kernels,
    Loss,
    Offload,
    Optimizer,
    Precision,
    Sharding,
    ShardingBackend,
)

_SOURCE = "llm-foundry 8c8dd48"
_PRECISIONS = {
    "amp_bf16": Precision.BF16_MIXED,
    "amp_fp16": Precision.FP16_MIXED,
    "fp32": Precision.FP32,
}
_PEFT = "model.peft_config"
_DATA = "train_loader.dataset"

TABLE = Table(
    decides={
        "model.name": "model",
        "model.pretrained_model_name_or_path": "model",
        "model.use_flash_attention_2": "attention",
        "model.attn_config.attn_impl": "attention",
        **{
            f"{_PEFT}.{key}": word
            for key, word in (
                ("r", "lora_rank"),
                ("lora_alpha", "lora_alpha"),
                ("lora_dropout", "lora_dropout"),
                ("target_modules", "lora_targets"),
                ("peft_type", "finetuning"),
            )
        },
        "precision": "precision",
        "global_train_batch_size": "gradient_accumulation_steps",
        "device_train_microbatch_size": "micro_batch_size",
        "max_seq_len": "sequence_length",
        f"{_DATA}.packing_ratio": "batching",
        f"{_DATA}.allow_pad_trimming": "batching",
        "optimizer.name": "optimizer",
        "fsdp_config.sharding_strategy": "sharding",
        "fsdp_config.activation_checkpointing": "checkpointing",
        "fsdp_config.activation_checkpointing_reentrant": "checkpointing",
        "fsdp_config.activation_cpu_offload": "checkpointing",
        "fsdp_config.cpu_offload": "offload",
        "expandable_segments": "allocator",
    },
    no_word={
        "model.d_model": "an architecture of llm-foundry's own, MPT",
        "tp_config": "tensor parallelism",
        "model.ffn_config": "a mixture of experts of llm-foundry's own",
        "model.master_weights_dtype": "weights in another dtype",
        "compile_config": "torch.compile of the whole model",
        "algorithms.low_precision_layernorm": "layer norms in half precision",
        "accumulate_train_batch_on_tokens": "micro-batches weighed by their tokens",
    },
    idle=words(
        """
        variables run_name seed max_duration eval_interval eval_first eval_subset_num_batches progress_bar
        log_to_console console_log_interval callbacks load_path load_weights_only scheduler algorithms
        tokenizer eval_loader device_eval_batch_size data_local data_remote tokenizer_name global_seed
        icl_seq_len icl_tasks loggers dist_timeout python_log_level max_split_size_mb icl_tasks_str
        eval_gauntlet autoresume
        """
    ),
    idle_prefixes=(
        *("variables.", "scheduler.", "callbacks.", "tokenizer.", "eval_loader.", "train_loader.", "optimizer."),
        *("algorithms.", "loggers.", "fsdp_config.", "model.", "save_", "load_", "icl_", "metadata"),
    ),
    dead={"model.config_overrides.attn_config": "Llama's configuration has no attn_config"},
)


def read(keys: Keys, run: Run) -> None:
    """Says what a run of llm-foundry does: weights in fp32, computed in half precision."""
    reading = keys.reading
    _read_model(keys)
    name, place = keys.word("precision") or "", keys.place("precision")
    if name in _PRECISIONS:
        reading.say("precision", _PRECISIONS[name], place, "weights are stored in fp32")
    else:
        reading.refuse(f"the precision {name or 'of nothing'}", place)
    gpus = _gpus(keys, run)
    _read_batch(keys, gpus)
    keys.say_length("max_seq_len")
    if keys.entry(f"{_DATA}.packing_ratio"):
        reading.say("batching", Batching.PACKED, keys.place(f"{_DATA}.packing_ratio"))
    elif keys.flag(f"{_DATA}.allow_pad_trimming"):
        reading.say("batching", Batching.PADDED, keys.place(f"{_DATA}.allow_pad_trimming"))
    else:
        reading.say("batching", Batching.FULL, keys.place(f"{_DATA}.allow_pad_trimming"), f"{_SOURCE}: no trimming")
    optimizer, place = keys.word("optimizer.name") or "", keys.place("optimizer.name")
    if optimizer == "decoupled_adamw":
        reading.say("optimizer", Optimizer.ADAMW, place, "Composer's, parameter by parameter")
    elif optimizer == "decoupled_lionw":
        reading.refuse("Composer's Lion: one state, in fp32", place)
    else:
        reading.refuse(f"the optimizer {optimizer or 'of nothing'}", place)
    _read_engine(keys, gpus)
    reading.say("loss", Loss.FULL, why=f"{_SOURCE}: whole logits")
    reading.say("kernels", Kernels.EAGER, why=_SOURCE)
    expandable = keys.flag("expandable_segments")
    reading.say(
        "allocator", Allocator.EXPANDABLE if expandable else Allocator.NATIVE, keys.place("expandable_segments")
    )
    refuse_step(reading, "llm-foundry", "Composer's optimizers and loop, and FSDP1 as Composer wraps a model")


def _read_model(keys: Keys) -> None:
    reading = keys.reading
    reading.say("task", "sft", why="the loss of the next token")
    key = "model.pretrained_model_name_or_path"
    reading.say("model", keys.word(key), keys.place(key))
    flash, place = keys.flag("model.use_flash_attention_2"), keys.place("model.use_flash_attention_2")
    kind = keys.word("model.attn_config.attn_impl")
    if flash or kind == "flash":
        reading.say("attention", Attention.FLASH_2, place or keys.place("model.attn_config.attn_impl"))
    elif kind in (None, "torch"):
        choice = Attention.SDPA if kind is None else Attention.EAGER
        reading.say("attention", choice, keys.place("model.attn_config.attn_impl"), "" if kind else "transformers' own")
    else:
        reading.refuse(f"the attention {kind}", keys.place("model.attn_config.attn_impl"))
    if keys.entry(f"{_PEFT}.peft_type", f"{_PEFT}.r") is None:
        reading.say("finetuning", Finetuning.FULL, why="no peft_config")
        return
    reading.say("finetuning", Finetuning.LORA, keys.place(f"{_PEFT}.peft_type", f"{_PEFT}.r"))
    keys.say_whole("lora_rank", f"{_PEFT}.r", otherwise=8, why="PEFT's default")
    keys.say_whole("lora_alpha", f"{_PEFT}.lora_alpha", otherwise=8, why="PEFT's default")
    keys.say_share("lora_dropout", f"{_PEFT}.lora_dropout", otherwise=0.0, why="PEFT's default")
    read_targets(keys, f"{_PEFT}.target_modules", everything=("all-linear",))
    reading.say("adapter_dtype", AdapterDtype.FP32, why=f"{_SOURCE}: the whole model is fp32")
    reading.refuse("a frozen base in fp32", keys.place(f"{_PEFT}.peft_type", f"{_PEFT}.r"))


def _gpus(keys: Keys, run: Run) -> int | None:
    """Says the GPUs of a job's file, and returns them, or those of the command line."""
    source = keys.source
    compute = source.data.get("compute") if source.root else None
    gpus = compute.get("gpus") if isinstance(compute, dict) else None
    if isinstance(gpus, int) and not isinstance(gpus, bool) and 0 < gpus <= 1024:
        keys.reading.say("gpus", gpus, why="compute.gpus")
        return run.ranks or gpus
    return run.ranks


def _read_batch(keys: Keys, gpus: int | None) -> None:
    reading, entry = keys.reading, keys.entry("device_train_microbatch_size")
    wanted, place = keys.whole("global_train_batch_size"), keys.place("global_train_batch_size")
    if entry is None or entry.value == "auto":
        reading.say("micro_batch_size", "auto", entry and entry.place, "" if entry else _SOURCE)
        reading.refuse("a micro-batch that Composer halves until it fits", entry and entry.place)
        return
    micro = keys.whole("device_train_microbatch_size")
    if micro is None:
        return
    reading.say("micro_batch_size", micro, entry.place)
    if wanted and gpus:
        steps = max(1, wanted // gpus // max(1, micro))
        reading.say("gradient_accumulation_steps", steps, place, "global batch over GPUs and micro-batch")
    elif wanted:
        reading.say("global_batch_size", wanted, place)


def _read_engine(keys: Keys, gpus: int | None) -> None:
    reading = keys.reading
    config = keys.source.recipe.get("fsdp_config")
    if not config or gpus == 1:
        why = "one GPU: fsdp_config is ignored" if config else "no fsdp_config"
        reading.say("sharding", Sharding.NO_SHARD, why=why)
    else:
        key = "fsdp_config.sharding_strategy"
        name, place = (keys.word(key) or "FULL_SHARD").lower(), keys.place(key)
        if name in FSDP_STRATEGIES:
            reading.say("sharding", FSDP_STRATEGIES[name], place, "" if place else "composer/utils/parallelism.py")
        else:
            reading.refuse(f"the FSDP strategy {name}", place)
        reading.say("sharding_backend", ShardingBackend.FSDP1, place, "Composer's FSDP1")
    offloads = keys.flag("fsdp_config.cpu_offload")
    reading.say("offload", Offload.CPU if offloads else Offload.NONE, keys.place("fsdp_config.cpu_offload"))
    recomputes = keys.flag("fsdp_config.activation_checkpointing")
    reentrant = keys.flag("fsdp_config.activation_checkpointing_reentrant", otherwise=True)
    full = Checkpointing.FULL_REENTRANT if reentrant else Checkpointing.FULL
    place = keys.place("fsdp_config.activation_checkpointing")
    reading.say("checkpointing", full if recomputes else Checkpointing.NONE, place)
    if keys.flag("fsdp_config.activation_cpu_offload"):
        reading.say("checkpointing", Checkpointing.OFFLOAD, keys.place("fsdp_config.activation_cpu_offload"))


_SIGNS = words("global_train_batch_size device_train_microbatch_size train_loader")
READER = Reader("llm-foundry", _SOURCE, Role.RECIPE, TABLE, _SIGNS, read, root="parameters", interpolates=True)
