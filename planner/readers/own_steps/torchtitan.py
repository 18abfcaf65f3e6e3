"""Reads torchtitan's TOML.

Source of defaults: torchtitan 238fa99, the last commit with TOML, config/job_config.py and models/llama3/infra/.
"""

from __future__ import annotations

from planner.readers.documents.keys import Keys
from planner.readers.documents.ranks import PER_NODE, say_ranks
from planner.readers.own_steps.models import MIXTURES, TORCHTITAN
from planner.readers.reader import Reader, Role
from planner.readers.run import Run
from planner.readers.spelling.spelling import Spelling
from planner.readers.tables.torchtitan import (
    AC,
    ACCUMULATION,
    COMPILE,
    FP8,
    MICRO,
    PARALLEL,
    REPLICAS,
    SHARDS,
    TABLE,
    TRAINING,
)
from strategies import (
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
    Update,
)

_VERSION = "torchtitan 238fa99"
_SOURCE = f"{_VERSION}, config/job_config.py"
_OPTIMIZERS = {"fused": Optimizer.ADAMW, "foreach": Optimizer.ADAMW_FOREACH}
_ATTENTIONS = {"": Attention.SDPA, "flex": Attention.FLEX}
_PRECISIONS = {
    ("float32", "bfloat16"): Precision.BF16_MIXED,
    ("float32", "float32"): Precision.FP32,
    ("bfloat16", "bfloat16"): Precision.BF16_TRUE,
}


def read(keys: Keys, run: Run) -> None:
    """Says what a run of torchtitan does."""
    reading = keys.reading
    _read_model(keys)
    reading.say("task", "pretraining", why=_VERSION)
    reading.say("finetuning", Finetuning.FULL, why=_VERSION)
    reading.say("quantization", Quantization.NONE, why=_VERSION)
    _read_sharding(keys, run)
    _read_precision(keys)
    _read_batches(keys)
    _read_optimizer(keys)
    _read_checkpointing(keys)
    _read_kernels(keys)
    # benchmarks/published/data/torchtitan.csv: 11 runs, median 4.2%, at most 10%
    what = "torchtitan's own modules: those of transformers are planned, within 10% of what its runs reserved"
    reading.leave_out(what)


def _read_model(keys: Keys) -> None:
    reading, place = keys.reading, keys.place("model.flavor") or keys.place("model.name")
    name, flavor = keys.word("model.name") or "llama3", keys.word("model.flavor") or "debugmodel"
    size, _, attention = flavor.partition("_")
    model = TORCHTITAN.get((name, size))
    if model is None:
        reading.refuse(f"the model {name}, {flavor}, of torchtitan's own", place)
        return
    reading.say("model", model, place)
    if attention == "irope" and name == "llama4":
        attention = ""
    if attention in _ATTENTIONS:
        reading.say("attention", _ATTENTIONS[attention], place if attention else None, "" if attention else _VERSION)
    else:
        reading.refuse(f"the attention {attention}", place)
    if (name, size) in MIXTURES:
        reading.refuse("experts in grouped products of torchtitan's own", place)


def _read_sharding(keys: Keys, run: Run) -> None:
    """Says what is sharded: a degree of -1 takes all GPUs that no other degree takes (distributed/parallel_dims.py)."""
    reading = keys.reading
    replicas, place = keys.whole(*REPLICAS) or 1, keys.place(*REPLICAS)
    at, shards = keys.place(*SHARDS), _degree(keys)
    offloads = keys.flag(f"{TRAINING}enable_cpu_offload")
    offload = Offload.CPU if offloads else Offload.NONE
    reading.say("offload", offload, keys.place(f"{TRAINING}enable_cpu_offload"), "" if offloads else _SOURCE)
    if shards is not None:
        say_ranks(keys, replicas * shards, keys.place(*SHARDS), "product of the degrees")
    elif run.ranks is not None:
        shards = run.ranks // replicas
    if shards == 1 or run.ranks == 1:
        reading.say("sharding", Sharding.NO_SHARD, at or place, "one GPU" if replicas == 1 else "DDP")
        return
    policy = keys.word(f"{PARALLEL}fsdp_reshard_after_forward") or "default"
    keeps = policy == "never"
    reading.say("sharding", Sharding.SHARD_GRAD_OP if keeps else Sharding.FULL_SHARD, at, "" if at else _SOURCE)
    if policy not in ("default", "always", "never"):
        reading.refuse(f"fsdp_reshard_after_forward {policy}", keys.place(f"{PARALLEL}fsdp_reshard_after_forward"))
    reading.say("sharding_backend", ShardingBackend.FSDP2, why=f"{_VERSION}, models/llama3/infra/parallelize.py")
    if replicas > 1:
        reading.say("sharding", Sharding.HYBRID_SHARD, place)
        if keeps or shards != PER_NODE:
            reading.refuse("replicas of a model that is not divided over the GPUs of a node", place)


def _degree(keys: Keys) -> int | None:
    """Returns among how many GPUs the model is divided; None for all that are left."""
    entry = keys.entry(*SHARDS)
    return None if entry is None or entry.value == -1 else keys.whole(*SHARDS)


def _read_precision(keys: Keys) -> None:
    reading, names = keys.reading, (f"{TRAINING}dtype", f"{TRAINING}mixed_precision_param")
    stored, computed = keys.word(names[0]) or "float32", keys.word(names[1]) or "bfloat16"
    place = keys.place(*names)
    if (stored, computed) not in _PRECISIONS:
        reading.refuse(f"weights in {stored} that are computed in {computed}", place)
        return
    why = f"{_SOURCE}: fp32 weights, gathered and computed in bf16, reduced in fp32" if place is None else ""
    reading.say("precision", _PRECISIONS[stored, computed], place, why)
    converters, at = keys.names("model.converters", "model.handlers") or (), keys.place("model.converters")
    for converter in converters:
        if converter in FP8:
            reading.say("precision", Precision.FP8_MIXED, at)
        else:
            reading.refuse(f"the converter {converter}", at)
    recipes = ("quantize.linear.float8.recipe_name", "float8.recipe_name")
    if converters and (keys.word(*recipes) or "tensorwise") != "tensorwise":
        reading.refuse(f"fp8 with the scales {keys.word(*recipes)}", keys.place(*recipes))


def _read_batches(keys: Keys) -> None:
    reading = keys.reading
    keys.say_whole("micro_batch_size", *MICRO, otherwise=8, why=_SOURCE)
    entry = keys.entry(ACCUMULATION)
    if entry is None or entry.value == -1:
        reading.say("gradient_accumulation_steps", 1, entry and entry.place, "no global batch: one pass a step")
    else:
        reading.say("global_batch_size", keys.whole(ACCUMULATION), entry.place)
    length = keys.say_whole("sequence_length", f"{TRAINING}seq_len", otherwise=2048, why=_SOURCE)
    reading.say("batching", Batching.FULL, why=f"{_VERSION}: texts are joined and cut")
    if keys.flag("validation.enable"):
        keys.say_whole("evaluation_batch_size", "validation.local_batch_size", otherwise=8, why=_SOURCE)
        if (keys.whole("validation.seq_len") or 2048) != length:
            reading.leave_out("an evaluation with sequences of another length", keys.place("validation.enable"))


def _read_optimizer(keys: Keys) -> None:
    reading, name = keys.reading, keys.word("optimizer.name") or "AdamW"
    kind, at = keys.word("optimizer.implementation") or "fused", keys.place("optimizer.implementation")
    if name not in ("Adam", "AdamW"):
        reading.refuse(f"the optimizer {name}", keys.place("optimizer.name"))
    elif kind not in _OPTIMIZERS:
        reading.refuse(f"AdamW as a {kind}: parameter by parameter", at)
    else:
        reading.say("optimizer", _OPTIMIZERS[kind], at or keys.place("optimizer.name"), "" if at else _SOURCE)
    if keys.flag("optimizer.early_step_in_backward"):
        reading.say("update", Update.IN_BACKWARD, keys.place("optimizer.early_step_in_backward"))


def _read_checkpointing(keys: Keys) -> None:
    reading, mode = keys.reading, keys.word(f"{AC}mode") or "selective"
    place, option = keys.place(f"{AC}mode"), keys.word(f"{AC}selective_ac_option") or "2"
    at, why = keys.place(f"{AC}selective_ac_option") or place, "" if place else _SOURCE
    if mode in ("none", "full"):
        reading.say("checkpointing", Checkpointing.FULL if mode == "full" else Checkpointing.NONE, place, why)
    elif mode == "selective" and option == "op":
        reading.say("checkpointing", Checkpointing.SELECTIVE_EVERY_SECOND_MATMUL, at, why)
    elif mode == "selective" and option.isdecimal():
        reading.say("checkpointing", Checkpointing.FULL, at, why or f"every {option}th block")
        if int(option) > 1:
            reading.say("checkpoint_every", int(option), at, why)
    elif mode == "memory_budget":
        reading.refuse("a memory budget, by which the compiler decides what is recomputed", place)
    else:
        reading.refuse(f"checkpointing {mode}, {option}", at)


def _read_kernels(keys: Keys) -> None:
    reading, place = keys.reading, keys.place(*COMPILE)
    parts = keys.names("compile.components")
    whole = keys.flag(*COMPILE) and (parts is None or "model" in parts)
    reading.say("kernels", Kernels.COMPILE if whole else Kernels.EAGER, place, "" if place else _SOURCE)
    fused = keys.flag(*COMPILE) and (parts is None or "loss" in parts)
    why = f"{_VERSION}, components/loss.py: whole logits, in fp32"
    reading.say("loss", Loss.COMPILED if fused else Loss.FULL, place if fused else None, "" if fused else why)


READER = Reader(
    "torchtitan",
    _VERSION,
    Role.RECIPE,
    TABLE,
    frozenset({"job", "activation_checkpoint", "parallelism"}),
    read,
    spelling=Spelling(
        {
            "micro_batch_size": (f"{TRAINING}local_batch_size", f"{TRAINING}batch_size"),
            "gradient_accumulation_steps": (),
            "sequence_length": (f"{TRAINING}seq_len",),
        },
        {
            ("checkpointing", Checkpointing.NONE): {f"{AC}mode": "none"},
            ("checkpointing", Checkpointing.FULL): {f"{AC}mode": "full"},
            ("checkpointing", Checkpointing.SELECTIVE_EVERY_SECOND_MATMUL): {
                f"{AC}mode": "selective",
                f"{AC}selective_ac_option": "op",
            },
            ("optimizer", Optimizer.ADAMW): {"optimizer.implementation": "fused"},
            ("kernels", Kernels.COMPILE): {"compile.enable": True},
            ("offload", Offload.CPU): {f"{TRAINING}enable_cpu_offload": True},
        },
    ),
    expands_from=1,  # run_train.sh
)
