"""What cannot be done with a model because of what it is made of is refused with the reason."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest

from planner.memory.accounts import ACCOUNTS
from planner.memory.attention.attention import KERNELS
from planner.memory.rules import violation
from planner.models import Inventory, find_model
from strategies import (
    PLAIN,
    AdapterDtype,
    Attention,
    Batching,
    BitFit,
    Checkpointing,
    Checkpoints,
    Freeze,
    Fsdp2,
    Full,
    Kernels,
    Lora,
    LoraVariant,
    Loss,
    Optimizer,
    Precision,
    Quantization,
    Replicated,
    Sharding,
    TrainedModules,
)

NONE, EMBEDDINGS, HEAD, BOTH = TrainedModules


@cache
def inventory(model: str) -> Inventory:
    return find_model(model).inventory


def refused(model: str, batching: Batching = Batching.FULL, **choices: Any) -> str:
    """The reason, or nothing."""
    strategy = PLAIN._replace(**{"precision": Precision.BF16_TRUE, "optimizer": Optimizer.ADAMW, **choices})
    return violation(inventory(model), strategy, batching) or ""


@pytest.mark.parametrize("model", ["llama-3.2-1b", "gpt2", "bert-base-cased", "t5-small", "vit-base-patch16-224"])
def test_a_model_can_be_trained_whole_and_by_adapters(model: str) -> None:
    assert refused(model) == ""
    assert refused(model, finetuning=Lora()) == ""
    assert refused(model, sharding=Fsdp2()) == ""


# --- what trains ---


def test_only_a_model_with_biases_can_train_them() -> None:
    assert refused("gpt2", finetuning=BitFit()) == ""
    assert refused("llama-3.2-1b", finetuning=BitFit()) == "bitfit trains biases, and the model has none"


def test_no_more_blocks_train_than_there_are() -> None:
    assert refused("gpt2", finetuning=Freeze(12)) == ""
    assert refused("gpt2", finetuning=Freeze(13)) == "the model has 12 blocks"


ANYWAY = "PEFT trains a classifier's head beside adapters anyway: leave head out of --trained-modules"
NO_TABLE = "the model has no token embeddings"


@pytest.mark.parametrize(
    ("model", "method", "reasons"),
    [
        ("gpt2", Lora, ["", "", "", ""]),
        ("gpt2", Freeze, ["", "", "", ""]),
        ("bert-base-cased", Lora, ["", "", ANYWAY, ANYWAY]),
        ("bert-base-cased", Freeze, ["", "", "", ""]),
        ("vit-base-patch16-224", Lora, ["", NO_TABLE, "", NO_TABLE]),
        ("vit-base-patch16-224", Freeze, ["", NO_TABLE, "", NO_TABLE]),
    ],
)
def test_modules_are_trained_where_the_model_has_them(model: str, reasons: list[str], method: type) -> None:
    found = [refused(model, finetuning=method(trained_modules=modules)) for modules in TrainedModules]
    assert found == reasons


def test_a_classifiers_head_trains_in_a_dtype_that_its_unit_and_the_scaler_take() -> None:
    one_dtype = "takes trained parameters of one dtype: adapters are fp32, trained modules are not"
    # BERT's pooler has an adapter beside the head, in FSDP2's root; RoBERTa has none
    assert refused("bert-base-cased", finetuning=Lora(), sharding=Fsdp2()) == f"FSDP2 {one_dtype}"
    assert refused("bert-base-cased", finetuning=Lora(targets=("query",)), sharding=Fsdp2()) == ""
    assert refused("roberta-base", finetuning=Lora(), sharding=Fsdp2()) == ""
    assert refused("roberta-base", finetuning=Lora(), sharding=ZERO1) == f"ZeroRedundancyOptimizer {one_dtype}"
    scaled = {"precision": Precision.FP16_MIXED}
    assert "a classifier's head in fp16" in refused("roberta-base", finetuning=Lora(), **scaled)
    assert refused("roberta-base", finetuning=Lora(quantization=Quantization.NF4), **scaled) == ""
    assert refused("roberta-base", finetuning=Lora(), sharding=Fsdp2(), **scaled) == ""


SHARED = "an encoder and a decoder share the embeddings: only all of them or none is modelled"


def test_embeddings_that_an_encoder_and_a_decoder_share_train_all_or_not() -> None:
    assert [refused("t5-small", finetuning=method) for method in (Full(), Lora(), Freeze())] == ["", "", SHARED]
    assert {refused("t5-small", finetuning=Lora(trained_modules=m)) for m in (EMBEDDINGS, HEAD, BOTH)} == {SHARED}


ROUTERS = "takes trained parameters of one dtype: transformers keeps this model's routers in fp32"
ZERO1 = Replicated(Sharding.ZERO1)


@pytest.mark.parametrize(
    ("choices", "reason"),
    [
        ({}, ""),
        ({"sharding": Fsdp2()}, f"FSDP2 {ROUTERS}"),
        ({"sharding": ZERO1}, f"ZeroRedundancyOptimizer {ROUTERS}"),
        ({"sharding": Fsdp2(), "finetuning": Freeze()}, f"FSDP2 {ROUTERS}"),
        ({"sharding": Fsdp2(), "finetuning": Lora(targets=("q_b_proj",))}, ""),
        ({"sharding": Fsdp2(), "precision": Precision.BF16_MIXED}, ""),
        ({"sharding": Fsdp2(), "precision": Precision.FP32}, ""),
    ],
    ids=str,
)
def test_parameters_of_two_dtypes_are_not_sharded_together(choices: dict[str, Any], reason: str) -> None:
    assert refused("deepseek-v2-lite", **choices) == reason
    assert refused("llama-3.2-1b", **{**choices, "finetuning": Full()}) == ""


def test_zero1_takes_adapters_and_trained_modules_of_one_dtype() -> None:
    method = Lora(trained_modules=EMBEDDINGS)
    reason = "ZeroRedundancyOptimizer takes trained parameters of one dtype: adapters are fp32, trained modules are not"
    assert refused("llama-2-7b", finetuning=method, sharding=ZERO1) == reason
    assert refused("llama-2-7b", finetuning=method, sharding=ZERO1, precision=Precision.FP32) == ""
    assert refused("llama-2-7b", finetuning=method._replace(adapter_dtype=AdapterDtype.WEIGHTS), sharding=ZERO1) == ""
    assert refused("llama-2-7b", finetuning=Lora(), sharding=ZERO1) == ""
    assert refused("llama-2-7b", finetuning=method, sharding=Fsdp2()) == ""
    assert refused("llama-2-7b", finetuning=method) == ""


def test_a_tied_weight_is_not_sharded_apart_from_its_copies() -> None:
    method = Lora(trained_modules=HEAD)
    reason = "FSDP2 does not shard a tied weight apart from PEFT's trained copies of it"
    assert refused("llama-3.2-1b", finetuning=method, sharding=Fsdp2()) == reason
    assert refused("llama-3.2-1b", finetuning=method) == ""
    assert refused("llama-3.2-1b", finetuning=Lora(), sharding=Fsdp2()) == ""
    assert refused("llama-2-7b", finetuning=method, sharding=Fsdp2()) == ""  # not tied


# --- experts and layers ---


@pytest.mark.parametrize(
    ("targets", "dora", "dropout"),
    [
        (("q_proj", "v_proj"), "", ""),
        (("w1", "q_proj"), "", ""),  # w1 and w3 are one parameter, adapted where both are named
        (
            ("w1", "w3"),
            "PEFT has no DoRA for the parameters of experts and routers: name targets without them",
            "PEFT has no LoRA dropout for the parameters of experts and routers: name targets without them",
        ),
        (
            ("w2",),
            "PEFT has no DoRA for the parameters of experts and routers: name targets without them",
            "PEFT has no LoRA dropout for the parameters of experts and routers: name targets without them",
        ),
    ],
)
def test_adapted_experts_have_no_dora_and_no_dropout(targets: tuple[str, ...], dora: str, dropout: str) -> None:
    method = Lora(targets=targets)
    assert refused("mixtral-8x7b", finetuning=method) == ""
    assert refused("mixtral-8x7b", finetuning=method._replace(variant=LoraVariant.DORA)) == dora
    assert refused("mixtral-8x7b", finetuning=method._replace(dropout=0.1)) == dropout
    assert refused("llama-2-7b", finetuning=Lora(variant=LoraVariant.DORA, dropout=0.1)) == ""


def test_experts_that_bitsandbytes_takes_apart_are_not_modelled() -> None:
    reason = "bitsandbytes' base has this model's experts one after the other: that forward is not modelled"
    assert refused("llama-4-scout", finetuning=Lora(quantization=Quantization.NF4)) == reason
    assert refused("llama-4-scout", finetuning=Lora()) == ""
    assert refused("mixtral-8x7b", finetuning=Lora(quantization=Quantization.NF4)) == ""


def test_adam_mini_takes_no_stacks_of_experts() -> None:
    assert refused("mixtral-8x7b", optimizer=Optimizer.ADAM_MINI) == "adam-mini does not take stacks of experts"
    assert refused("mixtral-8x7b", optimizer=Optimizer.MUON) == ""
    assert refused("llama-2-7b", optimizer=Optimizer.ADAM_MINI) == ""


def test_projections_and_fp8_are_of_layers_that_are_linear_by_class() -> None:
    galore = "galore takes weights of torch.nn.Linear, and this model has Conv1D"
    assert refused("gpt2", optimizer=Optimizer.GALORE) == galore
    assert refused("gpt2", precision=Precision.FP8_MIXED) == (
        "fp8-mixed converts torch.nn.Linear, and this model has Conv1D"
    )
    assert refused("gpt2", optimizer=Optimizer.MUON, precision=Precision.BF16_MIXED) == ""
    assert refused("llama-2-7b", optimizer=Optimizer.GALORE, precision=Precision.FP8_MIXED) == ""


def test_products_that_a_bias_is_added_to_are_not_kept_under_gptq() -> None:
    gptq = Lora(quantization=Quantization.GPTQ)
    reason = (
        "selective-matmuls keeps products that GPTQModel's layers then add their bias to, and torch does not take a "
        "kept tensor that has changed"
    )

    def kept(model: str, choice: Checkpointing, method: Lora) -> str:
        return refused(model, finetuning=method, checkpointing=Checkpoints(choice))

    assert kept("qwen2.5-0.5b", Checkpointing.SELECTIVE_MATMULS, gptq) == reason
    assert kept("llama-2-7b", Checkpointing.SELECTIVE_MATMULS, gptq) == ""  # no biases
    assert kept("qwen2.5-0.5b", Checkpointing.FULL, gptq) == ""
    assert kept("qwen2.5-0.5b", Checkpointing.SELECTIVE_MATMULS, Lora(quantization=Quantization.AWQ)) == ""
    assert kept("qwen2.5-0.5b", Checkpointing.SELECTIVE_MATMULS, Lora()) == ""


# --- losses, kernels, masks ---


@pytest.mark.parametrize(
    ("choices", "reason"),
    [
        ({"loss": Loss.CHUNKED}, "chunked compares each token with the next one, and this model is no causal"),
        ({"loss": Loss.LIGER_CROSS_ENTROPY}, "liger-cross-entropy compares each token with the next one"),
        ({"attention": Attention.FLASH_2}, "flash-attention-2 is known for causal language models alone"),
        ({"attention": Attention.FLEX}, "flex is known for causal language models alone"),
        ({"attention": Attention.EAGER}, ""),
        ({"attention": Attention.SDPA_EFFICIENT}, ""),
        ({"kernels": Kernels.LIGER}, "of liger's kernels only those of causal language models are known"),
        ({"kernels": Kernels.COMPILE}, "compiled blocks have an account for gemma"),
    ],
    ids=str,
)
def test_what_is_made_for_causal_models_is_refused_of_others(choices: dict[str, Any], reason: str) -> None:
    found = refused("bert-base-cased", **choices)
    assert found.startswith(reason)
    assert bool(found) == bool(reason)
    assert refused("llama-3.2-1b", **choices) == ""


@pytest.mark.parametrize("batching", [Batching.PADDED, Batching.PACKED])
def test_masks_of_samples_are_taken_by_sdpa_and_eager_attention(batching: Batching) -> None:
    for attention in (Attention.SDPA, Attention.SDPA_EFFICIENT, Attention.EAGER):
        assert refused("llama-3.2-1b", batching, attention=attention) == ""
    for attention in (Attention.FLASH_2, Attention.FLASH_3, Attention.FLEX):
        reason = f"{attention} is known for full sequences alone, not for {batching} ones"
        assert refused("llama-3.2-1b", batching, attention=attention) == reason
        assert refused("llama-3.2-1b", attention=attention) == ""


def test_a_choice_without_an_account_is_refused_before_all_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ACCOUNTS, "_computed", set())
    monkeypatch.delitem(KERNELS, Attention.FLEX)
    for batching in Batching:
        reason = "the memory model has no account of attention flex"
        assert refused("gpt2", batching, attention=Attention.FLEX, finetuning=Freeze(99)) == reason


@pytest.mark.parametrize(
    ("model", "method", "is_refused"),
    [
        ("deberta-v3-xsmall", Full(), True),
        ("deberta-v3-xsmall", BitFit(), True),
        ("deberta-v3-xsmall", Lora(), False),
        ("t5-small", Full(), False),
        ("llama-3.2-1b", Full(), False),
    ],
    ids=str,
)
def test_reentrant_checkpointing_needs_blocks_that_share_no_graph(model: str, method: Any, is_refused: bool) -> None:
    axes = {"finetuning": method, "attention": Attention.EAGER}
    reason = refused(model, **axes, checkpointing=Checkpoints(Checkpointing.FULL_REENTRANT))
    assert ("frees it the first time" in reason) is is_refused
    assert refused(model, **axes, checkpointing=Checkpoints(Checkpointing.FULL)) == ""


@pytest.mark.parametrize(
    ("model", "method", "is_refused"),
    [
        ("vit-base-patch16-224", Freeze(2), True),
        ("vit-base-patch16-224", Lora(), False),
        ("vit-base-patch16-224", BitFit(), False),
        ("gpt2", Freeze(2), False),
    ],
    ids=str,
)
def test_a_frozen_stem_without_token_ids_gives_reentrant_checkpoints_nothing_to_train(
    model: str, method: Any, is_refused: bool
) -> None:
    reason = refused(model, finetuning=method, checkpointing=Checkpoints(Checkpointing.FULL_REENTRANT))
    assert ("as that of a frozen stem" in reason) is is_refused
    assert refused(model, finetuning=method, checkpointing=Checkpoints(Checkpointing.FULL)) == ""
