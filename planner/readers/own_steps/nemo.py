"""Reads NVIDIA NeMo AutoModel's YAML.

Source of defaults: NeMo AutoModel 36044ad, nemo_automodel/components/*. Classes that a file names are looked up by
name, never imported.
"""

from __future__ import annotations

from planner.readers.documents.keys import Keys
from planner.readers.documents.table import Table, words
from planner.readers.own_steps.shared import refuse_step
from planner.readers.reader import Reader, Role
from planner.readers.run import Run
from strategies import (
    AdapterDtype,
    Attention,
    Batching,
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
)

_SOURCE = "NeMo AutoModel 36044ad"
_PARALLEL = {
    "tp_size": "tensor parallelism",
    "cp_size": "context parallelism",
    "pp_size": "pipeline parallelism",
    "ep_size": "expert parallelism",
}
_QUANTIZED = ("load_in_4bit", "load_in_8bit", "bnb_4bit_use_double_quant", "bnb_4bit_quant_type")

TABLE = Table(
    decides={
        "recipe": "task",
        "model.pretrained_model_name_or_path": "model",
        "model.torch_dtype": "precision",
        "model.attn_implementation": "attention",
        "distributed.strategy": "sharding",
        "distributed.activation_checkpointing": "checkpointing",
        "step_scheduler.local_batch_size": "micro_batch_size",
        "step_scheduler.global_batch_size": "gradient_accumulation_steps",
        "packed_sequence.packed_sequence_size": "sequence_length, batching",
        "dataset.seq_length": "sequence_length",
        "peft.dim": "lora_rank",
        "peft.alpha": "lora_alpha",
        "peft.dropout": "lora_dropout",
        "peft.target_modules": "lora_targets",
        "peft.use_dora": "lora_variant",
        **{f"quantization.{name}": "quantization" for name in _QUANTIZED},
        "optimizer._target_": "optimizer",
        "optimizer.foreach": "optimizer",
        "loss_fn._target_": "loss",
        "compile.enabled": "kernels",
        "distributed.dp_replicate_size": "sharding",
    },
    no_word={
        **{f"distributed.{name}": what for name, what in _PARALLEL.items()},
        "distributed.sequence_parallel": "sequence parallelism",
        "fp8.enabled": "fp8 by torchao or Transformer Engine",
        "qat": "quantization-aware training",
        "freeze_config": "images or sound beside the text",
        "model.backend": "attention and experts of Transformer Engine",
        "model.config": "an architecture that the file describes",
        "distributed.pipeline": "pipeline parallelism",
        "distributed.moe": "expert parallelism",
        "teacher_model": "distillation: a teacher beside the model",
    },
    idle=words("""dist_env rng clip_grad_norm dataloader validation_dataset validation_dataloader lr_scheduler ci wandb
               checkpoint seed temperature tokenizer dataset mlflow logger benchmark distributed.dp_size slurm"""),
    idle_prefixes=(
        *("step_scheduler.", "dist_env.", "rng.", "dataset.", "optimizer.", "compile.", "loss_fn.", "peft."),
        *("packed_sequence.", "quantization.", "model.", "distributed."),
    ),
)


def read(keys: Keys, run: Run) -> None:
    """Says what a run of NeMo AutoModel does."""
    reading = keys.reading
    recipe, place = keys.word("recipe") or "", keys.place("recipe")
    reading.say("task", "sft", place)
    if recipe.rpartition(".")[2] != "TrainFinetuneRecipeForNextTokenPrediction":
        reading.refuse(f"the recipe {recipe or 'of nothing'}: not the next-token loss of one sequence a sample", place)
    key = "model.pretrained_model_name_or_path"
    reading.say("model", keys.word(key), keys.place(key))
    _read_finetuning(keys)
    _read_precision(keys)
    _read_batch(keys, run)
    _read_engine(keys, run)
    _read_optimizer(keys)
    name, place = keys.word("model.attn_implementation"), keys.place("model.attn_implementation")
    attention = {None: Attention.FLASH_2, "flash_attention_2": Attention.FLASH_2, "sdpa": Attention.SDPA}.get(name)
    if attention is None:
        reading.refuse(f"the attention {name}", place)
    else:
        reading.say("attention", attention, place, "" if place else f"{_SOURCE}: flash-attention-2 if it is installed")
    compiled = keys.flag("compile.enabled")
    reading.say("kernels", Kernels.COMPILE if compiled else Kernels.EAGER, keys.place("compile.enabled"))
    loss, place = (keys.word("loss_fn._target_") or "").rpartition(".")[2], keys.place("loss_fn._target_")
    if loss == "MaskedCrossEntropy":
        reading.say("loss", Loss.FULL, place)
    else:
        reading.refuse(f"the loss {loss or 'of nothing'}", place)
    refuse_step(reading, "NeMo AutoModel", "its FSDP2 policy, its adapters and a loss in fp32")


def _read_finetuning(keys: Keys) -> None:
    reading, names = keys.reading, ("peft.dim", "peft.target_modules", "peft.alpha")
    four, place = keys.flag("quantization.load_in_4bit"), keys.place("quantization.load_in_4bit")
    eight = keys.flag("quantization.load_in_8bit")
    if keys.entry(*names) is None:
        reading.say("finetuning", Finetuning.FULL, why="no peft")
        return
    reading.say("finetuning", Finetuning.QLORA if four or eight else Finetuning.LORA, keys.place(*names))
    if four:
        double = keys.flag("quantization.bnb_4bit_use_double_quant")
        reading.say("quantization", Quantization.NF4_DOUBLE if double else Quantization.NF4, place)
        kind = keys.word("quantization.bnb_4bit_quant_type") or "nf4"
        if kind != "nf4":
            reading.refuse(f"a base in {kind}", keys.place("quantization.bnb_4bit_quant_type"))
    elif eight:
        reading.say("quantization", Quantization.INT8, keys.place("quantization.load_in_8bit"))
    why = f"{_SOURCE}, components/_peft/lora.py"
    keys.say_whole("lora_rank", "peft.dim", otherwise=8, why=why)
    keys.say_whole("lora_alpha", "peft.alpha", otherwise=32, why=why)
    keys.say_share("lora_dropout", "peft.dropout", otherwise=0.0, why=why)
    targets, place = keys.names("peft.target_modules") or ("*_proj",), keys.place("peft.target_modules")
    if targets == ("*_proj",):
        reading.say("lora_targets", "all-linear", place, "" if place else why)
    elif any("*" in name for name in targets):
        reading.refuse("a wildcard that chooses the layers with adapters", place)
    else:
        reading.say("lora_targets", targets, place)
    if keys.flag("peft.use_dora"):
        reading.say("lora_variant", LoraVariant.DORA, keys.place("peft.use_dora"))
    reading.say("adapter_dtype", AdapterDtype.WEIGHTS, why=f"{why}: adapters have the dtype of the base")


def _read_precision(keys: Keys) -> None:
    reading, name, place = keys.reading, keys.word("model.torch_dtype"), keys.place("model.torch_dtype")
    if name is None and reading.value("finetuning") is Finetuning.FULL:
        why = f"{_SOURCE}, components/optim/precision_warnings.py: fp32 weights, computed in bf16"
        reading.say("precision", Precision.BF16_MIXED, why=why)
    elif name in (None, "bfloat16", "bf16", "auto", "torch.bfloat16"):
        reading.say("precision", Precision.BF16_TRUE, place, "" if place else _SOURCE)
    elif name in ("float32", "torch.float32", "fp32"):
        reading.say("precision", Precision.BF16_MIXED, place, "fp32 weights, computed in bf16")
    else:
        reading.refuse(f"the dtype {name}", place)


def _read_batch(keys: Keys, run: Run) -> None:
    reading, key = keys.reading, "step_scheduler.global_batch_size"
    micro = keys.say_whole("micro_batch_size", "step_scheduler.local_batch_size", otherwise=1, why=_SOURCE)
    wanted = keys.whole(key)
    if wanted and run.ranks:
        steps = max(1, wanted // run.ranks // max(1, micro))
        reading.say("gradient_accumulation_steps", steps, keys.place(key), "global batch over GPUs and micro-batch")
    elif wanted:
        reading.say("global_batch_size", wanted, keys.place(key))
    packed, place = "packed_sequence.packed_sequence_size", keys.place("packed_sequence.packed_sequence_size")
    length = keys.whole(packed)
    reading.say("batching", Batching.PACKED if length else Batching.PADDED, place)
    if length:
        reading.say("sequence_length", length, place)
    else:
        keys.say_length("dataset.seq_length")


def _read_engine(keys: Keys, run: Run) -> None:
    reading, name, place = keys.reading, keys.word("distributed.strategy") or "", keys.place("distributed.strategy")
    if name == "fsdp2":
        replicas = keys.whole("distributed.dp_replicate_size") or 1
        reading.say("sharding", Sharding.HYBRID_SHARD if replicas > 1 else Sharding.FULL_SHARD, place)
        reading.say("sharding_backend", ShardingBackend.FSDP2, place)
    elif name == "ddp":
        reading.say("sharding", Sharding.NO_SHARD, place)
    else:
        reading.refuse(f"the engine {name or 'of nothing'}", place)
    reading.say("offload", Offload.NONE, why=_SOURCE)
    recomputes = keys.flag("distributed.activation_checkpointing")
    place = keys.place("distributed.activation_checkpointing")
    choice = Checkpointing.FULL if recomputes else Checkpointing.NONE
    reading.say("checkpointing", choice, place, "" if place else f"{_SOURCE}, components/distributed/config.py")


def _read_optimizer(keys: Keys) -> None:
    reading, name, place = keys.reading, keys.word("optimizer._target_") or "", keys.place("optimizer._target_")
    if name in ("torch.optim.AdamW", "torch.optim.Adam"):
        foreach = keys.flag("optimizer.foreach", otherwise=True)
        reading.say("optimizer", Optimizer.ADAMW_FOREACH if foreach else Optimizer.ADAMW, place)
    else:
        reading.refuse(f"the optimizer {name or 'of nothing'}", place)


READER = Reader("NeMo AutoModel", _SOURCE, Role.RECIPE, TABLE, frozenset({"step_scheduler"}), read, interpolates=True)
