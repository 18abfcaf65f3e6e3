"""The model against replays of optimizers, updates and precisions of their own kind, made here and now."""

import importlib.util
from typing import Any

import pytest

from planner import ContradictionError, verify
from planner.replay.setup.optimizers import BUILDERS
from strategies import Optimizer

TOLERANCE = 0.0025
"""Largest relative error of the peak of each phase, either way."""

SMALL: dict[str, Any] = {"gpu": "H100-80GB-SXM", "sequence_length": 512, "precision": "bf16-true"}
NEEDS_TORCHAO = pytest.mark.skipif(importlib.util.find_spec("torchao") is None, reason="torchao is not installed")


@pytest.mark.parametrize(
    ("model", "options"),
    [
        ("pythia-70m", {"optimizer": "galore", "optimizer_rank": 32}),
        ("pythia-70m", {"optimizer": "apollo", "update": "in-backward"}),
        ("pythia-70m", {"optimizer": "adam-mini", "checkpointing": "full"}),
        ("pythia-70m", {"optimizer": "adamw-fp32-master"}),
        ("gpt2", {"optimizer": "adafactor", "update": "in-backward"}),
        ("pythia-70m", {"optimizer": "adamw-8bit", "update": "in-backward"}),
        ("pythia-70m", {"optimizer": "adamw", "update": "in-backward", "sharding": "full_shard", "gpus": 2}),
        ("pythia-70m", {"optimizer": "paged-adamw-8bit", "finetuning": "freeze"}),
        ("pythia-70m", {"optimizer": "paged-adamw-32bit", "finetuning": "qlora"}),
        ("pythia-70m", {"optimizer": "galore", "finetuning": "freeze", "update": "in-backward"}),
        ("pythia-70m", {"optimizer": "lion-8bit", "finetuning": "lora", "precision": "fp16-true"}),
        pytest.param("pythia-70m", {"optimizer": "adamw-4bit"}, marks=NEEDS_TORCHAO),
        pytest.param("pythia-70m", {"precision": "fp8-mixed"}, marks=NEEDS_TORCHAO),
    ],
    ids=lambda x: " ".join(map(str, x.values())) if isinstance(x, dict) else x,
)
def test_every_phase_equals_the_replay(model: str, options: dict[str, Any]) -> None:
    result = verify(model, **{**SMALL, **options})
    errors = {name: phase.difference for name, phase in result.phases.items()}
    assert errors == pytest.approx(dict.fromkeys(errors, 0.0), abs=TOLERANCE)


def test_every_optimizer_can_be_built() -> None:
    assert set(BUILDERS) == set(Optimizer)


def test_a_stand_in_does_not_run_for_real() -> None:
    with pytest.raises(ContradictionError, match="cannot run for real here, only be replayed"):
        verify("pythia-70m", **SMALL, optimizer="lion", device="cpu")


def test_an_update_in_backward_refuses_accumulation() -> None:
    with pytest.raises(ContradictionError, match="leaves no gradient"):
        verify("pythia-70m", **SMALL, update="in-backward", gradient_accumulation_steps=2)


def test_layers_that_are_not_linear_cannot_be_converted() -> None:
    with pytest.raises(ContradictionError, match="Conv1D"):
        verify("gpt2", **{**SMALL, "precision": "fp8-mixed"})
