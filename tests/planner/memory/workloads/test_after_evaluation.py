"""A step after an evaluation under FSDP2, which has left gathered what backward would have freed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from planner import verify
from planner.memory.sharding.account import Unit
from planner.memory.sharding.fsdp2.layout import Fsdp2Layout
from planner.memory.sharding.layout import Ends, Extra, MicroBatch, Turn
from strategies import Fsdp2, GradientSync, Sharding

TOLERANCE = 2e-4
SHAPE = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "max_position_embeddings": 4096,
}
TWICE = {"gradient_accumulation_steps": 2}
FOUR = {"gpus": 4, "checkpointing": "full", "reshard_size": 2}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "tied", "choices"),
    [
        (1_000, False, {}),
        (60_000, False, {}),
        (60_000, False, {**TWICE, "gradient_sync": "last"}),
        (60_000, False, {**TWICE, "gradient_sync": "each", "gpus": 8}),
        (60_000, False, {"sharding": "shard_grad_op"}),
        (60_000, False, {"finetuning": "lora"}),
        (1_000, False, FOUR),
        (1_000, True, FOUR),
        (1_000, True, {"sharding": "shard_grad_op"}),
    ],
    ids=str,
)
def test_every_phase_equals_the_replay(tmp_path: Path, words: int, tied: bool, choices: dict[str, Any]) -> None:
    config = tmp_path / "config.json"
    config.write_text(json.dumps({**SHAPE, "vocab_size": words, "tie_word_embeddings": tied}))
    usual = {"gpu": "H100-80GB", "gpus": 2, "sharding": "full_shard", "sequence_length": 128, "micro_batch_size": 2}
    result = verify(str(config), **{**usual, **choices}, evaluation_batch_size=2)
    differences = {name: phase.difference for name, phase in result.phases.items()}
    assert set(differences) == {"forward", "backward", "optimizer", "evaluation"}
    assert differences == pytest.approx(dict.fromkeys(differences, 0.0), abs=TOLERANCE)


def unit(gathered: int) -> Unit:
    return Unit(gathered // 2, (), gathered, 0, 0)


PLAIN = Ends()
UNITS = [unit(100), unit(40), unit(40), unit(60), unit(0)]


def layout(sharding: Fsdp2, ends: Ends = PLAIN, turn: Turn = Turn.ONLY) -> Fsdp2Layout:
    return Fsdp2Layout(UNITS, sharding, 4, ends, MicroBatch(turn, evaluates=True))


def test_the_head_is_gathered_from_the_first_moment_on_and_once_more_before_the_stem() -> None:
    found = layout(Fsdp2())
    assert [found.forward(i) for i in range(3)] == [Extra(100 + 60, 100), Extra(40 + 60, 40), Extra(40 + 60, 40)]
    assert found.gather(1) == Extra(40 + 60, 40 + 100)
    assert found.forward(3) == Extra(60, 60)  # of a step after a step; else the last block's buffer of 40
    assert found.backward(0) == Extra(100, 60)
    assert found.backward(1) == Extra(40, 100)


def test_without_reshard_every_unit_stays_gathered() -> None:
    found = layout(Fsdp2(Sharding.SHARD_GRAD_OP))
    assert [found.forward(i).unsharded for i in range(4)] == [240] * 4
    assert found.forward(0).communication == 0
    assert found.backward(0).communication == 60  # the head has been freed in its own backward


def test_what_forward_left_of_units_is_there_until_they_are_gathered() -> None:
    found = layout(Fsdp2(reshard_size=2))
    assert found.forward(1).unsharded == 50 + 40 + 20 + 60  # shards before and after it, and the head
    assert found.gather(1).unsharded == 50 + 40 + 20 + 20 + 60  # and its own


@pytest.mark.parametrize("ends", [Ends(tied=True), Ends(rooted=True)])
def test_a_root_stays_gathered_anyway(ends: Ends) -> None:
    found = layout(Fsdp2(), ends)
    plain = Fsdp2Layout(UNITS, Fsdp2(), 4, ends)
    assert [found.forward(i) for i in range(4)] == [plain.forward(i) for i in range(4)]
    assert found.backward(0) == plain.backward(0)


def test_later_micro_batches_follow_a_backward() -> None:
    sharding = Fsdp2(gradient_sync=GradientSync.EACH)
    later, plain = layout(sharding, turn=Turn.LATER), Fsdp2Layout(UNITS, sharding, 4, PLAIN, MicroBatch(Turn.LATER))
    assert [later.forward(i) for i in range(4)] == [plain.forward(i) for i in range(4)]
    assert later.backward(0) == plain.backward(0)
