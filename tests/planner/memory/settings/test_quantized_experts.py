"""Mixtures whose experts are quantized: what is stored of them, and what others measured."""

from collections import Counter
from typing import Any

import pytest

from planner import ContradictionError, estimate, find_model
from planner.memory.autograd.ops import Ops
from planner.memory.autograd.tape import Tape, Tensor
from planner.memory.layers.mixtures.separate_experts import Expert, separate_experts
from planner.memory.linear.nf4 import stored_bytes

HALF, FP32 = 2, 4
QLORA: dict[str, Any] = {"gpu": "A100-80GB-SXM", "finetuning": "qlora", "quantization": "nf4-double"}
SAME = {**QLORA, "expert_quantization": "same"}
ATTENTION = "q_proj,k_proj,v_proj,o_proj"


def test_every_layer_of_every_expert_is_quantized() -> None:
    found = estimate("mixtral-8x7b", **SAME, unquantized_dtype="bf16", lora_targets="q_proj", precision="bf16-true")
    hidden, width, of_keys, words, experts, rank = 4096, 14336, 1024, 32000, 8, 16
    attention = [(hidden, hidden)] * 2 + [(of_keys, hidden)] * 2
    of_experts = [(width, hidden), (width, hidden), (hidden, width)] * experts
    quantized = sum(stored_bytes(*shape, double=True) for shape in attention + of_experts)
    others = HALF * (experts * hidden + 2 * hidden)
    adapters = FP32 * 2 * rank * hidden
    ends = HALF * (2 * words * hidden + hidden)
    assert found.memory.components.parameters == 32 * (quantized + others + adapters) + ends


def test_layers_of_experts_take_the_place_of_the_stacks_that_they_were_fused_to() -> None:
    (block,) = set(find_model("mixtral-8x7b").inventory.blocks.values())
    apart = block.with_separate_experts()
    assert apart.num_parameters == block.num_parameters
    assert set(block.stacks) == {"mlp.experts.gate_up_proj", "mlp.experts.down_proj"}
    names = [t.name for t in apart.tensors if "experts" in t.name]
    assert names[:3] == ["mlp.experts.0.w1.weight", "mlp.experts.0.w3.weight", "mlp.experts.1.w1.weight"]
    assert names[-1] == "mlp.experts.7.w2.weight"
    assert {t.shape for t in apart.tensors if "experts" in t.name} == {(14336, 4096), (4096, 14336)}
    assert apart.stacks == {}


def test_each_expert_gets_adapters_of_its_own() -> None:
    plain, adapted = (
        estimate("mixtral-8x7b", **SAME, lora_targets=targets).memory.components.parameters
        for targets in ("q_proj", "q_proj,w1,w3,w2")
    )
    per_expert = 3 * 16 * (4096 + 14336)
    assert adapted - plain == 32 * 8 * per_expert * FP32


@pytest.mark.parametrize(
    ("micro_batch_size", "allocated"), [(4, 36_731_843_072), (8, 48_770_183_680)], ids=["batch 4", "batch 8"]
)
def test_mixtral_as_it_was_measured(micro_batch_size: int, allocated: int) -> None:
    """Peaks of fms-acceleration's scripts/benchmarks/refs/a100_80gb.csv:86 and :88, transformers 4.48.

    That version kept two bytes more of each logit, and of each hidden state, when backward starts.
    """
    settings = {"checkpointing": "full", "attention": "flash-attention-2", "optimizer": "adamw-foreach"}
    found = estimate(
        "mixtral-8x7b",
        **{**SAME, **settings, "lora_targets": ATTENTION, "lora_dropout": 0.1, "unquantized_dtype": "bf16"},
        sequence_length=4096,
        micro_batch_size=micro_batch_size,
    )
    of_that_version = micro_batch_size * 4096 * HALF * (32000 + 4096)
    assert found.memory.allocated_bytes + of_that_version == pytest.approx(allocated, rel=0.001)


@pytest.mark.parametrize("experts", [4, 8])
def test_experts_as_a_list_save_by_pair_of_token_and_expert_whatever_their_number(experts: int) -> None:
    tokens, hidden, width, top_k = 64, 16, 32, 2
    f = Ops(Tape(), autocast=None, sequence_length=tokens)

    def linear(name: str, x: Tensor, out_features: int) -> Tensor:
        weight = Tensor(None, x.width * out_features, 0, x.width, HALF, None)
        return Ops.linear(f, x, weight, None, out_features, name)

    x, scores = f.input(hidden, HALF, True, "x"), f.input(top_k, HALF, True, "scores")
    expert = Expert(linear, lambda gate: f.unary(gate, "silu", saves="input"), "w1", "w3", "w2", width)
    out = separate_experts(f, "experts", x, scores, experts, expert, HALF)
    pairs = tokens * top_k
    saved: Counter[str] = Counter()
    for s in f.tape.saved:
        saved[s.name.rpartition(".")[2]] += s.per_sample
    assert saved["w1 output"] == saved["w3 output"] == saved["silu"] == pairs * width * HALF
    assert saved["w2 output"] == saved["weighted expert output"] == pairs * hidden * HALF
    assert saved["tokens of an expert"] == pairs * 2 * 8
    assert out.per_sample == x.per_sample
    assert out.variable is not None


@pytest.mark.parametrize("model", ["llama-3.2-1b", "granite-3.1-1b-a400m", "gpt-oss-20b"])
def test_a_model_without_such_experts_is_refused(model: str) -> None:
    with pytest.raises(ContradictionError, match="no experts that were linear layers of their own"):
        estimate(model, **SAME)


def test_experts_that_peft_does_not_know_are_adapted_where_they_are_layers() -> None:
    (block,) = set(find_model("qwen1.5-moe-a2.7b").inventory.blocks.values())
    assert not any(layer.is_stack for layer in block.linears)
    apart = {layer.name for layer in block.with_separate_experts().linears}
    assert {"mlp.experts.59.gate_proj", "mlp.experts.59.down_proj", "mlp.shared_expert.up_proj"} <= apart


def test_shared_experts_are_adapted_where_their_names_mean_layers() -> None:
    block = find_model("deepseek-v2-lite").inventory.blocks[True]
    assert "mlp.shared_experts.gate_proj" not in {layer.name for layer in block.linears}
    assert "mlp.shared_experts.gate_proj" in {layer.name for layer in block.with_separate_experts().linears}


def test_notes_say_what_experts_are_not_quantized_and_the_way_out() -> None:
    (note,) = (n for n in estimate("mixtral-8x7b", **QLORA).notes if "linear layers alone" in n)
    assert "97% of its parameters, are none. They stay in half precision (84.0 GiB), or become fp32" in note
    assert note.endswith("--expert-quantization same plans a trainer that takes them apart first.")
    notes = estimate("mixtral-8x7b", **SAME).notes
    assert not any("linear layers alone" in n for n in notes)
    assert any("one after the other" in n for n in notes)
    (note,) = (n for n in estimate("granite-3.1-1b-a400m", **QLORA).notes if "linear layers alone" in n)
    assert "--expert-quantization" not in note
