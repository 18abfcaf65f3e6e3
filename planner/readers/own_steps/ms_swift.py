"""Reads ms-swift's YAML and JSON.

Source of defaults: ms-swift 3602360, swift/arguments, swift/trainers/arguments.py.
"""

from __future__ import annotations

from planner.readers.documents.keys import Keys
from planner.readers.own_steps import ms_swift_2
from planner.readers.own_steps.ms_swift_engines import read_engine
from planner.readers.reader import Reader, Role
from planner.readers.run import Run
from planner.readers.spelling.spelling import Spelling
from planner.readers.tables.ms_swift import TABLE, TUNERS
from planner.readers.trainer.precision import read_adapter_dtypes, read_precision
from planner.readers.trainer.shared import (
    ATTENTIONS,
    LEFT_TO_TRANSFORMERS,
    OPTIMIZERS,
    read_liger,
    read_optimizer,
    read_targets,
    say_pattern,
)
from strategies import (
    AdapterDtype,
    Attention,
    Batching,
    Checkpointing,
    Finetuning,
    Kernels,
    Loss,
    Quantization,
    UnquantizedDtype,
)

_RECOMPUTED = (Checkpointing.FULL, Checkpointing.FULL_REENTRANT)
_VERSION = "ms-swift 3602360"
_SOURCE = f"{_VERSION}, swift/arguments"
_ATTENTIONS = {**ATTENTIONS, "flash_attn": Attention.FLASH_2, "flash_attention_2": Attention.FLASH_2}

_BINARY = {"default", "last_round", "all", "ignore_empty_think"}
"""Weights of losses that are 0 or 1, and become labels: loss_scale/."""


def read(keys: Keys, run: Run) -> None:
    """Says what a run of ms-swift does."""
    old = ms_swift_2.is_old(keys)
    _read_task(keys, old)
    _read_finetuning(keys, old)
    read_engine(keys, run)
    _read_dtypes(keys)
    _read_batches(keys, run, old)
    read_optimizer(keys, "optim", program="Trainer")
    _read_checkpointing(keys, run)
    _read_attention(keys)
    read_liger(keys, _SOURCE)
    _read_losses(keys)
    _read_evaluation(keys, old)
    # trainers/mixin.py, `prepare_logits_to_keep`: tokens before the first label, or all without one in a row alone
    keys.reading.leave_out("logits of prompts, which ms-swift does not make: all tokens are planned to have labels")


def _read_task(keys: Keys, old: bool) -> None:
    reading = keys.reading
    models = ("model", "model_id_or_path", *(("model_type",) if old else ()))
    reading.say("model", keys.word(*models), keys.place(*models))
    task = keys.word("rlhf_type") or "sft"
    reading.say("task", task, keys.place("rlhf_type"))
    if task != "sft":
        reading.refuse(f"{task}: not the next-token loss of one sequence a sample", keys.place("rlhf_type"))


def _read_dtypes(keys: Keys) -> None:
    dtype, place = keys.word("torch_dtype", "dtype"), keys.place("torch_dtype", "dtype")
    dtype = None if dtype == "AUTO" else ms_swift_2.DTYPES.get(dtype or "", dtype)
    half = {"bfloat16": "bf16", "float16": "fp16", "float32": "fp16", None: "bf16"}.get(dtype)
    stored = "fp32" if dtype == "float32" else half or "bf16"
    why = "" if place else f"{_SOURCE}: as the checkpoint is"
    read_precision(keys.reading, half, place, stored=stored, why=why)
    read_adapter_dtypes(keys.reading, AdapterDtype.FP32, UnquantizedDtype.BF16, "PEFT's fp32 adapters")


def _read_batches(keys: Keys, run: Run, old: bool) -> None:
    reading, passes = keys.reading, "gradient_accumulation_steps"
    rows = ("per_device_train_batch_size", "batch_size")
    micro = keys.say_whole("micro_batch_size", *rows, otherwise=1, why=_SOURCE)
    if keys.entry(passes) or run.ranks:
        steps = -(-16 // max(1, micro) // (run.ranks or 1))
        keys.say_whole(passes, passes, otherwise=steps, why=f"{_SOURCE}: 16 in all")
    if not keys.say_length("max_length") and old:
        reading.say("sequence_length", 2048, why=f"{ms_swift_2.VERSION}, argument.py")
    packs = keys.flag("packing") or keys.flag("padding_free")
    reading.say("batching", Batching.PACKED if packs else Batching.PADDED, keys.place("packing", "padding_free"))


def _read_checkpointing(keys: Keys, run: Run) -> None:
    """Says what is recomputed: reentrantly, but for DDP (trainers/mixin.py, `_fix_gradient_checkpointing`)."""
    reading = keys.reading
    recomputes, place = keys.flag("gradient_checkpointing", otherwise=True), keys.place("gradient_checkpointing")
    ranks = run.ranks or reading.value("gpus", 1) * reading.value("nodes", 1)
    by_ddp = ranks > 1 and reading.value("sharding_backend") is None
    reentrant = keys.flag("gradient_checkpointing_kwargs.use_reentrant", otherwise=not by_ddp)
    on = Checkpointing.FULL_REENTRANT if reentrant else Checkpointing.FULL
    if recomputes or reading.value("checkpointing") is None:  # else a launcher's file switches it on
        why = "" if place else f"{_SOURCE}: on"
        reading.say("checkpointing", on if recomputes else Checkpointing.NONE, place, why)


def _read_attention(keys: Keys) -> None:
    reading, name = keys.reading, keys.word("attn_impl") or ""
    if not name and keys.flag("use_flash_attn"):
        reading.say("attention", Attention.FLASH_2, keys.place("use_flash_attn"))
    elif not name:
        reading.say("attention", Attention.SDPA, why=LEFT_TO_TRANSFORMERS)
    elif name in _ATTENTIONS:
        reading.say("attention", _ATTENTIONS[name], keys.place("attn_impl"))
    else:
        reading.refuse(f"the attention {name}", keys.place("attn_impl"))


def _read_evaluation(keys: Keys, old: bool) -> None:
    """Says how many samples are evaluated at once, where some are: sft_args.py, `_init_eval_strategy`.

    In training liger-kernel's fused loss makes no logits; in evaluation it makes them.
    """
    if keys.word("eval_strategy", "evaluation_strategy") == "no":
        return
    if old:
        if keys.share("dataset_test_ratio") != 0 or keys.entry("val_dataset"):
            rows = ("per_device_eval_batch_size", "eval_batch_size")
            micro = keys.reading.value("micro_batch_size", 1)
            keys.say_whole("evaluation_batch_size", *rows, otherwise=micro, why=f"{ms_swift_2.VERSION}, argument.py")
        return
    splits = bool(keys.share("split_dataset_ratio")) and not keys.flag("streaming")  # data_args.py
    if splits or keys.entry("val_dataset", "cached_val_dataset"):
        keys.say_whole("evaluation_batch_size", "per_device_eval_batch_size", otherwise=1, why=_SOURCE)


def _read_losses(keys: Keys) -> None:
    """Refuses losses of each token: trainers/seq2seq_trainer.py, `compute_loss`, then has the logits beside them."""
    scale, place = keys.word("loss_scale") or "default", keys.place("loss_scale")
    if not set(scale.split("+")) <= _BINARY:
        keys.reading.refuse(f"losses of tokens that are weighed by {scale}", place)


def _read_finetuning(keys: Keys, old: bool) -> None:
    reading, place, name = keys.reading, keys.place(*TUNERS), keys.word(*TUNERS) or "lora"
    if name == "full":
        reading.say("finetuning", Finetuning.FULL, place)
        return
    if name != "lora":
        reading.refuse(f"the tuner {name}", place)
        return
    reading.say("finetuning", Finetuning.LORA, place, "" if place else _SOURCE)
    if (backend := keys.word("tuner_backend") or "peft") != "peft":
        reading.refuse(f"adapters of {backend}", keys.place("tuner_backend"))
    sizes = ("quant_bits", "quantization_bit")
    bits, method = keys.whole(*sizes), (keys.word("quant_method") or ("bnb" if old else "")).lower()
    if bits and method == "bnb" and bits in (4, 8):
        reading.say("finetuning", Finetuning.QLORA, keys.place(*sizes))
        double = keys.flag("bnb_4bit_use_double_quant", otherwise=True)
        four = Quantization.NF4_DOUBLE if double else Quantization.NF4
        reading.say("quantization", four if bits == 4 else Quantization.INT8, keys.place(*sizes))
        if (kind := keys.word("bnb_4bit_quant_type") or "nf4") != "nf4" and bits == 4:
            reading.refuse(f"a base in {kind}", keys.place("bnb_4bit_quant_type"))
    elif bits or (method and not old):
        reading.refuse(f"a base in {bits} bits by {method}", keys.place(*sizes, "quant_method"))
    keys.say_whole("lora_rank", "lora_rank", otherwise=8, why=_SOURCE)
    keys.say_whole("lora_alpha", "lora_alpha", otherwise=32, why=_SOURCE)
    keys.say_share("lora_dropout", "lora_dropout", "lora_dropout_p", otherwise=0.05, why=_SOURCE)
    targets = ("target_modules", "lora_target_modules")
    if (expression := keys.word("target_regex")) is not None:
        say_pattern(reading, expression, keys.place("target_regex"))
    elif old and (keys.names(*targets) or ("DEFAULT",)) in ms_swift_2.DEFAULT:
        reading.say("lora_targets", ms_swift_2.QKV, keys.place(*targets), f"{ms_swift_2.VERSION}, utils/model.py")
    elif not read_targets(keys, *targets, everything=("all-linear", "ALL")):
        reading.say("lora_targets", "all-linear", why=_SOURCE)


_SPELLING = Spelling(
    {
        "micro_batch_size": ("per_device_train_batch_size",),
        "gradient_accumulation_steps": ("gradient_accumulation_steps",),
        "sequence_length": ("max_length",),
    },
    {
        **{("optimizer", says["optimizer"]): {"optim": name} for name, says in OPTIMIZERS.items() if len(says) == 1},
        **{("checkpointing", choice): {"gradient_checkpointing": True} for choice in _RECOMPUTED},
        ("checkpointing", Checkpointing.NONE): {"gradient_checkpointing": False},
        ("kernels", Kernels.LIGER): {"use_liger_kernel": True},
        ("loss", Loss.LIGER_FUSED_LINEAR): {"use_liger_kernel": True},
        ("finetuning", Finetuning.LORA): {"tuner_type": "lora"},
        ("quantization", Quantization.NF4_DOUBLE): {"tuner_type": "lora", "quant_method": "bnb", "quant_bits": 4},
    },
)
_SIGNS = frozenset({*TUNERS, "split_dataset_ratio"})
READER = Reader("ms-swift", _VERSION, Role.RECIPE, TABLE, _SIGNS, read, spelling=_SPELLING, scripts="^(llm_)?sft$|^pt$")
