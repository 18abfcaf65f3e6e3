"""Reads what all scripts of `planner export` share: the model, what trains of it, and its batches.

Source of defaults: exporting/scripts/model.py, `Run`.
"""

from __future__ import annotations

from planner.readers.documents.keys import Keys
from planner.readers.documents.reading import Place
from planner.readers.run import Run
from planner.readers.trainer.precision import RAISED_BY_ACCELERATE, read_adapter_dtypes, read_precision
from planner.readers.trainer.shared import read_attention, read_targets
from strategies import (
    AdapterDtype,
    Batching,
    Finetuning,
    Kernels,
    LoraVariant,
    Loss,
    Quantization,
    ShardingBackend,
    Task,
    TrainedModules,
    UnquantizedDtype,
)

_SCRIPT = "model.py, Run"
LIGER = ("rope", "rms_norm", "swiglu", "geglu")
"""Liger's kernels that are no loss."""
STORED = {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16"}
_RESTS = {"bf16": UnquantizedDtype.BF16, "fp16": UnquantizedDtype.FP16}
_TASKS = {choice.value: choice for choice in Task}
_BATCHINGS = {choice.value: choice for choice in Batching}


def read_model(keys: Keys, run: Run) -> None:
    """Says the model, its task, what trains of it and its attention."""
    reading = keys.reading
    file = keys.word("config_file")
    if file is not None:
        reading.say("model", str(run.beside(keys.place("config_file"), file)), keys.place("config_file"))
    else:
        reading.say("model", keys.word("model_name_or_path"), keys.place("model_name_or_path"))
    _read_task(keys)
    _read_finetuning(keys)
    read_attention(keys, "attn_implementation")


def _read_task(keys: Keys) -> None:
    name, place = keys.word("task"), keys.place("task")
    if name in _TASKS:
        keys.reading.say("task", _TASKS[name], place)
    elif name is not None:
        keys.reading.refuse(f"the task {name}", place)


def _read_finetuning(keys: Keys) -> None:
    reading = keys.reading
    last, place = keys.whole("train_last_blocks"), keys.place("train_last_blocks")
    if keys.flag("use_peft"):
        _read_adapters(keys)
    elif last:
        reading.say_all({"finetuning": Finetuning.FREEZE, "trained_blocks": last}, place)
    elif keys.flag("train_biases_only"):
        reading.say("finetuning", Finetuning.BITFIT, keys.place("train_biases_only"))
    else:
        reading.say("finetuning", Finetuning.FULL, keys.place("use_peft"), "" if keys.entry("use_peft") else _SCRIPT)
    modules, at = set(keys.names("train_modules") or ()), keys.place("train_modules")
    if modules - {"embeddings", "head"}:
        reading.refuse(f"modules that train beside others: {', '.join(sorted(modules))}", at)
    elif modules:
        both = TrainedModules.EMBEDDINGS_AND_HEAD
        one = TrainedModules.HEAD if "head" in modules else TrainedModules.EMBEDDINGS
        reading.say("trained_modules", both if len(modules) > 1 else one, at)


def _read_adapters(keys: Keys) -> None:
    reading = keys.reading
    reading.say("finetuning", Finetuning.LORA, keys.place("use_peft"))
    four, eight = keys.flag("load_in_4bit"), keys.flag("load_in_8bit")
    if four or eight:
        place = keys.place("load_in_4bit" if four else "load_in_8bit")
        nested = Quantization.NF4_DOUBLE if keys.flag("use_bnb_nested_quant") else Quantization.NF4
        reading.say("finetuning", Finetuning.QLORA, place)
        reading.say("quantization", nested if four else Quantization.INT8, place)
    for key, word, value, default in (
        ("lora_r", "lora_rank", keys.whole("lora_r"), 16),
        ("lora_alpha", "lora_alpha", keys.whole("lora_alpha"), 32),
        ("lora_dropout", "lora_dropout", keys.share("lora_dropout"), 0.0),
    ):
        reading.say(word, default if value is None else value, keys.place(key), "" if keys.entry(key) else _SCRIPT)
    read_targets(keys, "lora_target_modules", everything=("all-linear",))
    for key, variant in (("use_dora", LoraVariant.DORA), ("use_rslora", LoraVariant.RSLORA)):
        if keys.flag(key):
            reading.say("lora_variant", variant, keys.place(key))


def read_rows(keys: Keys) -> None:
    """Says how long rows are, and what they hold."""
    keys.reading.say("sequence_length", keys.whole("sequence_length"), keys.place("sequence_length"))
    name, place = keys.word("batching") or "full", keys.place("batching")
    if name not in _BATCHINGS:
        keys.reading.refuse(f"the batching {name}", place)
        return
    keys.reading.rows_stay_apart = True
    keys.reading.say("batching", _BATCHINGS[name], place, "" if place else _SCRIPT)


def read_dtypes(keys: Keys, half: str | None, said: Place | None) -> None:
    """Says the precision, and the dtypes of adapters and of what a quantized base leaves.

    Args:
        keys: The keys.
        half: Dtype of autocast, bf16 or fp16; None without it.
        said: The key that says so.
    """
    reading = keys.reading
    name, place = keys.word("dtype") or "float32", keys.place("dtype")
    if name not in STORED:
        reading.refuse(f"the dtype {name}", place)
        return
    stored, backend = STORED[name], reading.value("sharding_backend")
    raised = RAISED_BY_ACCELERATE if half else ()
    at = said or place
    read_precision(reading, half, at, stored=stored, raised_by=raised, tf32=keys.flag("tf32"), why="")
    method = reading.value("finetuning")
    casts = backend is ShardingBackend.DEEPSPEED
    if method is not Finetuning.FULL and half and stored != half and not casts:
        reading.refuse(f"a frozen base in {name} under {half}", place)
    trained = keys.word("trained_dtype") or "float32"
    if method in (Finetuning.FREEZE, Finetuning.BITFIT) and not casts and trained != ("float32" if half else name):
        reading.refuse(f"what trains in {trained}, of a model in {name}", keys.place("trained_dtype"))
    prepared = keys.flag("prepare_for_kbit_training")
    rest = UnquantizedDtype.FP32 if prepared or stored == "fp32" else _RESTS[stored]
    halved = STORED.get(keys.word("adapter_dtype") or "float32") != "fp32"
    read_adapter_dtypes(reading, AdapterDtype.WEIGHTS if halved else AdapterDtype.FP32, rest, "")
    four = reading.value("quantization") in (Quantization.NF4, Quantization.NF4_DOUBLE)
    if four and backend in RAISED_BY_ACCELERATE and keys.word("bnb_4bit_quant_storage") in (None, "uint8"):
        reading.refuse("a 4-bit base under FSDP without bnb_4bit_quant_storage", keys.place("load_in_4bit"))


def read_kernels(keys: Keys, section: str, place: Place | None, *, otherwise: bool) -> None:
    """Says kernels and loss.

    Args:
        keys: The keys.
        section: The mapping of Liger's kernels.
        place: The key that switches them on; None where they are off.
        otherwise: Whether kernels that are not named are on; a loss of logits never is.
    """
    reading = keys.reading
    kernels, loss, why = Kernels.EAGER, Loss.FULL, "" if place else _SCRIPT
    if place is not None:
        on = {keys.flag(f"{section}.{name}", otherwise=otherwise) for name in LIGER}
        if len(on) > 1:
            reading.refuse("Liger's kernels in part", place)
        kernels = Kernels.LIGER if on == {True} else Kernels.EAGER
        if keys.flag(f"{section}.fused_linear_cross_entropy", otherwise=otherwise):
            loss = Loss.LIGER_FUSED_LINEAR
        elif keys.flag(f"{section}.cross_entropy"):
            loss = Loss.LIGER_CROSS_ENTROPY
    reading.say("loss", loss, place, why)
    if keys.flag("compile_blocks"):
        if kernels is Kernels.LIGER:
            reading.refuse("compiled blocks with Liger's kernels", keys.place("compile_blocks"))
        kernels, place = Kernels.COMPILE, keys.place("compile_blocks")
    reading.say("kernels", kernels, place, "" if place else _SCRIPT)
