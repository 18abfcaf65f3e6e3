"""Reads axolotl's YAML.

Source of defaults: axolotl 0.19, utils/schemas/*.py, utils/config/__init__.py, loaders/model.py, core/builders/*.py.
"""

from __future__ import annotations

from planner.readers.documents.keys import Keys, is_on
from planner.readers.frameworks.axolotl_checkpointing import read_checkpointing
from planner.readers.frameworks.axolotl_mesh import read_mesh
from planner.readers.frameworks.axolotl_plugins import read_plugins
from planner.readers.frameworks.spelling import AXOLOTL
from planner.readers.reader import Reader, Role
from planner.readers.run import Run
from planner.readers.tables.axolotl import (
    DOUBLE,
    OLD_ATTENTIONS,
    STORED,
    STORED_UNDONE,
    TABLE,
    TASKS,
)
from planner.readers.trainer.engine import read_sync
from planner.readers.trainer.fsdp import FSDP_STRATEGIES, read_fsdp
from planner.readers.trainer.optimizer import read_trainer_optimizer
from planner.readers.trainer.precision import read_adapter_dtypes, read_precision
from planner.readers.trainer.shared import (
    ATTENTIONS,
    read_attention,
    read_batches,
    read_targets,
    read_trained_modules,
    read_variants,
)
from strategies import (
    AdapterDtype,
    Attention,
    Batching,
    Finetuning,
    Framework,
    Offload,
    Precision,
    Quantization,
    Sharding,
    ShardingBackend,
    UnquantizedDtype,
)

_TAKES_LENGTHS = (Attention.FLASH_2, Attention.FLASH_3, Attention.FLEX)
"""Attention that packed samples need no mask for: utils/schemas/enums.py, ATTN_IMPLS_SUPPORTING_PACKING."""


def read(keys: Keys, run: Run) -> None:
    """Says what an axolotl run does."""
    reading = keys.reading
    reading.say("model", keys.word("base_model"), keys.place("base_model"))
    _read_task(keys)
    _read_stored(keys)
    _read_finetuning(keys)
    _read_engine(keys, run)
    read_mesh(keys, run.ranks)
    _read_precision(keys)
    read_batches(keys, "micro_batch_size", 1, "axolotl 0.19, utils/schemas/training.py")
    _read_batch_size(keys)
    keys.say_whole("sequence_length", "sequence_len", otherwise=512, why="axolotl 0.19, utils/schemas/model.py")
    read_trainer_optimizer(keys, "optimizer", "axolotl")
    read_sync(keys)
    _read_attention(keys)
    read_checkpointing(keys)
    _read_batching(keys)
    read_plugins(keys)
    if is_on("val_set_size", (found := keys.entry("val_set_size")) and found.value):
        micro, why = reading.value("micro_batch_size"), "axolotl: eval_batch_size is the micro-batch"
        keys.say_whole("evaluation_batch_size", "eval_batch_size", otherwise=micro, why=why)


def _read_task(keys: Keys) -> None:
    reading = keys.reading
    reading.say("task", "sft", why="axolotl trains on text unless rl or a reward model is named")
    for name in TASKS:
        entry = keys.entry(name)
        if entry is not None and is_on(name, entry.value):
            task = str(entry.value) if name == "rl" else name
            reading.say("task", task, entry.place)
            reading.refuse(f"{task}: not the next-token loss of one sequence a sample", entry.place)


def _read_stored(keys: Keys) -> None:
    """Refuses weights that stay as the checkpoint stores them; MXFP4 that is undone while it is loaded is bf16."""
    stored = keys.word(STORED)
    if stored is not None and not (stored == "Mxfp4Config" and keys.flag(STORED_UNDONE)):
        keys.reading.refuse(f"a base that stays as its checkpoint stores it, by {stored}", keys.place(STORED))


def _read_finetuning(keys: Keys) -> None:
    reading, adapter = keys.reading, keys.word("adapter")
    place = keys.place("adapter")
    if adapter is None:
        reading.say("finetuning", Finetuning.FULL, why="axolotl: no adapter")
        if keys.flag("load_in_4bit") or keys.flag("load_in_8bit"):
            at = keys.place("load_in_4bit" if keys.flag("load_in_4bit") else "load_in_8bit")
            reading.refuse("a quantized base without an adapter, which axolotl refuses", at)
        return
    if adapter not in ("lora", "qlora"):
        reading.refuse(f"the adapter {adapter}", place)
        return
    quantization = _read_quantization(keys, adapter)
    method = Finetuning.LORA if quantization is Quantization.NONE else Finetuning.QLORA
    reading.say("finetuning", method, place, f"over a base in {quantization}" if adapter != method else "")
    _read_adapter(keys)


def _read_quantization(keys: Keys, adapter: str) -> Quantization:
    """Says how the base of an adapter is quantized, and returns it."""
    reading, place = keys.reading, keys.place("adapter")
    quantization = Quantization.NONE
    if adapter == "qlora" and keys.flag("load_in_4bit"):
        # loaders/model.py, `_set_quantization_config`: bnb_4bit_use_double_quant True unless bnb_config_kwargs say so
        double = keys.flag(DOUBLE, otherwise=True)
        quantization = Quantization.NF4_DOUBLE if double else Quantization.NF4
        reading.say("quantization", quantization, keys.place("load_in_4bit") if double else keys.place(DOUBLE))
    elif adapter == "lora" and keys.flag("load_in_8bit"):
        reading.say("quantization", quantization := Quantization.INT8, keys.place("load_in_8bit"))
    elif keys.flag("gptq"):
        reading.say("quantization", quantization := Quantization.GPTQ, keys.place("gptq"))
        reading.refuse("a GPTQ base, whose kernel depends on what is installed", keys.place("gptq"))
    elif adapter == "qlora":
        reading.refuse("qlora without load_in_4bit, which axolotl refuses", place)
    return quantization


def _read_adapter(keys: Keys) -> None:
    """Says the rank of adapters, their layers, and what trains beside them."""
    reading, place = keys.reading, keys.place("adapter")
    rank = keys.whole("lora_r")
    if rank:
        reading.say("lora_rank", rank, keys.place("lora_r"))
    else:
        reading.refuse("an adapter without lora_r", place)
    reading.say("lora_alpha", keys.whole("lora_alpha"), keys.place("lora_alpha"))
    keys.say_share("lora_dropout", "lora_dropout", otherwise=0.0, why="axolotl 0.19, utils/schemas/peft.py")
    if keys.flag("lora_target_linear"):
        reading.say("lora_targets", "all-linear", keys.place("lora_target_linear"))
    elif not read_targets(keys, "lora_target_modules", everything=()):
        reading.refuse("an adapter without lora_target_linear and lora_target_modules", place)
    read_trained_modules(keys, "lora_modules_to_save")
    read_variants(keys, "peft_use_")


def _read_engine(keys: Keys, run: Run) -> None:
    reading = keys.reading
    if (file := keys.word("deepspeed")) is not None:
        run.refer(file, keys.place("deepspeed"))
        return
    strategies = keys.names("fsdp") or ()
    config = keys.source.recipe.get("fsdp_config")
    if not strategies and not config:
        if reading.value("sharding") is None:
            reading.say("sharding", Sharding.NO_SHARD, why="no fsdp and no deepspeed")
        return
    place = keys.place("fsdp") or keys.place("fsdp_version")
    for name in strategies:
        if name.lower() in FSDP_STRATEGIES:
            reading.say("sharding", FSDP_STRATEGIES[name.lower()], place)
        elif name.lower() not in ("auto_wrap", "offload"):
            reading.refuse(f"FSDP's {name}", place)
    version = keys.whole("fsdp_version") or 1
    why = "" if keys.entry("fsdp_version") else "axolotl 0.19, utils/schemas/validation.py: fsdp_version 1"
    read_fsdp(keys, "fsdp_config", place, version=version, why=why)
    if "offload" in strategies:
        reading.say("offload", Offload.CPU, place)


def _read_precision(keys: Keys) -> None:
    reading = keys.reading
    bf16, fp16 = keys.word("bf16") or "", keys.word("fp16") or ""
    place = keys.place("bf16") or keys.place("bfloat16")
    is_bf16, is_fp16 = bf16.lower() in ("true", "auto", "full"), fp16.lower() == "true"
    if keys.flag("bfloat16") or bf16.lower() == "full":
        read_precision(reading, None, place, stored="bf16", raised_by=())
    elif is_bf16:
        why = "auto: bf16 on Ampere and later" if bf16.lower() == "auto" else ""
        read_precision(reading, "bf16", place, stored="bf16", raised_by=(ShardingBackend.FSDP1,), why=why)
        if why:
            reading.say("precision_without_bf16", Precision.FP16_MIXED, place, "auto: fp16 before Ampere")
    elif is_fp16 or keys.flag("float16"):
        place = keys.place("fp16") or keys.place("float16")
        # accelerate refuses to unscale fp16 gradients: full fine-tuning needs fp32 weights.
        read_precision(reading, "fp16", place, stored="fp32")
    else:
        read_precision(reading, None, keys.place("tf32"), stored="fp32", tf32=keys.flag("tf32"))
    unquantized = UnquantizedDtype.FP16 if is_fp16 else UnquantizedDtype.BF16
    why = "axolotl 0.19, loaders/model.py: PEFT's fp32 adapters, the unquantized rest cast back"
    # PEFT leaves adapters in the dtype of their layer's weight, which is bf16 for 4 bits (loaders/model.py), but in
    # fp32 where that is no float, as 8 bits are (tuners/lora/layer.py, `_move_adapter_to_device_of_base_layer`).
    raised = keys.flag("peft_autocast_adapter_dtype", otherwise=True)
    kept = raised or reading.value("quantization") is Quantization.INT8
    read_adapter_dtypes(reading, AdapterDtype.FP32 if kept else AdapterDtype.WEIGHTS, unquantized, why)


def _read_batch_size(keys: Keys) -> None:
    """Says the accumulation by an old key that says the sequences of a step of one GPU: utils/config/__init__.py."""
    reading, whole = keys.reading, keys.whole("batch_size")
    if whole and not keys.whole("gradient_accumulation_steps"):
        steps = max(1, whole // max(1, reading.value("micro_batch_size")))
        reading.say("gradient_accumulation_steps", steps, keys.place("batch_size"), "over the micro-batch")


def _read_batching(keys: Keys) -> None:
    reading = keys.reading
    if keys.flag("sample_packing"):
        # core/builders/causal.py: rows are joined where attention takes the lengths of samples
        apart = keys.flag("multipack_real_batches", otherwise=reading.value("attention") not in _TAKES_LENGTHS)
        reading.rows_stay_apart = apart
        why = "rows of the micro-batch stay apart" if apart else "one row of the micro-batch"
        reading.say("batching", Batching.PACKED, keys.place("sample_packing"), why)
    elif keys.flag("pad_to_sequence_len"):
        reading.say("batching", Batching.PADDED, keys.place("pad_to_sequence_len"))
    else:
        reading.say("batching", Batching.PADDED, why="core/builders/causal.py: to the longest, a multiple of 64")


def _read_attention(keys: Keys) -> None:
    for old, name in OLD_ATTENTIONS.items():
        if keys.flag(old):
            keys.reading.say("attention", ATTENTIONS[name], keys.place(old))
            return
    read_attention(keys, "attn_implementation")


READER = Reader(
    "axolotl",
    "axolotl 0.19",
    Role.RECIPE,
    TABLE,
    frozenset({"base_model"}),
    read,
    Framework.AXOLOTL,
    spelling=AXOLOTL,
    expands_from=1,  # utils/__init__.py, `set_pytorch_cuda_alloc_conf`
)
