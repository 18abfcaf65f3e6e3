"""Reads the train.yaml of `planner export --to transformers`: TrainingArguments, and what its train.py takes beside.

Source of defaults: transformers 5.24, training_args.py; exporting/scripts/train_transformers.py, `Run`.
"""

from __future__ import annotations

from planner.readers.documents.keys import Keys
from planner.readers.exported.table import LIGER, TABLE
from planner.readers.frameworks.spelling import TRAIN_YAML
from planner.readers.reader import Reader, Role
from planner.readers.run import Run
from planner.readers.trainer.engine import read_engine
from planner.readers.trainer.optimizer import read_trainer_optimizer
from planner.readers.trainer.precision import RAISED_BY_ACCELERATE, read_adapter_dtypes, read_precision
from planner.readers.trainer.shared import read_attention, read_batches, read_targets
from strategies import (
    AdapterDtype,
    Batching,
    Checkpointing,
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

_SOURCE = "transformers 5.24, training_args.py"
_SCRIPT = "train.py, Run"
_STORED = {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16"}
_RESTS = {"bf16": UnquantizedDtype.BF16, "fp16": UnquantizedDtype.FP16}
_TASKS = {choice.value: choice for choice in Task}
_BATCHINGS = {choice.value: choice for choice in Batching}


def read(keys: Keys, run: Run) -> None:
    """Says what train.py does."""
    reading = keys.reading
    file = keys.word("config_file")
    if file is not None:
        reading.say("model", str(run.beside(keys.place("config_file"), file)), keys.place("config_file"))
    else:
        reading.say("model", keys.word("model_name_or_path"), keys.place("model_name_or_path"))
    _read_task(keys)
    _read_finetuning(keys)
    read_engine(keys, run)
    _read_precision(keys)
    read_batches(keys, "per_device_train_batch_size", 8, _SOURCE)
    reading.say("sequence_length", keys.whole("sequence_length"), keys.place("sequence_length"))
    _read_batching(keys)
    read_trainer_optimizer(keys)
    _read_checkpointing(keys)
    read_attention(keys, "attn_implementation")
    _read_kernels(keys)
    if (keys.word("eval_strategy") or "no").lower() not in ("no", "false"):
        size, place = keys.whole("per_device_eval_batch_size"), keys.place("per_device_eval_batch_size")
        reading.say("evaluation_batch_size", size or 8, place, "" if size else _SOURCE)


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


def _read_precision(keys: Keys) -> None:
    reading = keys.reading
    half = "bf16" if keys.flag("bf16") else "fp16" if keys.flag("fp16") else None
    name, place = keys.word("dtype") or "float32", keys.place("dtype")
    if name not in _STORED:
        reading.refuse(f"the dtype {name}", place)
        return
    stored, backend = _STORED[name], reading.value("sharding_backend")
    said = keys.place("bf16") or keys.place("fp16") or place
    raised = RAISED_BY_ACCELERATE if half else ()
    read_precision(reading, half, said, stored=stored, raised_by=raised, tf32=keys.flag("tf32"), why="")
    frozen = reading.value("finetuning") is not Finetuning.FULL
    if frozen and half and stored != half and backend is not ShardingBackend.DEEPSPEED:
        reading.refuse(f"a frozen base in {name} under {half}", place)
    kbit = reading.value("finetuning") is Finetuning.QLORA
    prepared = keys.flag("prepare_for_kbit_training")
    rest = UnquantizedDtype.FP32 if prepared or stored == "fp32" else _RESTS[stored]
    halved = _STORED.get(keys.word("adapter_dtype") or "float32") != "fp32"
    read_adapter_dtypes(reading, AdapterDtype.WEIGHTS if halved else AdapterDtype.FP32, rest, "")
    four = reading.value("quantization") in (Quantization.NF4, Quantization.NF4_DOUBLE)
    if kbit and four and backend in RAISED_BY_ACCELERATE and keys.word("bnb_4bit_quant_storage") in (None, "uint8"):
        reading.refuse("a 4-bit base under FSDP without bnb_4bit_quant_storage", keys.place("load_in_4bit"))


def _read_batching(keys: Keys) -> None:
    name, place = keys.word("batching") or "full", keys.place("batching")
    if name not in _BATCHINGS:
        keys.reading.refuse(f"the batching {name}", place)
        return
    keys.reading.rows_stay_apart = True
    keys.reading.say("batching", _BATCHINGS[name], place, "" if place else _SCRIPT)


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
    every = keys.whole(f"{kwargs}.every_n_layers")
    if every and every > 1:
        reading.say("checkpoint_every", every, keys.place(f"{kwargs}.every_n_layers"))


def _read_kernels(keys: Keys) -> None:
    reading, place = keys.reading, keys.place("use_liger_kernel")
    config = "liger_kernel_config"
    kernels, loss = Kernels.EAGER, Loss.FULL
    if keys.flag("use_liger_kernel"):
        # liger_kernel/transformers/monkey_patch.py: all but cross_entropy, unless told otherwise
        on = {keys.flag(f"{config}.{name}", otherwise=True) for name in LIGER}
        if len(on) > 1:
            reading.refuse("Liger's kernels in part", place)
        kernels = Kernels.LIGER if on == {True} else Kernels.EAGER
        if keys.flag(f"{config}.fused_linear_cross_entropy", otherwise=True):
            loss = Loss.LIGER_FUSED_LINEAR
        elif keys.flag(f"{config}.cross_entropy"):
            loss = Loss.LIGER_CROSS_ENTROPY
    if keys.flag("compile_blocks"):
        if kernels is Kernels.LIGER:
            reading.refuse("compiled blocks with Liger's kernels", keys.place("compile_blocks"))
        kernels, place = Kernels.COMPILE, keys.place("compile_blocks")
    reading.say("kernels", kernels, place, "" if place else _SOURCE)
    reading.say("loss", loss, keys.place("use_liger_kernel"), "" if keys.entry("use_liger_kernel") else _SOURCE)


READER = Reader(
    "transformers",
    "transformers 5.24",
    Role.RECIPE,
    TABLE,
    frozenset({"sequence_length"}),
    read,
    spelling=TRAIN_YAML,
)
