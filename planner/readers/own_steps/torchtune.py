"""Reads torchtune's YAML.

Source of defaults: torchtune bd2a0fc, recipes/*.py, torchtune/models/*/_model_builders.py. Which recipe runs, on one
device or distributed, is on the command line: the number of GPUs decides it.
"""

from __future__ import annotations

from planner.readers.documents.keys import Keys
from planner.readers.documents.table import Table, words
from planner.readers.own_steps.models import TORCHTUNE
from planner.readers.own_steps.shared import read_packing, refuse_step
from planner.readers.reader import Reader, Role
from planner.readers.run import Run
from strategies import (
    AdapterDtype,
    Attention,
    Checkpointing,
    Finetuning,
    Kernels,
    LoraVariant,
    Loss,
    Offload,
    Optimizer,
    Precision,
    Quantization,
    Sharding,
    ShardingBackend,
    Update,
)

_SOURCE = "torchtune bd2a0fc"
_DISTRIBUTED = (
    "custom_sharded_layers",
    "fsdp_cpu_offload",
    "fsdp_reshard_after_forward",
    "data_parallel_shard_dim",
    "data_parallel_replicate_dim",
)
_OPTIMIZERS = {
    "bitsandbytes.optim.PagedAdamW": Optimizer.PAGED_ADAMW_32BIT,
    "bitsandbytes.optim.PagedAdamW8bit": Optimizer.PAGED_ADAMW_8BIT,
    "bitsandbytes.optim.AdamW8bit": Optimizer.ADAMW_8BIT,
    "torchao.optim.AdamW8bit": Optimizer.ADAMW_8BIT_TORCHAO,
    "torchao.optim.AdamW4bit": Optimizer.ADAMW_4BIT,
    "torch.optim.SGD": Optimizer.SGD,
}
_LAYERS = {"output_proj": "o_proj"}
_MLP = ("gate_proj", "up_proj", "down_proj")
_DTYPES = {"bf16": Precision.BF16_TRUE, "fp16": Precision.FP16_TRUE, "fp32": Precision.FP32}
_CHUNKED = ("LinearCrossEntropyLoss", "CEWithChunkedOutputLoss")

TABLE = Table(
    decides={
        "model._component_": "model, finetuning",
        "checkpointer.checkpoint_dir": "model",
        "model.lora_attn_modules": "lora_targets",
        "model.apply_lora_to_mlp": "lora_targets",
        "model.apply_lora_to_output": "lora_targets",
        "model.lora_rank": "lora_rank",
        "model.lora_alpha": "lora_alpha",
        "model.lora_dropout": "lora_dropout",
        "model.use_dora": "lora_variant",
        "model.quantize_base": "quantization",
        "dtype": "precision",
        "batch_size": "micro_batch_size",
        "gradient_accumulation_steps": "gradient_accumulation_steps",
        "tokenizer.max_seq_len": "sequence_length",
        "dataset.packed": "batching",
        "optimizer._component_": "optimizer",
        "optimizer.fused": "optimizer",
        "optimizer_in_bwd": "update",
        "enable_activation_checkpointing": "checkpointing",
        "enable_activation_offloading": "checkpointing",
        "loss._component_": "loss",
        "loss.num_output_chunks": "loss_chunks",
        "compile": "kernels",
        **dict.fromkeys(_DISTRIBUTED, "sharding"),
    },
    no_word={
        "tensor_parallel_dim": "tensor parallelism",
        "context_parallel_dim": "context parallelism",
        "quantizer": "quantization-aware training",
        "teacher_model": "distillation: a teacher beside the model",
        "teacher_checkpointer": "distillation: a teacher beside the model",
        "ref_checkpointer": "a reference model",
        "reward_and_value_model": "PPO: four models",
        "ac_mode": "torchtune's selective checkpointing",
        "model.encoder_trainable": "images beside the text",
        "model.fusion_trainable": "images beside the text",
        "enable_fp8_training": "fp8 by torchao",
    },
    idle=words(
        """
        output_dir seed shuffle epochs max_steps_per_epoch clip_grad_norm log_every_n_steps log_peak_memory_stats
        log_level device resume_from_checkpoint save_adapter_weights_only run_val_every_n_steps batch_size_val
        tensor_parallel_plan teacher_rank kd_ratio ac_option save_every_n_steps keep_last_n_checkpoints
        enable_async_checkpointing gradient_checkpointing model.decoder_trainable model.image_size base_model
        cudnn_deterministic_mode max_generated_tokens prompt temperature top_k quantizer_mode
        """
    ),
    idle_prefixes=(
        *("tokenizer.", "dataset.", "dataset_val", "checkpointer.", "optimizer.", "loss.", "metric_logger."),
        *("lr_scheduler", "profiler", "kd_loss", "teacher_", "model.layer_dropout"),
    ),
    dead={"fsdp": "recipes read fsdp_cpu_offload and fsdp_reshard_after_forward"},
)


def read(keys: Keys, run: Run) -> None:
    """Says what a run of torchtune does."""
    reading = keys.reading
    _read_model(keys)
    _read_loss(keys)
    _read_sharding(keys, run)
    name = (keys.word("dtype") or "").lower()
    if name in _DTYPES:
        reading.say("precision", _DTYPES[name], keys.place("dtype"), "weights stay as they are loaded")
    else:
        reading.refuse(f"the dtype {name or 'of nothing'}", keys.place("dtype"))
    keys.say_whole("micro_batch_size", "batch_size", otherwise=1, why=_SOURCE)
    keys.say_whole("gradient_accumulation_steps", "gradient_accumulation_steps", otherwise=1, why=_SOURCE)
    keys.say_length("tokenizer.max_seq_len")
    read_packing(keys, "dataset.packed", _SOURCE)
    _read_optimizer(keys)
    _read_checkpointing(keys)
    reading.say("attention", Attention.SDPA, why=f"{_SOURCE}, modules/attention_utils.py")
    compiled = keys.flag("compile")
    reading.say("kernels", Kernels.COMPILE if compiled else Kernels.EAGER, keys.place("compile"))
    refuse_step(reading, "torchtune", "its own layers, a loss in chunks of the head, its FSDP2 groups")


def _read_model(keys: Keys) -> None:
    reading, place = keys.reading, keys.place("model._component_")
    builder = (keys.word("model._component_") or "").rpartition(".")[2]
    method, _, bare = builder.partition("_")
    quantized = method == "qlora" or keys.flag("model.quantize_base")
    if method not in ("lora", "qlora"):
        method, bare = "full", builder
    folder = (keys.word("checkpointer.checkpoint_dir") or "").rstrip("/").rpartition("/")[2]
    if bare in TORCHTUNE:
        instruct = folder.endswith("-Instruct") and not TORCHTUNE[bare].endswith("-Instruct")
        reading.say("model", TORCHTUNE[bare] + ("-Instruct" if instruct else ""), place, f"the builder {builder}")
    else:
        reading.refuse(f"the model that {builder or 'nothing'} builds", place)
    if method == "full":
        reading.say("finetuning", Finetuning.FULL, place)
        return
    reading.say("finetuning", Finetuning.QLORA if quantized else Finetuning.LORA, place)
    if quantized:
        at = keys.place("model.quantize_base") or place
        reading.say("quantization", Quantization.NF4_DOUBLE, at, "torchao's NF4Tensor, whose scales are int8")
    why = f"{_SOURCE}, models/*/_model_builders.py"
    keys.say_whole("lora_rank", "model.lora_rank", otherwise=8, why=why)
    keys.say_whole("lora_alpha", "model.lora_alpha", otherwise=16, why=why)
    keys.say_share("lora_dropout", "model.lora_dropout", otherwise=0.0, why=why)
    layers = [_LAYERS.get(name, name) for name in keys.names("model.lora_attn_modules") or ()]
    layers += _MLP if keys.flag("model.apply_lora_to_mlp") else ()
    reading.say("lora_targets", tuple(layers), keys.place("model.lora_attn_modules"))
    if keys.flag("model.apply_lora_to_output"):
        reading.refuse("adapters on the head", keys.place("model.apply_lora_to_output"))
    if keys.flag("model.use_dora"):
        reading.say("lora_variant", LoraVariant.DORA, keys.place("model.use_dora"))
    reading.say("adapter_dtype", AdapterDtype.WEIGHTS, why=f"{_SOURCE}: adapters have the dtype of the base")


def _read_loss(keys: Keys) -> None:
    reading, name = keys.reading, (keys.word("loss._component_") or "").rpartition(".")[2]
    place = keys.place("loss._component_")
    reading.say("task", "sft", why="the loss of the next token")
    if name in _CHUNKED:
        reading.say("loss", Loss.CHUNKED, place)
        keys.say_whole("loss_chunks", "loss.num_output_chunks", otherwise=8, why=_SOURCE)
    elif name == "CrossEntropyLoss":
        reading.say("loss", Loss.FULL, place)
    elif "DPO" in name:
        reading.say("task", "dpo", place)
        reading.refuse("dpo: pairs, and a reference model beside the one that trains", place)
    else:
        reading.refuse(f"the loss {name or 'of nothing'}", place)


def _read_sharding(keys: Keys, run: Run) -> None:
    reading, place = keys.reading, keys.place(*_DISTRIBUTED)
    if run.ranks == 1:
        reading.say("sharding", Sharding.NO_SHARD, why="one GPU: a single-device recipe")
    elif run.ranks is not None or place is not None:
        why = "several GPUs: a distributed recipe" if place is None else ""
        reshards = keys.flag("fsdp_reshard_after_forward", otherwise=True)
        reading.say("sharding", Sharding.FULL_SHARD if reshards else Sharding.SHARD_GRAD_OP, place, why)
        reading.say("sharding_backend", ShardingBackend.FSDP2, place, why)
        replicas = keys.whole("data_parallel_replicate_dim")
        if replicas and replicas > 1:
            reading.say("sharding", Sharding.HYBRID_SHARD, keys.place("data_parallel_replicate_dim"))
    offloads = keys.flag("fsdp_cpu_offload")
    reading.say("offload", Offload.CPU if offloads else Offload.NONE, keys.place("fsdp_cpu_offload"))


def _read_optimizer(keys: Keys) -> None:
    reading, name, place = keys.reading, keys.word("optimizer._component_") or "", keys.place("optimizer._component_")
    if name in ("torch.optim.AdamW", "torch.optim.Adam"):
        fused = keys.flag("optimizer.fused")
        reading.say("optimizer", Optimizer.ADAMW if fused else Optimizer.ADAMW_FOREACH, place)
    elif name in _OPTIMIZERS:
        reading.say("optimizer", _OPTIMIZERS[name], place)
    else:
        reading.refuse(f"the optimizer {name or 'of nothing'}", place)
    in_backward = keys.flag("optimizer_in_bwd")
    update = Update.IN_BACKWARD if in_backward else Update.AFTER_BACKWARD
    reading.say("update", update, keys.place("optimizer_in_bwd"))


def _read_checkpointing(keys: Keys) -> None:
    reading, place = keys.reading, keys.place("enable_activation_checkpointing")
    recomputes = keys.flag("enable_activation_checkpointing")
    reading.say("checkpointing", Checkpointing.FULL if recomputes else Checkpointing.NONE, place)
    if keys.flag("enable_activation_offloading"):
        at = keys.place("enable_activation_offloading")
        reading.say("checkpointing", Checkpointing.OFFLOAD, at, "inputs of the blocks wait on the host")
        if not recomputes:
            reading.refuse("activation offloading without checkpointing", at)


READER = Reader("torchtune", _SOURCE, Role.RECIPE, TABLE, frozenset({"checkpointer"}), read, interpolates=True)
