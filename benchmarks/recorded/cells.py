"""Says what the cells of `coverage.py` vary, with which values and models, and what each of them asks."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from functools import cache
from typing import Any

from recorded.pairs import Cell

import planner
from planner import PlannerError
from planner.models import registry_models
from strategies import AXES, OPTIONS, Batching, Outputs, Quantization, Task, Wrapping

GPU, SEQUENCE_LENGTH, MICRO_BATCH_SIZE = "H100-80GB-SXM", 512, 2

MODELS = {
    "bert": "bert-base-cased",
    "llama": "llama-3.2-1b",
    "qwen2": "qwen2.5-0.5b",
    "xlm-roberta": "xlm-roberta-base",
}
"""Model of a family, where the smallest one is not the one that people train."""

LARGEST = 10 * 10**9
"""Parameters of the largest model that is replayed; larger ones of a family only repeat its blocks."""

NUMBERS: dict[str, tuple[Any, ...]] = {
    "lora_rank": (8, 64),
    "lora_targets": ("all-linear", "q_proj,v_proj"),
    "lora_dropout": (0.0, 0.1),
    "trained_blocks": (2, 4),
    "checkpoint_every": (1, 2),
    "optimizer_rank": (16, 128),
    "reshard_size": (0, 4),
    "shard_size": (4, 2),
    "reduce_bucket": (0, 20_000_000),
    "prefetch_bucket": (0, 5_000_000, 1),
    "persistence_threshold": (0, 100_000, 1),
    "max_live_parameters": (0, 50_000_000),
    "max_reuse_distance": (0, 10_000_000, 1),
    "sub_group_size": (0, 10_000_000),
}
"""Values of options that are numbers or names; the other options take all their choices."""

WORKLOAD: dict[str, tuple[Any, ...]] = {
    "gpus": (1, 2, 8),
    "gradient_accumulation_steps": (1, 2),
    "outputs": tuple(choice.value for choice in Outputs),
    "evaluation_batch_size": (None, 8),
    "batching": tuple(choice.value for choice in Batching),
    "target_length": (None, 64, 768),
}
"""Values of what a step trains on, and of what happens between steps."""

MEAN_LENGTH = 256
"""Tokens of a sample where samples are padded or packed."""

USUAL: dict[str, Any] = {
    "model": "llama-3.2-1b",
    "gpus": 1,
    "gradient_accumulation_steps": 1,
    "precision": "bf16-mixed",
    "finetuning": "full",
}


UNREPLAYED = {
    ("quantization", Quantization.NONE): "qlora without quantization is lora",
    ("wrapping", Wrapping.TORCH_2_7): "a replay runs the wrapping of the torch that is installed, on one rank",
}
"""Choices that no cell has, by the option, and why."""


@cache
def factors() -> dict[str, tuple[Any, ...]]:
    """Returns what varies between cells, each factor with its values."""
    found: dict[str, tuple[Any, ...]] = {
        "model": tuple(models()),
        "task": tuple(choice.value for choice in Task),
        **WORKLOAD,
    }
    for name, option in OPTIONS.items():
        if isinstance(option.kind, type):
            found[name] = tuple(choice.value for choice in option.kind if (name, choice) not in UNREPLAYED)
        elif name in NUMBERS:
            found[name] = NUMBERS[name]
    return found


NOT_VARIED = {
    "gpu": "the same in all cells: of a GPU a replay knows its workspaces and which kernels it has",
    "nodes": "a replay knows the number of ranks alone",
    "sequence_length": "the same in all cells; bytes are linear in it or in its square",
    "micro_batch_size": "the same in all cells; bytes are linear in it",
    "mean_length": "the same in all cells that pad or pack",
    "headroom": "a bound, no part of a step",
    "host_memory": "a bound, no part of a step",
    "loading": "what happens before the first step is not replayed",
    "device": "where a step runs for real beside its replay",
    "catalog": "no part of a step",
    "progress": "no part of a step",
    "timeline": "no part of a step",
    "snapshot": "no part of a step",
}
"""Arguments of `planner.verify` that cells do not vary, and why."""

BEFORE: dict[str, Any] = {
    "outputs": "released",
    "evaluation_batch_size": None,
    "batching": "full",
    "target_length": None,
    "lora_targets": "all-linear",
    "wrapping": "today",
}
"""What cells had that were recorded before these options were."""


@cache
def models() -> list[str]:
    """Returns one model of every family: the smallest in the registry, or that of `MODELS`."""
    smallest: dict[str, tuple[int, str]] = {}
    for entry in registry_models():
        size = planner.find_model(entry.name).num_parameters
        if size <= LARGEST:
            smallest[entry.model_type] = min(smallest.get(entry.model_type, (size, entry.name)), (size, entry.name))
    return [MODELS.get(kind, name) for kind, (_, name) in smallest.items()]


@cache
def usual() -> dict[str, Any]:
    return {name: USUAL.get(name, values[0]) for name, values in factors().items()}


def relevant(cell: Cell) -> Cell:
    """Returns a cell without the options that refine choices which it does not have."""
    meant = {name: cell[name] for name in factors() if name in cell}
    architecture = planner.find_model(cell["model"]).architecture
    if len(architecture.tasks) == 1:
        meant.pop("task", None)
    if not architecture.is_encoder_decoder:
        meant.pop("target_length", None)
    for axis in AXES.values():
        for option in axis.refinements:
            if option.name in meant and not option.refines(meant):
                del meant[option.name]
    return meant


def arguments(cell: Cell) -> dict[str, Any]:
    """Returns the arguments of `planner.verify` and `planner.estimate`."""
    length = planner.find_model(cell["model"]).tokens_per_sample or SEQUENCE_LENGTH
    found = {"gpu": GPU, "sequence_length": length, "micro_batch_size": MICRO_BATCH_SIZE, **cell}
    if cell.get("batching", Batching.FULL) != Batching.FULL:
        found["mean_length"] = MEAN_LENGTH
    return found


def command(cell: Cell) -> str:
    options = {name: value for name, value in arguments(cell).items() if name != "model" and value is not None}
    words = (f"--{name.replace('_', '-')} {value}" for name, value in options.items())
    return f"planner verify {cell['model']} {' '.join(words)}"


def refusal(cell: Cell) -> str | None:
    """Returns why a cell cannot be planned, or None if it can."""
    try:
        planner.estimate(**arguments(cell))
    except PlannerError as error:
        return error.message
    return None


def added(text: str) -> Cell:
    """Returns the cell with the values that a text names, as in `gpus=2,sharding=full_shard`, and otherwise usual."""
    said = dict(word.split("=", 1) for word in text.split(",") if word)
    texts = {name: {str(value): value for value in values} for name, values in factors().items()}
    for name, value in said.items():
        if name != "model" and value not in texts.get(name, {}):
            raise argparse.ArgumentTypeError(f"{name}={value}: is none of {', '.join(texts.get(name, factors()))}")
    cell = relevant({**usual(), **said, **{n: texts[n][v] for n, v in said.items() if n != "model"}})
    if why := refusal(cell):
        raise argparse.ArgumentTypeError(f"{text}: {why}")
    return cell


def values_of(cell: Cell) -> Cell:
    """Returns a cell with the task that its model has alone."""
    tasks = planner.find_model(cell["model"]).architecture.tasks
    return cell if len(tasks) > 1 else {**cell, "task": str(next(iter(tasks)))}


def untried(cells: Iterable[Cell]) -> list[tuple[str, Any]]:
    """Returns each factor's values that no cell has."""
    tried = {pair for cell in cells for pair in values_of(cell).items()}
    return [(name, value) for name, values in factors().items() for value in values if (name, value) not in tried]
