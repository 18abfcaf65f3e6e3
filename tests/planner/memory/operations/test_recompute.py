"""What policies of checkpointing keep, and what that costs."""

import json
import subprocess
import sys

import pytest

import planner
from planner import EstimateResult
from strategies import Checkpointing

PLUG_IN = """
import json, planner
from strategies import Checkpointing, CheckpointingFacts, Operation

facts = CheckpointingFacts(keeps={Operation.SDPA: 1})
Checkpointing.add("selective-attention", "only the results of fused attention are kept", facts)
found = planner.fit(
    "llama-2-7b", gpu="A100-80GB", finetuning="lora", top=3,
    checkpointing=["none", "full", "selective-matmuls", "selective-attention"],
)
print(json.dumps({p.strategy.checkpointing: p.micro_batch_size for p in found.plans if p.memory.fits}))
print(json.dumps({
    name: planner.estimate("llama-2-7b", gpu="A100-80GB", checkpointing=name).memory.moments["end_of_forward"]
    for name in ("none", "selective-attention", "full")
}))
"""


def estimated(**choices: object) -> EstimateResult:
    options = {"gpu": "A100-80GB", "gpus": 1, "nodes": 1, "micro_batch_size": 2, **choices}
    return planner.estimate("llama-2-7b", **options)  # type: ignore[arg-type]  # all of them are options


def kept_bytes(checkpointing: str, **choices: object) -> int:
    return estimated(checkpointing=checkpointing, **choices).memory.moments["end_of_forward"]


def test_the_more_a_policy_keeps_the_more_memory_it_takes() -> None:
    order = ["offload", "full", "selective-every-second-matmul", "selective-matmuls", "none"]
    assert sorted(order, key=kept_bytes) == order
    assert {*order, "full-reentrant"} == {choice.value for choice in Checkpointing}


def test_reentrant_checkpoints_hold_the_output_of_a_block_during_its_backward() -> None:
    """Trainer's default before transformers 5; measured peaks show it to the byte (docs/accuracy.md)."""
    lora = {"finetuning": "lora", "lora_targets": "q_proj,v_proj", "loss": "liger-fused-linear"}
    length, hidden_size = 4096, 4096
    plain, reentrant = (
        estimated(checkpointing=choice, sequence_length=length, **lora).memory.moments
        for choice in ("full", "full-reentrant")
    )
    assert reentrant["block_backward"] - plain["block_backward"] == 2 * length * hidden_size * 2
    assert reentrant["end_of_forward"] == plain["end_of_forward"]


def test_reentrant_checkpoints_refer_to_the_blocks_arguments_until_the_graph_is_gone() -> None:
    """Falcon's blocks take a mask with ALiBi for each head, a whole tensor of scores."""
    batch, heads, length, fp32, small = 2, 32, 512, 4, 2**19
    plain, reentrant = (
        planner.estimate(
            "falcon-rw-1b", gpu="H100-80GB-SXM", sequence_length=length, micro_batch_size=batch, checkpointing=choice
        ).memory.moments
        for choice in ("full", "full-reentrant")
    )
    difference = reentrant["embedding_backward"] - plain["embedding_backward"]
    assert difference == pytest.approx(batch * heads * length * length * fp32, abs=small)
    assert reentrant["optimizer_step"] == plain["optimizer_step"]


def test_frozen_units_of_fsdp1_keep_gradients_of_the_leaves_of_reentrant_checkpoints() -> None:
    """Runs of others with transformers 4 show it to the byte (docs/accuracy.md)."""
    lora = {"finetuning": "lora", "lora_targets": "q_proj,v_proj", "loss": "liger-fused-linear", "gpus": 2}
    length, hidden_size, blocks, itemsize = 4096, 4096, 32, 2

    def per_sample(checkpointing: str, backend: str) -> int:
        choices = {"checkpointing": checkpointing, "sharding": "full_shard", "sharding_backend": backend, **lora}
        one, two = (
            estimated(sequence_length=length, micro_batch_size=size, **choices).memory.moments["block_backward"]
            for size in (1, 2)
        )
        return two - one

    more = {
        backend: per_sample("full-reentrant", backend) - per_sample("full", backend) for backend in ("fsdp1", "fsdp2")
    }
    assert more["fsdp1"] - more["fsdp2"] == (blocks - 2) * length * hidden_size * itemsize


def test_the_more_a_policy_keeps_the_less_is_computed_again() -> None:
    order = ["none", "selective-matmuls", "selective-every-second-matmul", "full", "offload"]
    assert sorted(order, key=lambda name: estimated(checkpointing=name).time.step_seconds) == order


def test_checkpointing_fewer_blocks_is_faster_and_larger() -> None:
    every, third = estimated(checkpointing="full"), estimated(checkpointing="full", checkpoint_every=3)
    assert third.time.step_seconds < every.time.step_seconds
    assert third.memory.moments["end_of_forward"] > every.memory.moments["end_of_forward"]


def test_a_plug_in_adds_a_policy_by_its_facts_alone() -> None:
    """In a process of its own: a choice that is added stays."""
    done = subprocess.run([sys.executable, "-c", PLUG_IN], capture_output=True, text=True, check=True)
    found, kept = map(json.loads, done.stdout.splitlines())
    assert "selective-attention" in found
    assert kept["full"] < kept["selective-attention"] < kept["none"]


@pytest.mark.parametrize(
    ("less", "more"),
    [
        ({"offload": "cpu", "sharding": "full_shard"}, {"sharding": "full_shard"}),
        ({"sharding": "full_shard"}, {"sharding": "full_shard", "reshard_size": 4}),
        ({"sharding": "full_shard", "reshard_size": 4}, {"sharding": "shard_grad_op"}),
        ({"sharding": "full_shard"}, {"sharding": "hybrid_shard"}),
    ],
)
def test_what_takes_less_memory_takes_no_less_time(less: dict[str, object], more: dict[str, object]) -> None:
    small, large = (estimated(gpus=8, nodes=4, precision="bf16-true", **choices) for choices in (less, more))
    assert small.memory.allocated_bytes < large.memory.allocated_bytes
    assert small.time.step_seconds >= large.time.step_seconds


def test_dividing_states_alone_divides_states_alone() -> None:
    whole, divided = (
        estimated(gpus=8, sharding=name, precision="bf16-true").memory.components for name in ("no_shard", "zero1")
    )
    assert divided.parameters == whole.parameters
    assert 1 / 8 <= divided.optimizer_states / whole.optimizer_states < 1 / 7
