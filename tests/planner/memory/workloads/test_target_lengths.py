"""Targets of encoder-decoders that are shorter or longer than their sources."""

import json
from pathlib import Path
from typing import Any

import pytest

from planner import ContradictionError, compare, estimate, verify
from planner.models.foreign import Foreign
from planner.problem.problem import Problem

TOLERANCE = 0.0005
"""Largest relative difference between model and replay, phase by phase."""

WIDTH, LAYERS = 256, 2
T5: dict[str, Any] = {
    "model_type": "t5",
    "architectures": ["T5ForConditionalGeneration"],
    "d_model": WIDTH,
    "d_kv": 64,
    "d_ff": 512,
    "num_layers": LAYERS,
    "num_heads": 4,
    "vocab_size": 32000,
    "feed_forward_proj": "gated-gelu",
}
T4 = {"gpu": "T4", "precision": "fp32"}
SHORTER, LONGER = (256, 72), (72, 256)
FULL, LORA, AGAIN = {"finetuning": "full"}, {"finetuning": "lora"}, {"checkpointing": "full"}


@pytest.fixture
def t5(tmp_path: Path) -> str:
    (tmp_path / "config.json").write_text(json.dumps(T5))
    return str(tmp_path)


@pytest.mark.parametrize("lengths", [SHORTER, LONGER], ids=str)
@pytest.mark.parametrize(
    "choices",
    [
        {**FULL, "precision": "bf16-mixed"},
        {**FULL, "precision": "fp32", "attention": "eager"},
        {**LORA, "precision": "bf16-true"},
        {**LORA, **AGAIN, "precision": "fp16-mixed", "attention": "eager"},
        {**FULL, "precision": "bf16-true", "evaluation_batch_size": 8, "outputs": "kept"},
    ],
    ids=lambda choices: "-".join(map(str, choices.values())),
)
def test_the_model_equals_the_replay(lengths: tuple[int, int], choices: dict[str, Any], t5: str) -> None:
    source, target = lengths
    found = verify(
        t5, gpu="A100-80GB", sequence_length=source, target_length=target, micro_batch_size=4, **choices
    ).phases
    differences = {name: phase.difference for name, phase in found.items()}
    assert differences == pytest.approx(dict.fromkeys(differences, 0.0), abs=TOLERANCE)


@pytest.mark.parametrize("lengths", [SHORTER, LONGER], ids=str)
def test_products_are_those_of_the_replayed_step(lengths: tuple[int, int], t5: str) -> None:
    """The replay counts whole causal products, of which the kernel does half: two in forward, and five in backward."""
    source, target = lengths
    fields = {"sequence_length": source, "target_length": target}
    derived, counted = (
        work.fp32_flops_per_sample + work.attention_fp32
        for model in (t5, Foreign("replayed", T5))
        for problem in [Problem(model, "T4", None, {"precision": ("fp32",), "attention": ("sdpa",)}, fields)]
        for work in [problem.memory.work(problem.strategy())]
    )
    assert counted - derived == LAYERS * 7 * WIDTH * target**2


def test_a_target_as_long_as_the_source_is_what_is_planned_without_one() -> None:
    usual, given = (estimate("t5-small", sequence_length=384, **T4, **more) for more in ({}, {"target_length": "384"}))
    assert (given.request.target_length, usual.request.target_length) == (384, None)
    assert (given.memory, given.time) == (usual.memory, usual.time)
    assert any("--target-length" in note for note in usual.notes)
    assert not any("--target-length" in note for note in given.notes)


def test_memory_and_time_rise_with_the_target() -> None:
    asked = {"sequence_length": 512, "micro_batch_size": 8, **T4}
    short, equal, long = (estimate("flan-t5-base", target_length=n, **asked) for n in (32, 512, 1024))
    peaks = [found.memory.allocated_bytes for found in (short, equal, long)]
    seconds = [found.time.step_seconds for found in (short, equal, long)]
    assert (peaks, seconds) == (sorted(peaks), sorted(seconds))
    assert peaks[0] < 0.75 * peaks[1]


@pytest.mark.parametrize("model", ["gpt2", "bert-base-cased", "vit-base-patch16-224"])
def test_other_models_refuse_a_target(model: str) -> None:
    with pytest.raises(ContradictionError, match=f"target_length=64, but {model} is no encoder-decoder") as caught:
        estimate(model, target_length=64, gpu="T4")
    assert caught.value.hint == "leave it out: --sequence-length counts prompt and answer"


@pytest.mark.slow
def test_a_model_that_replays_plan_has_targets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLANNER_CACHE", str(tmp_path))
    sizes = {"d_model": 64, "encoder_ffn_dim": 128, "decoder_ffn_dim": 128, "vocab_size": 2000, "encoder_layers": 3}
    heads = {"encoder_attention_heads": 4, "decoder_attention_heads": 4, "decoder_layers": 3}
    named = {"model_type": "bart", "architectures": ["BartForConditionalGeneration"], "max_position_embeddings": 300}
    config = tmp_path / "config.json"
    config.write_text(json.dumps({**sizes, **heads, **named}))
    for source, target in (SHORTER, LONGER):
        asked = {"sequence_length": source, "target_length": target, "micro_batch_size": 20, "precision": "bf16-mixed"}
        phases = verify(str(config), gpu="A100-40GB", **asked).phases
        assert max(abs(phases[name].difference) for name in ("forward", "backward")) <= 0.001
    with pytest.raises(ContradictionError, match="target_length=301 is longer than the 300 learned positions"):
        estimate(str(config), gpu="A100-40GB", sequence_length=64, target_length=301)
    config.write_text(json.dumps({**sizes, **heads, **named, "architectures": ["BartForSequenceClassification"]}))
    with pytest.raises(ContradictionError, match="is no encoder-decoder"):
        estimate(str(config), gpu="A100-40GB", sequence_length=64, target_length=64)


def test_plans_are_told_apart_by_their_targets() -> None:
    plans = [estimate("t5-small", sequence_length=256, target_length=n, **T4) for n in (32, 64)]
    assert [column.title for column in compare(*plans).columns] == ["32 target tokens", "64 target tokens"]
