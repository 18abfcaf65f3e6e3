"""Samples that are padded or packed: their masks and positions, beside the replay, and what a user is told of them."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from planner import ContradictionError, PlannerError, estimate, fit, verify
from planner.cli.app import main

TOLERANCE = 0.001
"""Largest relative difference between model and replay, phase by phase."""

LLAMA = {
    "model_type": "llama",
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 1024,
    "max_position_embeddings": 512,
}
GPT2 = {"model_type": "gpt2", "n_embd": 256, "n_layer": 3, "n_head": 4, "n_positions": 512, "vocab_size": 1024}
WINDOWS = {
    **LLAMA,
    "model_type": "gemma3_text",
    "head_dim": 64,
    "num_key_value_heads": 1,
    "num_hidden_layers": 7,
    "sliding_window": 128,
}
MIXED = {"precision": "bf16-mixed"}
TOKENS = 512


def described(folder: Path, fields: dict[str, Any]) -> str:
    (folder / "config.json").write_text(json.dumps(fields))
    return str(folder)


@pytest.mark.parametrize(
    ("batching", "fields", "choices"),
    [
        ("padded", LLAMA, {**MIXED, "evaluation_batch_size": 8}),
        ("padded", LLAMA, {**MIXED, "finetuning": "qlora"}),
        ("padded", LLAMA, {**MIXED, "finetuning": "lora", "checkpointing": "full"}),
        ("padded", GPT2, {**MIXED, "attention": "eager"}),
        ("packed", LLAMA, {**MIXED, "attention": "eager"}),
        ("packed", LLAMA, {"precision": "bf16-true", "finetuning": "lora", "checkpointing": "full"}),
        ("packed", LLAMA, {**MIXED, "sharding": "full_shard", "gpus": 2, "gradient_accumulation_steps": 2}),
        ("packed", WINDOWS, {**MIXED, "evaluation_batch_size": 8}),
        ("packed", GPT2, MIXED),
    ],
    ids=lambda x: x if isinstance(x, str) else x.get("model_type") or " ".join(map(str, x.values())),
)
def test_masks_and_positions_take_what_the_replay_takes(
    batching: str, fields: dict[str, Any], choices: dict[str, Any], tmp_path: Path
) -> None:
    model = described(tmp_path, fields)
    result = verify(model, gpu="A100-80GB", sequence_length=TOKENS, micro_batch_size=4, batching=batching, **choices)
    differences = {name: phase.difference for name, phase in result.phases.items()}
    assert differences == pytest.approx(dict.fromkeys(differences, 0.0), abs=TOLERANCE)


def test_every_layer_and_sample_has_a_bias_besides_one_mask_of_the_sample(tmp_path: Path) -> None:
    model, size = described(tmp_path, {**LLAMA, "num_key_value_heads": 4}), 4
    end = {
        batching: estimate(
            model,
            gpu="A100-80GB",
            sequence_length=TOKENS,
            micro_batch_size=size,
            batching=batching,
            precision="bf16-true",
            checkpointing="none",
        ).memory.moments["start_of_backward"]
        for batching in ("full", "padded", "packed")
    }
    biases, inputs = 3 * 2 * TOKENS**2, 8 * TOKENS
    tables = 2 * TOKENS * 64 * 2
    assert end["padded"] - end["full"] == size * (biases + inputs)
    assert end["packed"] - end["padded"] == (size - 1) * tables


def test_fewer_padded_sequences_fit_where_layers_save_their_biases() -> None:
    def batch(batching: str) -> int:
        request: dict[str, Any] = {"gpu": "A100-80GB", "finetuning": "lora", "checkpointing": "none"}
        return fit("smollm2-135m", **request, sequence_length=4096, batching=batching).plans[0].micro_batch_size

    assert batch("padded") < batch("full")


def test_speed_counts_the_real_tokens_of_padded_batches() -> None:
    whole = estimate("gpt2", gpu="A100-40GB", sequence_length=1024, batching="padded")
    real = estimate("gpt2", gpu="A100-40GB", sequence_length=1024, batching="padded", mean_length=256)
    assert real.time.step_seconds == whole.time.step_seconds
    assert real.time.tokens_per_second == whole.time.tokens_per_second / 4
    assert any("25% of the tokens are real, 256 of 1024" in note for note in real.notes)
    assert any("counts padding too" in note for note in whole.notes)


def test_packed_batches_are_all_tokens_and_hold_more_samples_than_sequences() -> None:
    packed = estimate("gpt2", gpu="A100-40GB", sequence_length=1024, batching="packed", mean_length=300)
    unsaid = estimate("gpt2", gpu="A100-40GB", sequence_length=1024, batching="packed")
    assert packed.time == unsaid.time
    assert any("an effective batch of 100 sequences holds 341" in note for note in packed.notes)


@pytest.mark.parametrize(
    ("model", "options", "why"),
    [
        ("gpt2", {"mean_length": 100}, "every sequence is full"),
        ("gpt2", {"batching": "padded", "sequence_length": 512, "mean_length": 513}, "longer than sequences of 512"),
        ("bloom-560m", {"batching": "padded"}, "masks of bloom-560m are its own"),
        ("falcon-7b", {"batching": "packed"}, "masks of falcon-7b are its own"),
        ("opt-125m", {"batching": "packed"}, "does not keep packed samples apart"),
        ("tests.planner.profiles.own_models:two_kinds", {"batching": "padded"}, "only steps with full sequences"),
    ],
)
def test_what_cannot_be_padded_or_packed_is_refused(model: str, options: dict[str, Any], why: str) -> None:
    with pytest.raises(ContradictionError, match=why):
        estimate(model, gpu="A100-40GB", **options)


def test_an_unknown_batching_names_the_nearest() -> None:
    with pytest.raises(PlannerError, match="unknown batching 'paded'") as raised:
        estimate("gpt2", gpu="A100-40GB", batching="paded")
    assert "did you mean padded" in raised.value.hint


def test_a_plan_remembers_its_batching(tmp_path: Path) -> None:
    asked = ["estimate", "gpt2", "--gpu", "A100-40GB", "--batching", "packed", "--mean-length", "100", "--json"]
    printed = CliRunner().invoke(main, asked).stdout
    plan = tmp_path / "plan.json"
    plan.write_text(printed)
    from planner.records.plan_file import arguments_of

    arguments = arguments_of(str(plan))
    again = estimate(**arguments)
    assert (arguments["batching"], arguments["mean_length"]) == ("packed", 100)
    assert again.memory.model_dump() == json.loads(printed)["memory"]


def test_no_shorter_sequence_is_suggested_than_a_sample() -> None:
    request: dict[str, Any] = {"gpu": "T4", "finetuning": "lora", "sequence_length": 8192, "batching": "padded"}

    def suggested(mean_length: int) -> set[str]:
        shortfall = fit("llama-2-7b", mean_length=mean_length, **request).shortfall
        assert shortfall is not None
        return {name for way in shortfall.ways for name in way.options}

    assert "sequence-length" in suggested(100)
    assert "sequence-length" not in suggested(8000)
