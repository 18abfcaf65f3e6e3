"""Fine-tuning methods: what trains, how the base is stored, and the options that refine each."""

from __future__ import annotations

from typing import Any

import pytest

from strategies import (
    ALL_LINEAR,
    AXES,
    DEFAULT_LORA_RANK,
    DEFAULT_TRAINED_BLOCKS,
    OPTIONS,
    AdapterDtype,
    BitFit,
    ContradictionError,
    ExpertQuantization,
    Finetuning,
    Freeze,
    Full,
    Lora,
    LoraVariant,
    Method,
    Names,
    Quantization,
    Shares,
    Space,
    TrainedModules,
    UnquantizedDtype,
    WholeNumbers,
    quantization_of,
)

AXIS = AXES["finetuning"]
REFINED = {
    Finetuning.FULL: [],
    Finetuning.LORA: [
        "lora_rank",
        "lora_targets",
        "lora_variant",
        "lora_dropout",
        "adapter_dtype",
        "trained_modules",
    ],
    Finetuning.QLORA: [
        "lora_rank",
        "lora_targets",
        "quantization",
        "lora_variant",
        "lora_dropout",
        "adapter_dtype",
        "unquantized_dtype",
        "expert_quantization",
        "trained_modules",
    ],
    Finetuning.FREEZE: ["trained_blocks", "trained_modules"],
    Finetuning.BITFIT: [],
}


def test_a_lora_is_of_the_rank_that_its_help_promises_and_that_is_searched_by_default() -> None:
    assert Lora().rank == DEFAULT_LORA_RANK == 16
    assert f"{DEFAULT_LORA_RANK} unless given" in OPTIONS["lora_rank"].help
    assert OPTIONS["lora_rank"].kind == WholeNumbers(1, 16_384, DEFAULT_LORA_RANK)
    assert Space().lora_rank == (DEFAULT_LORA_RANK,)


def test_a_lora_adapts_all_linear_layers_in_fp32_without_dropout_unless_told_otherwise() -> None:
    assert Lora() == Lora(
        16, ALL_LINEAR, Quantization.NONE, LoraVariant.LORA, 0.0, AdapterDtype.FP32, TrainedModules.NONE
    )
    assert ALL_LINEAR == "all-linear"
    assert "all-linear, which is the default" in OPTIONS["lora_targets"].help


def test_freezing_leaves_as_many_blocks_as_its_help_promises() -> None:
    assert Freeze() == Freeze(trained_blocks=2, trained_modules=TrainedModules.NONE)
    assert Freeze().trained_blocks == DEFAULT_TRAINED_BLOCKS
    assert "2 unless given" in OPTIONS["trained_blocks"].help
    assert OPTIONS["trained_blocks"].kind == WholeNumbers(1, 1024, 2)


@pytest.mark.parametrize("method", Finetuning)
def test_a_method_is_refined_by_options_of_its_own(method: Finetuning) -> None:
    assert [option.name for option in AXIS.refining(method)] == REFINED[method]


def test_the_rank_and_the_number_of_blocks_are_what_only_ever_costs_more() -> None:
    growing = {method: AXIS.growing(method) for method in Finetuning}
    assert {method: option.name for method, option in growing.items() if option is not None} == {
        Finetuning.LORA: "lora_rank",
        Finetuning.QLORA: "lora_rank",
        Finetuning.FREEZE: "trained_blocks",
    }


def test_options_of_numbers_and_names_say_what_is_usual() -> None:
    assert OPTIONS["lora_dropout"].kind == Shares(0.0, 1.0, 0.05)
    assert OPTIONS["lora_targets"].kind == Names("all-linear", "q_proj,v_proj")


def test_what_goes_without_saying_is_what_a_plain_lora_has() -> None:
    hidden = {name: OPTIONS[name].hidden_default for name in REFINED[Finetuning.LORA]}
    assert hidden == {
        "lora_rank": None,
        "lora_targets": None,
        "lora_variant": LoraVariant.LORA,
        "lora_dropout": 0.0,
        "adapter_dtype": AdapterDtype.FP32,
        "trained_modules": TrainedModules.NONE,
    }
    assert OPTIONS["quantization"].hidden_default is Quantization.NONE


LORA: dict[str, Any] = {
    "finetuning": Finetuning.LORA,
    "lora_rank": 8,
    "lora_targets": ("q_proj", "v_proj"),
    "quantization": Quantization.NONE,
    "lora_variant": LoraVariant.DORA,
    "lora_dropout": 0.1,
    "adapter_dtype": AdapterDtype.WEIGHTS,
    "trained_modules": TrainedModules.HEAD,
}
QLORA: dict[str, Any] = {
    "finetuning": Finetuning.QLORA,
    "lora_rank": 16,
    "lora_targets": ALL_LINEAR,
    "quantization": Quantization.INT8,
    "lora_variant": LoraVariant.LORA,
    "lora_dropout": 0.0,
    "adapter_dtype": AdapterDtype.FP32,
    "trained_modules": TrainedModules.NONE,
    "unquantized_dtype": UnquantizedDtype.BF16,
    "expert_quantization": ExpertQuantization.SAME,
}
FREEZE: dict[str, Any] = {
    "finetuning": Finetuning.FREEZE,
    "trained_blocks": 3,
    "trained_modules": TrainedModules.EMBEDDINGS,
}


@pytest.mark.parametrize(
    ("options", "method"),
    [
        ({"finetuning": Finetuning.FULL}, Full()),
        (
            LORA,
            Lora(
                8,
                ("q_proj", "v_proj"),
                Quantization.NONE,
                LoraVariant.DORA,
                0.1,
                AdapterDtype.WEIGHTS,
                TrainedModules.HEAD,
            ),
        ),
        (
            QLORA,
            Lora(
                quantization=Quantization.INT8,
                unquantized_dtype=UnquantizedDtype.BF16,
                expert_quantization=ExpertQuantization.SAME,
            ),
        ),
        (FREEZE, Freeze(3, TrainedModules.EMBEDDINGS)),
        ({"finetuning": Finetuning.BITFIT}, BitFit()),
    ],
    ids=lambda x: str(x["finetuning"]) if isinstance(x, dict) else "",
)
def test_options_make_a_method_and_a_method_says_its_options(options: dict[str, Any], method: Method) -> None:
    made = AXIS.value(options)
    assert (made, type(made)) == (method, type(method))
    assert AXIS.to_options(method) == options


def test_options_of_other_methods_and_those_left_open_change_nothing() -> None:
    others = {**LORA, **FREEZE}
    assert AXIS.value({**others, "finetuning": Finetuning.FULL}) == Full()
    assert AXIS.value({**others, "finetuning": Finetuning.BITFIT}) == BitFit()
    assert AXIS.value({"finetuning": Finetuning.LORA, "lora_rank": None, "lora_dropout": None}) == Lora()
    assert AXIS.value({"finetuning": Finetuning.FREEZE, "trained_blocks": None}) == Freeze()


def test_a_choice_that_no_class_says_the_trained_parameters_of_is_refused() -> None:
    with pytest.raises(ContradictionError, match="nothing says what trains under finetuning magic"):
        AXIS.value({"finetuning": "magic"})


def test_methods_are_told_apart_by_what_they_are_and_a_lora_over_a_quantized_base_is_qlora() -> None:
    methods: list[Method] = [Full(), Lora(), Lora(quantization=Quantization.NF4), Freeze(), BitFit()]
    assert [method.method for method in methods] == list(Finetuning)
    assert len(set(methods)) == 5


def test_only_a_lora_has_a_quantized_base() -> None:
    assert [quantization_of(method) for method in (Full(), Freeze(), BitFit(), Lora())] == [Quantization.NONE] * 4
    for quantization in Quantization:
        assert quantization_of(Lora(quantization=quantization)) is quantization


def test_only_a_quantized_base_has_separate_experts() -> None:
    same = ExpertQuantization.SAME
    assert Lora(quantization=Quantization.NF4, expert_quantization=same).separates_experts
    assert not Lora(quantization=Quantization.NF4).separates_experts
    assert not Lora(expert_quantization=same).separates_experts


def test_each_quantization_is_of_bitsandbytes_or_of_a_checkpoint_or_none() -> None:
    assert {q for q in Quantization if q.by_bitsandbytes} == {
        Quantization.NF4,
        Quantization.NF4_DOUBLE,
        Quantization.INT8,
    }
    gptq = {Quantization.GPTQ, Quantization.GPTQ_TRITON}
    assert {q for q in Quantization if q.is_gptq} == gptq
    assert {q for q in Quantization if q.from_checkpoint} == {*gptq, Quantization.AWQ}


def test_trained_modules_are_the_embeddings_the_head_or_both() -> None:
    assert [(m.embeddings, m.head) for m in TrainedModules] == [
        (False, False),
        (True, False),
        (False, True),
        (True, True),
    ]
    assert list(TrainedModules) == ["none", "embeddings", "head", "embeddings-and-head"]


def test_a_layer_is_adapted_if_it_is_named_or_all_are() -> None:
    assert Lora().adapts("anything")
    named = Lora(targets=("q_proj", "v_proj"))
    assert (named.adapts("q_proj"), named.adapts("k_proj")) == (True, False)


def test_a_target_that_the_model_has_not_is_refused_with_those_that_it_has() -> None:
    known = ("q_proj", "v_proj")
    Lora().check_targets(known, "toy")
    Lora(targets=("v_proj",)).check_targets(known, "toy")
    with pytest.raises(ContradictionError) as refused:
        Lora(targets=("q_proj", "k_proj", "c_attn")).check_targets(known, "toy")
    assert refused.value.message == "toy has no linear layer 'k_proj', 'c_attn' for LoRA"
    assert refused.value.hint == "--lora-targets takes q_proj, v_proj or all-linear"
