"""The model's answers to replays of FSDP1: a model of every family, each with its choices."""

from __future__ import annotations

import json
import statistics
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import planner
from planner.models import registry_models
from planner.verification.replayed import phases_of
from strategies import Checkpointing, GradientSync, Offload, Sharding

REPLAYS = Path(__file__).parents[4] / "benchmarks" / "recorded" / "coverage.jsonl"
MEDIAN, OF_A_PEAK, OF_A_PHASE = 0.0001, 0.003, 0.02
"""Largest errors relative to the replay: at the median, at the peak of a step, and in a phase."""


@cache
def replays() -> list[dict[str, Any]]:
    lines = map(json.loads, REPLAYS.read_text().splitlines())
    return [line for line in lines if line.get("bytes") and line["cell"].get("sharding_backend") == "fsdp1"]


@cache
def answers() -> list[tuple[dict[str, int], dict[str, int]]]:
    """Bytes of each phase in the model and in the replay."""
    found = []
    for recorded in replays():
        cell = recorded["cell"]
        length = planner.find_model(cell["model"]).tokens_per_sample or 512
        plan = planner.estimate(**cell, gpu="H100-80GB-SXM", sequence_length=length, micro_batch_size=2)
        found.append((phases_of(plan.memory.moments), recorded["bytes"]))
    return found


def test_every_peak_is_where_the_model_says() -> None:
    errors = [abs(max(model.values()) / max(replay.values()) - 1) for model, replay in answers()]
    assert statistics.median(errors) <= MEDIAN
    assert max(errors) <= OF_A_PEAK


def test_so_is_every_phase() -> None:
    errors = [abs(model[phase] / replay[phase] - 1) for model, replay in answers() for phase in replay]
    assert statistics.median(errors) <= MEDIAN
    assert max(errors) <= OF_A_PHASE


def test_a_model_of_every_family_is_replayed() -> None:
    types = {entry.name: entry.model_type for entry in registry_models()}
    # those whose experts or shared embeddings FSDP1 takes are among them
    assert {types[recorded["cell"]["model"]] for recorded in replays()} >= {
        *("bert", "bloom", "deberta-v2", "falcon", "gemma", "gemma2", "gemma3_text", "gpt2", "gpt_neox", "gptj"),
        *("granite", "granitemoe", "llama", "mistral", "mpt", "nemotron", "olmo", "olmo2", "olmoe", "opt", "phi"),
        *("phi3", "qwen2", "qwen3", "roberta", "smollm3", "stablelm", "starcoder2", "t5", "vit", "xlm-roberta"),
    }


@pytest.mark.parametrize(
    ("option", "choices"),
    [
        ("sharding", (Sharding.SHARD_GRAD_OP, Sharding.FULL_SHARD, Sharding.HYBRID_SHARD)),
        ("checkpointing", (Checkpointing.NONE, Checkpointing.FULL, Checkpointing.FULL_REENTRANT)),
        ("offload", (Offload.NONE, Offload.CPU)),
        ("gradient_sync", tuple(GradientSync)),
        ("finetuning", ("full", "lora", "qlora", "freeze")),
        ("precision", ("fp32", "bf16-mixed", "bf16-true")),
        ("optimizer", ("adamw", "adamw-8bit", "adafactor", "lion")),
        ("gpus", (2, 8)),
        ("gradient_accumulation_steps", (1, 2)),
    ],
)
def test_each_choice_is_replayed(option: str, choices: tuple[Any, ...]) -> None:
    assert {recorded["cell"].get(option) for recorded in replays()} >= {*choices}
