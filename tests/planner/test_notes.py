"""Notes on what a model does that one would not expect."""

from planner import estimate, fit


def test_a_search_says_that_qlora_leaves_experts_and_that_mxfp4_cannot_be_trained() -> None:
    notes = " ".join(fit("gpt-oss-20b", gpu="RTX-4090").notes)
    assert "qlora quantizes linear layers alone: the experts of gpt-oss-20b, 91% of its parameters" in notes
    assert "MXFP4, which cannot be trained" in notes


def test_experts_are_no_matter_where_nothing_is_quantized() -> None:
    full = estimate("gpt-oss-20b", gpu="H100", finetuning="full").notes
    assert not [note for note in full if note.startswith("qlora")]
    assert not [note for note in fit("llama-2-7b", gpu="RTX-4090").notes if note.startswith("qlora")]


def test_sdpa_that_writes_scores_out_says_so() -> None:
    def says(model: str, attention: str) -> bool:
        notes = estimate(model, gpu="A100-40GB", attention=attention).notes
        return any(note.startswith("sdpa runs the math kernel") for note in notes)

    assert says("falcon-7b", "sdpa")
    assert not says("falcon-7b", "eager")
    assert not says("falcon-40b", "sdpa")
