"""Reads YAML of TRL's command line, and of projects around it: alignment-handbook, open-r1.

Source of defaults: TRL 1.16, trainer/base_config.py, sft_config.py, model_config.py, sft_trainer.py; for files with
keys that TRL 1 has not, TRL 0.19 with transformers 4.
"""

from __future__ import annotations

from planner.readers.documents.keys import Keys
from planner.readers.frameworks.spelling import TRL
from planner.readers.reader import Reader, Role
from planner.readers.run import Run
from planner.readers.tables.trl import DPO, GRPO, PREFERENCES, TABLE
from planner.readers.trainer.engine import read_engine
from planner.readers.trainer.optimizer import read_trainer_optimizer
from planner.readers.trainer.precision import RAISED_BY_ACCELERATE, read_adapter_dtypes, read_precision
from planner.readers.trainer.shared import (
    read_attention,
    read_batches,
    read_evaluation,
    read_interval,
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
    Quantization,
    Sharding,
    ShardingBackend,
    UnquantizedDtype,
)

_OLD = ("max_seq_length", "torch_dtype", "dataset_mixer", "dataset_mixture")
"""Keys of TRL 0.x and of projects that pin it."""


def read(keys: Keys, run: Run) -> None:
    """Says what a run of TRL does."""
    reading = keys.reading
    old = next((name for name in _OLD if keys.entry(name)), None)
    source = "TRL 0.19, transformers 4" if old else "TRL 1.16"
    if old:
        reading.say("version", source, keys.place(old), f"{old} is no key of TRL 1")
    reading.say("model", keys.word("model_name_or_path"), keys.place("model_name_or_path"))
    _read_task(keys)
    _read_finetuning(keys, source)
    read_engine(keys, run, earlier=bool(old))
    _check_storage(keys)
    _read_precision(keys, bool(old), source)
    read_batches(keys, "per_device_train_batch_size", 8, "transformers/training_args.py")
    why = f"{source}, trainer/sft_config.py"
    keys.say_whole("sequence_length", "max_length", "max_seq_length", otherwise=1024, why=why)
    _read_batching(keys, source)
    read_trainer_optimizer(keys)
    _read_checkpointing(keys, bool(old), source)
    if keys.flag("use_flash_attention_2"):
        reading.say("attention", Attention.FLASH_2, keys.place("use_flash_attention_2"))
    else:
        read_attention(keys, "attn_implementation")
    _read_loss(keys, bool(old), source)
    if (keys.word("eval_strategy", "evaluation_strategy") or "no").lower() not in ("no", "false"):
        read_evaluation(keys)


def _read_task(keys: Keys) -> None:
    reading = keys.reading
    reading.say("task", "sft", why="no key of another trainer")
    for task, names, what in (
        ("grpo", GRPO, "GRPO: generation, vLLM beside the trainer, and a group of completions a prompt"),
        ("dpo", DPO, "DPO: pairs, and a reference model beside the one that trains"),
        ("preference", PREFERENCES, "a trainer of preferences or rewards"),
    ):
        found = keys.entry(*names)
        if found is not None:
            reading.say("task", task, found.place)
            reading.refuse(what, found.place)
            return


def _read_finetuning(keys: Keys, source: str) -> None:
    reading = keys.reading
    quantized = keys.place("load_in_4bit") if keys.flag("load_in_4bit") else None
    quantized = quantized or (keys.place("load_in_8bit") if keys.flag("load_in_8bit") else None)
    if not keys.flag("use_peft"):
        why = "" if keys.entry("use_peft") else f"{source}, trainer/model_config.py: use_peft false"
        reading.say("finetuning", Finetuning.FULL, keys.place("use_peft"), why)
        if quantized:
            reading.refuse("full fine-tuning of a quantized base", quantized)
        return
    reading.say("finetuning", Finetuning.LORA, keys.place("use_peft"))
    if quantized:
        reading.say("finetuning", Finetuning.QLORA, quantized)
        kind = keys.word("bnb_4bit_quant_type") or "nf4"
        if kind != "nf4":
            reading.refuse(f"a base in {kind}", keys.place("bnb_4bit_quant_type"))
        nested = Quantization.NF4_DOUBLE if keys.flag("use_bnb_nested_quant") else Quantization.NF4
        reading.say("quantization", nested if keys.flag("load_in_4bit") else Quantization.INT8, quantized)
    why = f"{source}, trainer/model_config.py"
    keys.say_whole("lora_rank", "lora_r", otherwise=16, why=why)
    keys.say_whole("lora_alpha", "lora_alpha", otherwise=32, why=why)
    keys.say_share("lora_dropout", "lora_dropout", otherwise=0.05, why=why)
    if not read_targets(keys, "lora_target_modules", everything=("all-linear",)):
        why = "PEFT's targets of Llama and its relatives: utils/constants.py"
        reading.say("lora_targets", ("q_proj", "v_proj"), why=why)
    read_trained_modules(keys, "lora_modules_to_save")
    read_variants(keys, "use_")


def _check_storage(keys: Keys) -> None:
    """Refuses a 4-bit base under FSDP that is stored as bytes, bitsandbytes' default: only floats are divided."""
    reading, storage = keys.reading, keys.word("bnb_4bit_quant_storage") or "uint8"
    quantization: Quantization = reading.value("quantization", Quantization.NONE)
    four = quantization.is_nf4
    if four and reading.value("sharding_backend") in RAISED_BY_ACCELERATE and storage == "uint8":
        reading.refuse("a 4-bit base under FSDP without bnb_4bit_quant_storage", keys.place("load_in_4bit"))


def _read_precision(keys: Keys, old: bool, source: str) -> None:
    reading = keys.reading
    fp16 = keys.flag("fp16")
    bf16 = keys.flag("bf16", otherwise=not old and not fp16)
    half = "bf16" if bf16 else "fp16" if fp16 else None
    name, place = keys.word("dtype", "torch_dtype"), keys.place("dtype", "torch_dtype")
    stored = {"bfloat16": "bf16", "float16": "fp16", "float32": "fp32", "auto": "bf16", None: "fp32"}.get(name)
    if stored is None:
        reading.refuse(f"the dtype {name}", place)
        return
    said = keys.place("bf16") or keys.place("fp16") or place
    if half is None and (launched := reading.said.get("launcher precision")):
        half, said = launched.value, launched.place
    default = f"{source}, trainer/base_config.py: bf16 true unless fp16" if not (old or keys.entry("bf16")) else ""
    read_precision(reading, half, said, stored=stored, tf32=keys.flag("tf32"), why=default)
    frozen = reading.value("finetuning") is not Finetuning.FULL
    if frozen and stored == "fp32" and half and reading.value("sharding_backend") is not ShardingBackend.DEEPSPEED:
        what = "a frozen base in float32, as TRL loads it unless dtype says otherwise"
        reading.refuse(f"{what}: -- dtype=bfloat16", place)
    weights = UnquantizedDtype.FP16 if half == "fp16" else UnquantizedDtype.BF16
    if old:
        why = f"{source}: PEFT's fp32 adapters; embeddings and head are cast back, norms stay in fp32"
        read_adapter_dtypes(reading, AdapterDtype.FP32, weights, why)
    else:
        halves = reading.value("finetuning") is Finetuning.QLORA
        why = f"{source}, trainer/sft_trainer.py: adapters over a quantized base become bf16"
        read_adapter_dtypes(reading, AdapterDtype.WEIGHTS if halves else AdapterDtype.FP32, weights, why)


def _read_batching(keys: Keys, source: str) -> None:
    reading, strategy = keys.reading, keys.word("packing_strategy") or "bfd"
    if keys.flag("packing"):
        full = strategy == "wrapped"
        reading.say("batching", Batching.FULL if full else Batching.PACKED, keys.place("packing"), strategy)
    elif keys.flag("padding_free"):
        reading.say("batching", Batching.PACKED, keys.place("padding_free"), "one row without padding")
    else:
        place = keys.place("packing")
        reading.say("batching", Batching.PADDED, place, "" if place else f"{source}: packing false")


def _read_checkpointing(keys: Keys, old: bool, source: str) -> None:
    reading = keys.reading
    names = ("gradient_checkpointing", "activation_checkpointing")
    place, default = keys.place(*names), not old
    if not keys.flag(*names, otherwise=default):
        if reading.value("checkpointing") is None:
            reading.say("checkpointing", Checkpointing.NONE, place, "" if place else f"{source}: off")
        return
    kwargs = ("gradient_checkpointing_kwargs", "activation_checkpointing_kwargs")
    reentrant = keys.flag(*(f"{name}.use_reentrant" for name in kwargs), otherwise=old)
    place = place or keys.place(*(f"{name}.use_reentrant" for name in kwargs))
    choice = Checkpointing.FULL_REENTRANT if reentrant else Checkpointing.FULL
    if keys.flag("activation_checkpointing_kwargs.offload"):
        choice = Checkpointing.OFFLOAD
    why = "" if place else f"{source}, trainer/base_config.py: on"
    if choice is Checkpointing.FULL and not old and _adapts_under_zero3(keys):
        choice, why = (
            Checkpointing.FULL_REENTRANT,
            f"{source}, trainer/sft_trainer.py: reentrant with PEFT under ZeRO-3",
        )
    reading.say("checkpointing", choice, place, why)
    read_interval(keys)


def _adapts_under_zero3(keys: Keys) -> bool:
    reading = keys.reading
    is_stage_3 = reading.value("sharding") is Sharding.FULL_SHARD
    by_deepspeed = reading.value("sharding_backend") is ShardingBackend.DEEPSPEED
    return is_stage_3 and by_deepspeed and reading.value("finetuning") in (Finetuning.LORA, Finetuning.QLORA)


def _read_loss(keys: Keys, old: bool, source: str) -> None:
    reading = keys.reading
    names = ("use_liger_kernel", "use_liger")
    liger, place = keys.flag(*names), keys.place(*names)
    reading.say("kernels", Kernels.LIGER if liger else Kernels.EAGER, place, "" if place else source)
    kind, at = keys.word("loss_type"), keys.place("loss_type")
    if reading.value("task") != "sft":
        return
    if kind not in (None, "nll", "chunked_nll"):
        reading.refuse(f"the loss {kind}", at)
    if old:
        reading.say("loss", Loss.LIGER_FUSED_LINEAR if liger else Loss.FULL, place if liger else at, source)
    else:
        # sft_trainer.py: the head is always fused into the loss, with Liger's other kernels as well, and "chunked_nll"
        # is an alias of "nll".
        reading.say("loss", Loss.CHUNKED, at, f"{source}, trainer/sft_trainer.py: tiles of the logits")


READER = Reader(
    "trl",
    "TRL 1.16",
    Role.RECIPE,
    TABLE,
    frozenset({"model_name_or_path"}),
    read,
    Framework.TRL,
    spelling=TRL,
    scripts="sft",
)
