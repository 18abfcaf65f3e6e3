"""Reads LitGPT's YAML.

Source of defaults: litgpt 0.5.13, litgpt/finetune/*.py, pretrain.py, args.py. Which command runs is said by the keys:
LoRA's for `finetune_lora`, `model_name` for `pretrain`, else `finetune_full`.
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
    Loss,
    Offload,
    Optimizer,
    Precision,
    Quantization,
    Sharding,
    ShardingBackend,
)

_SOURCE = "litgpt 0.5.13"
_TARGETS = {
    "lora_query": ("q_proj",),
    "lora_key": ("k_proj",),
    "lora_value": ("v_proj",),
    "lora_projection": ("o_proj",),
    "lora_mlp": ("gate_proj", "up_proj", "down_proj"),
}
_ON_BY_DEFAULT = ("lora_query", "lora_value")
_PRECISIONS = {
    "bf16-true": Precision.BF16_TRUE,
    "bf16-mixed": Precision.BF16_MIXED,
    "16-true": Precision.FP16_TRUE,
    "16-mixed": Precision.FP16_MIXED,
    "32-true": Precision.FP32,
}
_QUANTIZATIONS = {
    "bnb.nf4": Quantization.NF4,
    "bnb.nf4-dq": Quantization.NF4_DOUBLE,
    "bnb.int8-training": Quantization.INT8,
}
_OPTIMIZERS = {"torch.optim.AdamW": Optimizer.ADAMW_FOREACH, "torch.optim.SGD": Optimizer.SGD}

TABLE = Table(
    decides={
        "checkpoint_dir": "model",
        "model_name": "model",
        "precision": "precision",
        "quantize": "quantization",
        "devices": "gpus",
        "num_nodes": "nodes",
        "lora_r": "lora_rank",
        "lora_alpha": "lora_alpha",
        "lora_dropout": "lora_dropout",
        **dict.fromkeys(_TARGETS, "lora_targets"),
        "lora_head": "lora_targets",
        "train.global_batch_size": "gradient_accumulation_steps",
        "train.micro_batch_size": "micro_batch_size",
        "train.max_seq_length": "sequence_length",
        "optimizer.class_path": "optimizer",
        "optimizer": "optimizer",
        "optimizer.init_args.fused": "optimizer",
    },
    no_word={
        "model_config": "an architecture of litgpt's own",
        "adapter_start_layer": "LLaMA-Adapter",
        "train.tie_embeddings": "embeddings that are tied for training",
    },
    idle=words("out_dir resume data eval logger_name seed initial_checkpoint_dir tokenizer_dir access_token"),
    idle_prefixes=("train.", "eval.", "data.", "optimizer.init_args", "log."),
)


def read(keys: Keys, run: Run) -> None:
    """Says what a run of LitGPT does."""
    reading = keys.reading
    _read_model(keys)
    _read_finetuning(keys)
    gpus, nodes = _read_devices(keys)
    name, place = keys.word("precision") or "bf16-true", keys.place("precision")
    if name in _PRECISIONS:
        reading.say("precision", _PRECISIONS[name], place, "" if place else f"{_SOURCE}: bf16-true where supported")
    else:
        reading.refuse(f"the precision {name}", place)
    micro = keys.say_whole("micro_batch_size", "train.micro_batch_size", otherwise=1, why=f"{_SOURCE}, args.py")
    wanted = keys.whole("train.global_batch_size") or 16
    if gpus is None:
        reading.say("global_batch_size", wanted, keys.place("train.global_batch_size"))
    else:  # args.py, `gradient_accumulation_iters`: whole divisions, at least 1
        steps = max(1, wanted // (gpus * nodes) // max(1, micro))
        place = keys.place("train.global_batch_size")
        reading.say("gradient_accumulation_steps", steps, place, "global batch over GPUs and micro-batch")
    keys.say_length("train.max_seq_length")
    pretrains = keys.entry("model_name") is not None
    batching = Batching.FULL if pretrains else Batching.PADDED
    reading.say("batching", batching, why=f"{_SOURCE}: {'rows of one length' if pretrains else 'to the longest'}")
    _read_optimizer(keys)
    reading.say("attention", Attention.SDPA, why=f"{_SOURCE}, model.py")
    compiled = Kernels.COMPILE if pretrains else Kernels.EAGER
    reading.say("kernels", compiled, why=f"{_SOURCE}, {'pretrain.py' if pretrains else 'finetune/*.py'}")
    adapters = reading.value("finetuning") is not Finetuning.FULL
    if adapters:
        reading.say("loss", Loss.CHUNKED, why=f"{_SOURCE}, finetune/lora.py: the head in chunks of 128 tokens")
        reading.say("loss_chunk_tokens", 128, why=f"{_SOURCE}, finetune/lora.py")
    else:
        reading.say("loss", Loss.FULL, why=f"{_SOURCE}: whole logits, cross-entropy in chunks of 128 tokens")
    refuse_step(reading, "litgpt", "its own layers, a fused GELU, and a loss in chunks of 128 tokens")


def _read_model(keys: Keys) -> None:
    reading = keys.reading
    folder, place = (keys.word("checkpoint_dir") or "").rstrip("/"), keys.place("checkpoint_dir")
    reading.say("task", "sft", why="a command that fine-tunes")
    if keys.entry("model_name"):
        reading.say("task", "pretraining", keys.place("model_name"))
        reading.say("model", keys.word("model_name"), keys.place("model_name"))
    elif folder:
        owner, _, name = folder.rpartition("/")
        owner = owner.rpartition("/")[2]
        reading.say("model", f"{owner}/{name}" if owner else name, place, "checkpoints/ORGANISATION/NAME")


def _read_finetuning(keys: Keys) -> None:
    reading, source = keys.reading, f"{_SOURCE}, finetune/lora.py"
    quantize, place = keys.word("quantize"), keys.place("quantize")
    if keys.entry("lora_r", *_TARGETS, "lora_alpha", "lora_dropout") is None:
        reading.say("finetuning", Finetuning.FULL, why="no key of LoRA")
        if quantize is not None:
            reading.refuse("full fine-tuning of a quantized base", place)
        return
    reading.say("finetuning", Finetuning.LORA, keys.place("lora_r"))
    if quantize in _QUANTIZATIONS:
        reading.say("finetuning", Finetuning.QLORA, place)
        reading.say("quantization", _QUANTIZATIONS[quantize], place)
    elif quantize is not None:
        reading.refuse(f"a base in {quantize}", place)
    keys.say_whole("lora_rank", "lora_r", otherwise=8, why=source)
    keys.say_whole("lora_alpha", "lora_alpha", otherwise=16, why=source)
    keys.say_share("lora_dropout", "lora_dropout", otherwise=0.05, why=source)
    layers = [
        name for key, names in _TARGETS.items() if keys.flag(key, otherwise=key in _ON_BY_DEFAULT) for name in names
    ]
    reading.say("lora_targets", tuple(layers), keys.place(*_TARGETS), "" if keys.entry(*_TARGETS) else source)
    if keys.flag("lora_head"):
        reading.refuse("adapters on the head", keys.place("lora_head"))
    reading.say("adapter_dtype", AdapterDtype.WEIGHTS, why=f"{source}: adapters have the dtype of the base")


def _read_devices(keys: Keys) -> tuple[int | None, int]:
    """Says the GPUs, and what follows from them: more than one are sharded, with checkpointing of blocks."""
    reading, place, nodes = keys.reading, keys.place("devices"), keys.whole("num_nodes") or 1
    reading.say("offload", Offload.NONE, why=_SOURCE)
    if keys.word("devices") == "auto":
        reading.say("sharding", Sharding.FULL_SHARD, place, "all GPUs of the machine")
        return None, nodes
    gpus = keys.whole("devices") or 1
    reading.say("gpus", gpus, place, "" if place else _SOURCE)
    reading.say("nodes", nodes, keys.place("num_nodes"))
    several = gpus * nodes > 1
    pretrains, full = keys.entry("model_name") is not None, reading.value("finetuning") is Finetuning.FULL
    recomputes = several and not pretrains
    choice, why = Checkpointing.FULL if recomputes else Checkpointing.NONE, f"{_SOURCE}: of blocks on several GPUs"
    reading.say("checkpointing", choice, place, why)
    if not several:
        reading.say("sharding", Sharding.NO_SHARD, place, "one GPU")
        return gpus, nodes
    reading.say(
        "sharding", Sharding.HYBRID_SHARD if pretrains else Sharding.FULL_SHARD, place, f"{_SOURCE}: several GPUs"
    )
    backend = ShardingBackend.FSDP1 if full else ShardingBackend.FSDP2
    reading.say("sharding_backend", backend, place, f"{_SOURCE}, finetune/{'full' if full else 'lora'}.py")
    return gpus, nodes


def _read_optimizer(keys: Keys) -> None:
    reading = keys.reading
    if reading.value("quantization") is not None:
        why = f"{_SOURCE}, utils.py: bitsandbytes' PagedAdamW over a quantized base"
        reading.say("optimizer", Optimizer.PAGED_ADAMW_32BIT, keys.place("quantize"), why)
        return
    entry = keys.entry("optimizer.class_path", "optimizer")
    name, place = ("torch.optim.AdamW", None) if entry is None else (str(entry.value), entry.place)
    name = f"torch.optim.{name}" if "." not in name else name
    if keys.flag("optimizer.init_args.fused") and name == "torch.optim.AdamW":
        reading.say("optimizer", Optimizer.ADAMW, place)
    elif name in _OPTIMIZERS:
        reading.say("optimizer", _OPTIMIZERS[name], place, "" if place else _SOURCE)
    else:
        reading.refuse(f"the optimizer {name}", place)


READER = Reader("litgpt", _SOURCE, Role.RECIPE, TABLE, frozenset({"out_dir"}), read)
