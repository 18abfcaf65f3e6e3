"""Reads LLaMA-Factory's YAML.

Source of defaults: LLaMA-Factory 0.9.5, hparams/*.py, model/adapter.py, model/model_utils/*.py.
"""

from __future__ import annotations

from planner.readers.documents.keys import Keys, is_on
from planner.readers.documents.table import words
from planner.readers.frameworks.spelling import LLAMA_FACTORY
from planner.readers.reader import Reader, Role
from planner.readers.run import Run
from planner.readers.tables.llama_factory import IMAGES, LOW_RANK, MEGATRON, NOT_TRAINING, OTHER_OPTIMIZERS, TABLE
from planner.readers.trainer.engine import read_engine
from planner.readers.trainer.optimizer import read_trainer_optimizer
from planner.readers.trainer.precision import read_adapter_dtypes, read_precision
from planner.readers.trainer.shared import (
    LEFT_TO_TRANSFORMERS,
    read_batches,
    read_evaluation,
    read_targets,
    read_trained_modules,
    read_variants,
)
from strategies import (
    AdapterDtype,
    Attention,
    Batching,
    Checkpointing,
    Finetuning,
    Framework,
    Kernels,
    Loss,
    Optimizer,
    Quantization,
    Sharding,
    ShardingBackend,
    UnquantizedDtype,
    Update,
)

_SOURCE = "LLaMA-Factory 0.9.5"
_METHODS = {"full": Finetuning.FULL, "lora": Finetuning.LORA, "freeze": Finetuning.FREEZE}
_ATTENTIONS = {
    "auto": Attention.SDPA,
    "disabled": Attention.EAGER,
    "sdpa": Attention.SDPA,
    "fa2": Attention.FLASH_2,
    "fa3": Attention.FLASH_3,
    "true": Attention.FLASH_2,  # until 0.7, hparams/model_args.py: `flash_attn: bool`, a flag without a value
}


def read(keys: Keys, run: Run) -> None:
    """Says what a run of LLaMA-Factory does."""
    reading = keys.reading
    reading.say("model", keys.word("model_name_or_path"), keys.place("model_name_or_path"))
    stage = keys.word("stage") or "sft"
    reading.say("task", stage, keys.place("stage"), "" if keys.entry("stage") else _SOURCE)
    if stage not in ("pt", "sft"):
        reading.refuse(f"{stage}: not the next-token loss of one sequence a sample", keys.place("stage"))
    _check_program(keys)
    _read_finetuning(keys)
    read_engine(keys, run)
    _read_precision(keys)
    read_batches(keys, "per_device_train_batch_size", 8, "transformers/training_args.py")
    keys.say_whole("sequence_length", "cutoff_len", otherwise=2048, why=f"{_SOURCE}, hparams/data_args.py")
    _read_batching(keys, stage)
    _read_optimizer(keys)
    _read_checkpointing(keys)
    _read_kernels(keys, stage)
    if any((found := keys.entry(name)) and is_on(name, found.value) for name in ("val_size", "eval_dataset")):
        read_evaluation(keys)


def _check_program(keys: Keys) -> None:
    """Refuses files of which no training of text comes: those that serve a model, Megatron's, and those with images."""
    reading = keys.reading
    if (place := keys.place(*NOT_TRAINING)) is not None and not keys.flag("do_train"):
        reading.refuse("a file that evaluates, merges or serves a model: nothing trains", place)
    if (place := keys.place(*MEGATRON)) is not None:
        reading.refuse("Megatron's engine, with parallelism of its own", place)
    if (place := keys.place(*IMAGES)) is not None:
        reading.refuse("images, videos or sound beside the text", place)


def _read_finetuning(keys: Keys) -> None:
    reading = keys.reading
    name, place = keys.word("finetuning_type") or "lora", keys.place("finetuning_type")
    if name not in _METHODS:
        reading.refuse(f"the fine-tuning {name}", place)
        return
    reading.say("finetuning", method := _METHODS[name], place, "" if place else f"{_SOURCE}, finetuning_args.py")
    if method is Finetuning.FREEZE:
        keys.say_whole("trained_blocks", "freeze_trainable_layers", otherwise=2, why=_SOURCE)
        read_trained_modules(keys, "freeze_extra_modules")
    if method is not Finetuning.LORA:
        return
    _read_quantization(keys)
    why = f"{_SOURCE}, hparams/finetuning_args.py"
    rank = keys.say_whole("lora_rank", "lora_rank", otherwise=8, why=why)
    keys.say_share("lora_dropout", "lora_dropout", otherwise=0.0, why=why)
    keys.say_whole("lora_alpha", "lora_alpha", otherwise=2 * rank, why=why)
    if not read_targets(keys, "lora_target", everything=("all",)):
        reading.say("lora_targets", "all-linear", why=f"{_SOURCE}, hparams/finetuning_args.py")
    read_trained_modules(keys, "additional_target")
    read_variants(keys, "use_")


def _read_quantization(keys: Keys) -> None:
    reading, bits, place = keys.reading, keys.whole("quantization_bit"), keys.place("quantization_bit")
    if not bits:
        return
    library, kind = keys.word("quantization_method") or "bnb", keys.word("quantization_type") or "nf4"
    if library.lower() not in ("bnb", "bitsandbytes") or kind != "nf4" or bits not in (4, 8):
        reading.refuse(f"a base in {bits} bits by {library}, {kind}", place)
        return
    double = keys.flag("double_quantization", otherwise=True)
    four = Quantization.NF4_DOUBLE if double else Quantization.NF4
    why = f"double_quantization: {_SOURCE}, hparams/model_args.py" if bits == 4 and double else ""
    reading.say("quantization", four if bits == 4 else Quantization.INT8, place, why)
    reading.say("finetuning", Finetuning.QLORA, place, "lora over a quantized base")


def _read_precision(keys: Keys) -> None:
    reading = keys.reading
    half = "bf16" if keys.flag("bf16") else "fp16" if keys.flag("fp16") else None
    place = keys.place(half or "bf16")
    if half is None and (launched := reading.said.get("launcher precision")):
        half, place = launched.value, launched.place
    if keys.flag("pure_bf16"):
        read_precision(reading, None, keys.place("pure_bf16"), stored="bf16", raised_by=())
    else:  # model/adapter.py: what trains is cast to fp32
        read_precision(reading, half, place or keys.place("tf32"), stored="fp32", tf32=keys.flag("tf32"))
    adapters, why = AdapterDtype.FP32, f"{_SOURCE}, model/adapter.py"
    zero3 = reading.value("sharding") is Sharding.FULL_SHARD and reading.value("quantization") is None
    if zero3 and reading.value("sharding_backend") is ShardingBackend.DEEPSPEED:
        adapters, why = AdapterDtype.WEIGHTS, f"{_SOURCE}, model/adapter.py: adapters are not cast under ZeRO-3"
    read_adapter_dtypes(reading, adapters, UnquantizedDtype.FP16 if half == "fp16" else UnquantizedDtype.BF16, why)


def _read_batching(keys: Keys, stage: str) -> None:
    reading = keys.reading
    if keys.flag("neat_packing"):
        reading.say("batching", Batching.PACKED, keys.place("neat_packing"))
        reading.rows_stay_apart = True
        if keys.word("flash_attn") == "fa2" and reading.value("micro_batch_size") > 1:
            what = "neat_packing with FlashAttention in a micro-batch above 1, which LLaMA-Factory refuses"
            reading.refuse(what, keys.place("neat_packing"))
    elif keys.flag("packing", otherwise=stage == "pt"):
        reading.say("batching", Batching.FULL, keys.place("packing"), "packed rows whose positions run on")
    else:
        reading.say("batching", Batching.PADDED, keys.place("packing"), f"{_SOURCE}: only pt packs by itself")


def _read_optimizer(keys: Keys) -> None:
    reading = keys.reading
    for name, optimizer in LOW_RANK.items():
        if keys.flag(f"use_{name}"):
            mini = name == "apollo" and keys.word("apollo_scale_type") == "tensor" and keys.whole("apollo_rank") == 1
            reading.say("optimizer", Optimizer.APOLLO_MINI if mini else optimizer, keys.place(f"use_{name}"))
            why = f"{_SOURCE}, hparams/finetuning_args.py"
            if not mini:
                keys.say_whole("optimizer_rank", f"{name}_rank", otherwise=16, why=why)
            if keys.flag(f"{name}_layerwise"):
                reading.say("update", Update.IN_BACKWARD, keys.place(f"{name}_layerwise"))
            return
    for name, optimizer in OTHER_OPTIMIZERS.items():
        if keys.flag(name):
            reading.say("optimizer", optimizer, keys.place(name))
            return
    read_trainer_optimizer(keys, program=_SOURCE)


def _read_checkpointing(keys: Keys) -> None:
    reading = keys.reading
    if keys.flag("disable_gradient_checkpointing"):
        reading.say("checkpointing", Checkpointing.NONE, keys.place("disable_gradient_checkpointing"))
        return
    # model/model_utils/checkpointing.py, `prepare_model_for_training`: not reentrant under FSDP2
    default = reading.value("sharding_backend") is not ShardingBackend.FSDP2
    reentrant = default and keys.flag("use_reentrant_gc", otherwise=True)
    if keys.flag("gradient_checkpointing"):  # Trainer switches it on once more, with its own arguments
        reentrant = keys.flag("gradient_checkpointing_kwargs.use_reentrant", otherwise=reentrant)
    choice = Checkpointing.FULL_REENTRANT if reentrant else Checkpointing.FULL
    why = f"{_SOURCE}: on unless disable_gradient_checkpointing, model/model_utils/checkpointing.py"
    reading.say("checkpointing", choice, keys.place("use_reentrant_gc"), why)


def _read_kernels(keys: Keys, stage: str) -> None:
    reading = keys.reading
    name, place = (keys.word("flash_attn") or "auto").lower(), keys.place("flash_attn")
    if name in _ATTENTIONS:
        reading.say("attention", _ATTENTIONS[name], place, LEFT_TO_TRANSFORMERS if name == "auto" else "")
    else:
        reading.refuse(f"the attention {name}", place)
    liger, place = keys.flag("enable_liger_kernel"), keys.place("enable_liger_kernel")
    reading.say("kernels", Kernels.LIGER if liger else Kernels.EAGER, place, "" if place else _SOURCE)
    fused = liger and stage in ("pt", "sft")
    reading.say("loss", Loss.LIGER_FUSED_LINEAR if fused else Loss.FULL, place, "" if place else _SOURCE)


_SIGNS = words("finetuning_type stage cutoff_len template lora_target quantization_bit enable_liger_kernel")
READER = Reader(
    "llama-factory",
    _SOURCE,
    Role.RECIPE,
    TABLE,
    _SIGNS,
    read,
    Framework.LLAMA_FACTORY,
    spelling=LLAMA_FACTORY,
    expands_from=2,  # launcher.py, OPTIM_TORCH
    scripts="^train(_bash)?$",  # src/train.py, until 0.7 src/train_bash.py
)
