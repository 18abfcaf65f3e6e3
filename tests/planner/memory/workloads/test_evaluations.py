"""An evaluation between steps keeps nothing for backward, runs without dropout, and has the trained batch beside it."""

from __future__ import annotations

from typing import Any

import pytest

from planner import estimate
from planner.memory.settings.dtypes import Dtypes
from planner.memory.settings.exchange import Shared
from planner.memory.sharding.account import TrainedTensor
from planner.memory.step.evaluation import saving
from planner.memory.step.step import Line
from planner.models import find_model
from strategies import Fsdp2, Full, Precision


def evaluated(model: str = "smollm2-135m", size: int = 8, **choices: Any) -> int:
    usual = {"gpu": "A100-80GB", "sequence_length": 256, "precision": "bf16-mixed", "finetuning": "full"}
    memory = estimate(model, **{**usual, **choices}, micro_batch_size=1, evaluation_batch_size=size).memory
    return memory.moments["evaluation"]


@pytest.mark.parametrize(
    "choices",
    [{}, {"finetuning": "lora"}, {"finetuning": "freeze"}, {"sharding": "full_shard", "gpus": 2}, {"loss": "chunked"}],
    ids=str,
)
def test_each_further_sample_of_an_evaluation_takes_as_much(choices: dict[str, Any]) -> None:
    sizes = [evaluated(size=size, **choices) for size in (64, 65, 66)]
    assert sizes[2] - sizes[1] == sizes[1] - sizes[0] > 0


def test_an_evaluation_has_no_dropout() -> None:
    lora = {"finetuning": "lora", "checkpointing": "none"}
    assert evaluated(**lora, lora_dropout=0.1) == evaluated(**lora, lora_dropout=0.0)


def test_an_evaluation_makes_the_logits_that_ligers_fused_loss_skips_in_training() -> None:
    whole = evaluated(kernels="liger")
    assert evaluated(kernels="liger", loss="liger-fused-linear") == whole
    assert evaluated(loss="chunked") < evaluated()


def test_logits_of_all_tokens_are_in_half_and_in_fp32_beside_each_other() -> None:
    tokens, words = 256, 49_152
    further = evaluated(size=65) - evaluated(size=64)
    logits = tokens * words * (2 + 4 + 4)  # under autocast, then cast and their log-softmax
    assert logits < further < 1.05 * logits


def test_the_ids_of_both_batches_are_there() -> None:
    padded = {"model": "smollm2-135m", "gpu": "A100-80GB", "sequence_length": 256, "finetuning": "lora"}
    first, second = (
        estimate(**padded, micro_batch_size=size, evaluation_batch_size=64).memory.moments["evaluation"]
        for size in (1, 2)
    )
    assert second - first == 2 * 256 * 8  # ids and labels of one more sample that trains


def test_saving_gathers_one_parameter_beside_what_persists() -> None:
    def memory_of(**choices: Any) -> Any:
        return estimate("smollm2-135m", gpu="A100-80GB", gpus=2, finetuning="full", **choices).memory

    memory = memory_of(sharding="full_shard")
    persistent = memory.components.parameters + memory.components.optimizer_states
    assert memory.moments["saving"] > persistent + 49_152 * 576 * 2
    assert "saving" not in memory_of(sharding="no_shard").moments
    assert "saving" not in memory_of(sharding="full_shard", offload="cpu").moments


def test_a_parameter_that_is_gathered_to_be_saved_is_unsharded_as_it_is_stored() -> None:
    table = 49_152 * 576
    inventory = find_model("smollm2-135m").inventory
    for precision, itemsize in ((Precision.BF16_TRUE, 2), (Precision.BF16_MIXED, 4)):
        line = saving(inventory, Dtypes.of(precision, Full(), Fsdp2()))
        assert line == Line(table * itemsize, 0, 0, 0, 0, table * itemsize, 0)


def test_what_is_not_said_of_a_tensor_is_not_so() -> None:
    assert TrainedTensor((2,), 2, 4, False, 4) == TrainedTensor((2,), 2, 4, False, 4, "", False, False)
    assert Shared(0, 2, 2, 4, False, True, False) == Shared(0, 2, 2, 4, False, True, False, False, False)
