"""A framework gives the defaults of what a request leaves open, and the answer shows which."""

from typing import Any

import pytest

from hardware import Cluster, load_catalog
from planner import ContradictionError, SearchSpace, estimate, fit
from planner.records.asked.described import described

A100: dict[str, Any] = {"gpu": "A100-80GB-SXM", "sequence_length": 1024}
TRL = {"adapter_dtype": "weights", "unquantized_dtype": "bf16", "checkpointing": "full", "loss": "chunked"}
AXOLOTL = {"quantization": "nf4-double", "unquantized_dtype": "bf16"}
LLAMA_FACTORY = {**AXOLOTL, "lora_rank": 8, "checkpointing": "full-reentrant"}
ZERO3 = {"gpus": 2, "sharding": "full_shard", "sharding_backend": "deepspeed"}


@pytest.mark.parametrize(
    ("framework", "given", "same"),
    [
        ("trl", {"finetuning": "qlora"}, TRL),
        ("trl", {"finetuning": "lora"}, {"checkpointing": "full", "loss": "chunked"}),
        ("trl", {}, {"checkpointing": "full", "loss": "chunked", "precision": "bf16-mixed"}),
        ("trl", {"finetuning": "qlora", "quantization": "gptq-4bit"}, {**TRL, "unquantized_dtype": "fp32"}),
        ("axolotl", {"finetuning": "qlora"}, AXOLOTL),
        ("axolotl", {}, {"precision": "bf16-true"}),
        ("llama-factory", {"finetuning": "qlora"}, LLAMA_FACTORY),
        ("llama-factory", {}, {"finetuning": "lora", "lora_rank": 8, "checkpointing": "full-reentrant"}),
        ("llama-factory", {"gpus": 2}, {"finetuning": "lora", "lora_rank": 8, "checkpointing": "full"}),
        ("axolotl", {"gpus": 2}, {"precision": "bf16-true"}),
        ("axolotl", ZERO3, {"precision": "bf16-mixed"}),
        (
            "llama-factory",
            {"finetuning": "full", "optimizer": "galore"},
            {"optimizer_rank": 16, "checkpointing": "full-reentrant"},
        ),
    ],
    ids=str,
)
def test_an_estimate_is_that_of_the_same_choices_one_by_one(
    framework: str, given: dict[str, Any], same: dict[str, Any]
) -> None:
    found = estimate("llama-3.2-1b", **A100, framework=framework, **given)
    plain = estimate("llama-3.2-1b", **A100, **{**same, **given})
    assert found.memory == plain.memory
    assert found.strategy == plain.strategy.model_copy(update={"framework": framework})


def test_what_is_said_wins() -> None:
    said = {"adapter_dtype": "fp32", "unquantized_dtype": "fp32", "checkpointing": "none", "loss": "full"}
    found = estimate("llama-3.2-1b", **A100, finetuning="qlora", framework="trl", **said)
    assert found.memory == estimate("llama-3.2-1b", **A100, finetuning="qlora").memory
    assert found.notes[0].startswith("trl (TRL 1.16) sets here: nothing that is left open; ")


def test_on_a_gpu_without_bf16_weights_are_loaded_in_fp16() -> None:
    found = estimate("gpt2", gpu="T4", finetuning="qlora", framework="trl").strategy
    assert (found.precision, found.unquantized_dtype, found.adapter_dtype) == ("fp16-mixed", "fp16", "fp32")


def test_the_answer_shows_what_a_framework_set() -> None:
    notes = estimate("llama-3.2-1b", **A100, finetuning="qlora", framework="trl", checkpointing="none").notes
    assert notes[0].startswith(
        "trl (TRL 1.16) sets here: adapter-dtype weights, unquantized-dtype bf16, loss chunked; "
    )
    notes = fit("llama-3.2-1b", **A100, framework="llama-factory").notes
    assert notes[0].startswith("llama-factory (LLaMA-Factory 0.9.5) sets here: lora-rank 8, unquantized-dtype bf16; ")
    assert not any("sets here" in note for note in fit("llama-3.2-1b", **A100).notes)


def test_a_search_tries_what_the_framework_offers() -> None:
    plans = fit("llama-3.2-1b", **A100, framework="trl", finetuning="qlora", top=100).plans
    assert {(p.strategy.unquantized_dtype, p.strategy.adapter_dtype, p.strategy.loss) for p in plans} == {
        ("bf16", "weights", "chunked")
    }
    assert {p.strategy.checkpointing for p in plans} == {"none", "full"}
    assert {p.strategy.quantization for p in plans} == {"nf4", "nf4-double"}
    plans = fit("llama-3.2-1b", **A100, framework="axolotl", top=100).plans
    assert {p.strategy.quantization for p in plans if p.strategy.finetuning == "qlora"} == {"nf4-double"}
    assert {p.strategy.precision for p in plans if p.strategy.finetuning == "full"} == {"bf16-true", "tf32"}
    assert {p.strategy.checkpointing for p in plans} == {"none", "full-reentrant"}
    said = fit("llama-3.2-1b", **A100, framework="trl", finetuning="qlora", unquantized_dtype="fp32", top=100).plans
    assert {p.strategy.unquantized_dtype for p in said} == {"fp32"}


def test_several_frameworks_are_not_searched_at_once() -> None:
    with pytest.raises(ContradictionError, match="framework=trl,axolotl, but each has defaults of its own"):
        fit("llama-3.2-1b", **A100, framework=["trl", "axolotl"])
    with pytest.raises(ContradictionError, match="defaults of its own"):
        described(SearchSpace(framework="all"), Cluster(load_catalog().get("T4")), {})


def test_a_space_shows_them() -> None:
    cluster = Cluster(load_catalog().get("A100-80GB-SXM"))
    assert described(SearchSpace(framework="trl"), cluster, {}).values("loss") == {"": ("chunked",)}
    found = described(None, cluster, {"framework": "trl"}).values("adapter_dtype")
    assert found == {"full": ("fp32",), "lora": ("fp32",), "qlora": ("weights",)}


def test_a_model_that_the_framework_does_not_train_is_refused_with_the_way_out() -> None:
    with pytest.raises(ContradictionError, match="chunked compares each token") as error:
        estimate("bert-base-uncased", gpu="T4", framework="trl")
    assert error.value.hint == "--loss full"


@pytest.mark.parametrize(
    ("gpu", "asked", "ways"),
    [
        ("V100", {"precision": "bf16-mixed"}, ["--precision fp16-mixed"]),
        (
            "A100",
            {"precision": "bf16-true", "sharding_backend": "deepspeed", "offload": "cpu"},
            ["--precision bf16-mixed", "--sharding-backend fsdp2", "--offload none"],
        ),
        ("T4", {"attention": "flash-attention-2", "precision": "fp16-mixed"}, ["--attention sdpa"]),
    ],
)
def test_what_cannot_run_is_answered_with_changes_after_which_it_runs(
    gpu: str, asked: dict[str, Any], ways: list[str]
) -> None:
    with pytest.raises(ContradictionError, match="this configuration cannot run") as error:
        estimate("llama-3.2-1b", gpu=gpu, gpus=2, sharding="full_shard", **asked)
    assert error.value.hint == " or ".join(ways)
    for option, value in (way.removeprefix("--").split() for way in ways):
        changed: dict[str, Any] = {**asked, option.replace("-", "_"): value}
        assert estimate("llama-3.2-1b", gpu=gpu, gpus=2, sharding="full_shard", **changed).memory
