"""Turns what was read into the arguments of `estimate`, on a number of GPUs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hardware import GPU
from planner.models import Foreign, Model
from planner.problem.accumulation import passes
from planner.readers.documents.reading import Reading
from planner.readers.run import Run
from strategies import OPTIONS, Attention, Batching, Sharding, Task, UnquantizedDtype

_UNSHARDED, _SHARDED = (1, 8), (2, 4, 8, 16, 32, 64)
"""Numbers of GPUs that are tried where nothing says how many there are."""
_WORKLOAD = (
    "sequence_length",
    "target_length",
    "micro_batch_size",
    "gradient_accumulation_steps",
    "evaluation_batch_size",
    "batching",
    "outputs",
    "precision_without_bf16",
    "global_batch_size",
)
"""Settings beside the options of techniques: arguments of `estimate`, what another GPU would make of the files, and a
global batch, which decides the accumulation once the number of GPUs is known."""
PER_NODE = 8
_LENGTHS = (2048, 512, 1024, 4096, 8192)
"""Tokens per sequence that are tried where nothing says how many, the usual number first."""


def arguments_of(reading: Reading, run: Run, notes: list[str], length: int) -> dict[str, Any]:
    """Returns the arguments of `estimate` that a reading makes, but for the model and the GPUs.

    Args:
        reading: What the files say.
        run: The files.
        notes: Notes about what is taken for something else are added here.
        length: Tokens per sequence where the files do not say how many.

    Raises:
        ContradictionError: They make no run.
    """
    said = {word: reading.value(word) for word in OPTIONS if reading.value(word) is not None}
    said |= {word: reading.value(word) for word in _WORKLOAD if reading.value(word) is not None}
    said.setdefault("sequence_length", length)
    rows = said["micro_batch_size"]
    if said["batching"] is Batching.PACKED and rows > 1 and not reading.rows_stay_apart:
        length = said["sequence_length"]
        notes.append(f"packed: {rows} x {length:,} tokens of a micro-batch are one row of {rows * length:,}")
        said |= {"micro_batch_size": 1, "sequence_length": rows * length}
        if "global_batch_size" in said:
            said["global_batch_size"] = passes(said["global_batch_size"], rows)
        if "evaluation_batch_size" in said:
            said["evaluation_batch_size"] = max(1, said["evaluation_batch_size"] // rows)
    if isinstance(task := reading.value("task"), Task):  # other readers say how a framework calls its trainer
        said["task"] = task
    attention: Attention | None = said.get("attention")
    if said["batching"] is not Batching.FULL and attention is not None and attention.is_flash:
        # Without padding within a batch, transformers passes flash-attn no mask, and packed rows only their lengths:
        # modeling_flash_attention_utils.py, `_flash_attention_forward`.
        said["batching"] = Batching.FULL
        notes.append(f"{attention} is planned for full rows: a padded batch is copied without its padding")
    if run.recipe is not None and "version" not in reading.said:
        said["framework"] = run.recipe.framework
    return said


def lengths_of(reading: Reading, model: Model | Foreign) -> tuple[int, ...]:
    """Returns the tokens per sequence that come into question, the usual ones first: one, if the files say how many."""
    said = reading.value("sequence_length")
    if said is not None:
        return (said,)
    longest = (model.max_positions if isinstance(model, Model) else None) or max(_LENGTHS)
    return tuple(length for length in _LENGTHS if length <= longest) or (longest,)


def counts_of(reading: Reading, gpus: int | None, nodes: int | None) -> list[tuple[int, int]]:
    """Returns the GPUs per node and the nodes that come into question."""
    gpus = reading.value("gpus") if gpus is None else gpus
    said_nodes = reading.value("nodes") if nodes is None else nodes
    if gpus is not None:
        return [(gpus, 1 if said_nodes is None else said_nodes)]
    if said_nodes is not None:
        return [(count, said_nodes) for count in _SHARDED if count <= PER_NODE]
    counts = _UNSHARDED if reading.value("sharding") is Sharding.NO_SHARD else _SHARDED
    return [(min(count, PER_NODE), max(1, count // PER_NODE)) for count in counts]


def on_cluster(arguments: Mapping[str, Any], gpu: GPU, gpus: int, nodes: int) -> dict[str, Any]:
    """Returns the arguments of `estimate` on a number of GPUs, which decides the accumulation of a global batch.

    Raises:
        ContradictionError: The global batch cannot be divided.
    """
    made, alone = dict(arguments), gpus * nodes == 1
    if alone and made.get("sharding") is Sharding.NO_SHARD:
        del made["sharding"]
    otherwise, wanted = made.pop("precision_without_bf16", None), made.pop("global_batch_size", None)
    if wanted is not None:
        made["gradient_accumulation_steps"] = passes(wanted, made["micro_batch_size"] * gpus * nodes)
    if otherwise is not None and not gpu.supports_bf16:
        made["precision"] = otherwise
        if "unquantized_dtype" in made:
            made["unquantized_dtype"] = UnquantizedDtype.FP16
    return {**made, "gpu": gpu, "gpus": gpus, "nodes": nodes}
