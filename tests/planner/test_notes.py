"""Notes on what a model does that one would not expect."""

from __future__ import annotations

from typing import Any

import pytest

from planner import estimate, fit


def test_a_search_says_that_qlora_leaves_experts_and_that_mxfp4_cannot_be_trained() -> None:
    notes = " ".join(fit("gpt-oss-20b", gpu="RTX-4090").notes)
    assert "qlora quantizes linear layers alone: the experts of gpt-oss-20b, 91% of its parameters" in notes
    assert "MXFP4, which cannot be trained" in notes


def test_experts_are_no_matter_where_nothing_is_quantized() -> None:
    full = estimate("gpt-oss-20b", gpu="H100", finetuning="full").notes
    assert not [note for note in full if note.startswith("qlora")]
    assert not [note for note in fit("llama-2-7b", gpu="RTX-4090").notes if note.startswith("qlora")]


def test_fsdp1_over_a_quantized_base_says_what_an_earlier_torch_reserves() -> None:
    sharded = {"gpu": "A100-40GB", "gpus": 2, "sharding": "fsdp1", "precision": "bf16-mixed"}

    def says(**choices: str) -> list[bool]:
        found = estimate("llama-2-7b", **sharded, **choices).notes
        starts = "torch before 2.8 reserves", "wrapping torch-2.7: what FSDP1 broadcasts"
        return [any(note.startswith(start) for note in found) for start in starts]

    qlora = {"finetuning": "qlora", "unquantized_dtype": "bf16"}
    assert says(allocator="native", **qlora) == [True, False]
    assert says(allocator="expandable", **qlora) == [False, False]
    assert says(allocator="native", finetuning="lora") == [False, False]
    assert says(allocator="native", wrapping="torch-2.7", **qlora) == [False, True]


def test_sdpa_that_writes_scores_out_says_so() -> None:
    def says(model: str, attention: str) -> bool:
        notes = estimate(model, gpu="A100-40GB", attention=attention).notes
        return any(note.startswith("sdpa runs the math kernel") for note in notes)

    assert says("falcon-7b", "sdpa")
    assert not says("falcon-7b", "eager")
    assert not says("falcon-40b", "sdpa")


def test_a_name_of_several_cards_says_which_one_it_is() -> None:
    def says(gpu: str) -> list[str]:
        return [note for note in estimate("gpt2", gpu=gpu).notes if "--gpu" in note]

    assert says("H100") == [
        "--gpu H100 is taken as H100-80GB-SXM; there is also H100-80GB-PCIe, H100-94GB-NVL, H100-96GB-SXM."
    ]
    assert says("rtx-3060") == ["--gpu rtx-3060 is taken as RTX-3060-12GB."]
    assert says("H100-80GB") == says("RTX-4090") == []


def test_padded_batches_of_native_segments_are_no_promise() -> None:
    options = {"gpu": "A100-40GB", "batching": "padded", "mean_length": 512, "precision": "bf16-mixed"}
    noted = {
        allocator: "and no promise" in " ".join(estimate("pythia-70m", allocator=allocator, **options).notes)
        for allocator in ("native", "expandable")
    }
    assert noted == {"native": True, "expandable": False}


ZERO_INIT = "loading: TrainingArguments have to exist before from_pretrained"


@pytest.mark.parametrize(
    ("model", "asked", "whole"),
    [
        ("llama-2-70b", {"sharding": "zero3"}, "128.5 GiB"),
        ("flan-t5-xxl", {"gpu": "V100-16GB", "precision": "fp32", "sharding": "zero3", "offload": "cpu"}, "41.5 GiB"),
        ("llama-2-70b", {"sharding": "zero2"}, None),
        ("llama-2-70b", {"sharding": "full_shard"}, None),
        ("llama-2-70b", {"sharding": "zero3", "finetuning": "qlora"}, None),
        ("llama-2-7b", {"sharding": "zero3"}, None),
    ],
)
def test_zero_3_of_a_model_that_no_gpu_holds_needs_zero_init(
    model: str, asked: dict[str, Any], whole: str | None
) -> None:
    answer = estimate(model, **{"gpu": "A100-80GB", "gpus": 8, **asked})
    notes = [note for note in answer.notes if note.startswith(ZERO_INIT)]
    assert len(notes) == (whole is not None)
    assert whole is None or f"goes whole onto each GPU first, {whole}" in notes[0]


def test_targets_of_an_encoder_and_decoder_are_as_long_as_its_sources() -> None:
    notes = estimate("flan-t5-small", gpu="L4", sequence_length=384).notes
    assert any("targets are planned as long as sources, 384 tokens each" in note for note in notes)
