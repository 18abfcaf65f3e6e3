"""Frameworks are sets of defaults over the other axes: which they are, and what they make of the default space."""

import pytest

from hardware import Cluster, load_catalog
from strategies import (
    AXES,
    OPTIONS,
    AdapterDtype,
    Checkpointing,
    Finetuning,
    Framework,
    FrameworkFacts,
    Loss,
    Precision,
    Quantization,
    Sharding,
    ShardingBackend,
    Space,
    UnquantizedDtype,
    dividing,
    usual_adapter_dtypes,
    usual_checkpointing,
    usual_precisions,
    usual_unquantized_dtypes,
)

CATALOG = load_catalog()
A100, T4 = CATALOG.get("A100-80GB-SXM"), CATALOG.get("T4")
ONE = Cluster(A100)
OTHERS = [framework for framework in Framework if framework is not Framework.TRANSFORMERS]
MIXED = (Precision.BF16_MIXED,)


def test_there_are_four() -> None:
    assert list(Framework) == ["transformers", "trl", "axolotl", "llama-factory"]
    for framework in Framework:
        assert AXES["framework"].to_options(framework) == {"framework": framework}


def test_transformers_sets_nothing() -> None:
    assert Framework.TRANSFORMERS.facts == FrameworkFacts()
    assert Space.default(ONE, Framework.TRANSFORMERS) == Space.default(ONE)


def test_each_sets_what_its_sources_say() -> None:
    assert {framework: dict(framework.facts.options) for framework in OTHERS} == {
        "trl": {"checkpointing": Checkpointing.FULL, "loss": Loss.CHUNKED},
        "axolotl": {"quantization": Quantization.NF4_DOUBLE},
        "llama-factory": {
            "finetuning": Finetuning.LORA,
            "lora_rank": 8,
            "optimizer_rank": 16,
            "quantization": Quantization.NF4_DOUBLE,
            "checkpointing": Checkpointing.FULL_REENTRANT,
        },
    }
    assert [framework for framework in OTHERS if framework.facts.prepares] == []
    assert [framework for framework in OTHERS if framework.facts.halves_adapters] == [Framework.TRL]
    assert [framework for framework in OTHERS if framework.facts.trains_as_loaded] == [Framework.AXOLOTL]
    reentrant = [f for f in OTHERS if f.facts.checkpoints is Checkpointing.FULL_REENTRANT]
    assert reentrant == [Framework.AXOLOTL, Framework.LLAMA_FACTORY]
    assert all(framework.facts.version and framework.facts.remark for framework in OTHERS)


@pytest.mark.parametrize("framework", OTHERS)
def test_options_of_a_framework_are_options_of_axes(framework: Framework) -> None:
    assert set(framework.facts.options) <= set(OPTIONS)
    assert set(framework.facts.fixed) <= set(framework.facts.options)


@pytest.mark.parametrize("framework", OTHERS)
def test_its_space_has_its_value_where_the_default_one_has_a_single_value(framework: Framework) -> None:
    plain, own = Space.default(ONE)._asdict(), Space.default(ONE, framework)._asdict()
    changed = {name for name in own if own[name] != plain[name]}
    alone = {name for name in framework.facts.options if len(plain[name]) == 1 or name in framework.facts.fixed}
    assert changed == {"framework", "adapter_dtype", "unquantized_dtype", "checkpointing", *alone}
    assert {name: own[name] for name in alone} == {name: (framework.facts.options[name],) for name in alone}
    searched = Space.default(ONE, framework).searched("checkpointing", A100)
    assert searched == dict.fromkeys(["full", "lora", "qlora"], (Checkpointing.NONE, framework.facts.checkpoints))


def test_adapters_over_a_quantized_base_are_halved_by_trl_alone() -> None:
    for framework in Framework:
        halved = framework is Framework.TRL
        found = usual_adapter_dtypes(Finetuning.QLORA, MIXED, framework)
        assert found == (AdapterDtype.WEIGHTS if halved else AdapterDtype.FP32,)
        assert usual_adapter_dtypes(Finetuning.LORA, MIXED, framework) == (AdapterDtype.FP32,)
        assert usual_adapter_dtypes(Finetuning.QLORA, (Precision.FP16_MIXED,), framework) == (AdapterDtype.FP32,)


@pytest.mark.parametrize(
    ("precision", "loaded"),
    [
        (Precision.BF16_MIXED, UnquantizedDtype.BF16),
        (Precision.FP16_MIXED, UnquantizedDtype.FP16),
        (Precision.TF32, UnquantizedDtype.FP32),
    ],
)
def test_what_is_not_prepared_is_as_it_is_loaded(precision: Precision, loaded: UnquantizedDtype) -> None:
    nf4, gptq = (Quantization.NF4,), (Quantization.NF4, Quantization.GPTQ)
    both = tuple(dict.fromkeys((UnquantizedDtype.FP32, loaded)))
    assert usual_unquantized_dtypes((precision,), nf4, Framework.TRANSFORMERS) == both
    for framework in OTHERS:
        assert usual_unquantized_dtypes((precision,), nf4, framework) == (loaded,)
        assert usual_unquantized_dtypes((precision,), gptq, framework) == both


def test_axolotl_trains_whole_weights_as_they_are_loaded() -> None:
    full = {framework: usual_precisions(A100, Finetuning.FULL, framework) for framework in Framework}
    usual = (Precision.BF16_MIXED, Precision.BF16_TRUE, Precision.TF32)
    assert full == {framework: usual[framework is Framework.AXOLOTL :] for framework in Framework}
    for framework in Framework:
        assert usual_precisions(A100, Finetuning.LORA, framework) == MIXED
        assert usual_precisions(T4, Finetuning.FULL, framework) == (Precision.FP16_MIXED, Precision.FP32)


@pytest.mark.parametrize(
    ("backend", "precision"),
    [
        (ShardingBackend.FSDP2, Precision.BF16_TRUE),
        (ShardingBackend.FSDP1, Precision.BF16_MIXED),
        (ShardingBackend.DEEPSPEED, Precision.BF16_MIXED),
    ],
)
def test_fsdp1_and_deepspeed_raise_what_axolotl_loads(backend: ShardingBackend, precision: Precision) -> None:
    found = usual_precisions(A100, Finetuning.FULL, Framework.AXOLOTL, (backend,))
    assert found[0] is precision


def test_llama_factory_is_not_reentrant_under_fsdp2() -> None:
    found = {backend: usual_checkpointing(Framework.LLAMA_FACTORY, (backend,)) for backend in ShardingBackend}
    reentrant = Checkpointing.FULL_REENTRANT
    assert found == {"fsdp2": Checkpointing.FULL, "fsdp1": reentrant, "deepspeed": reentrant}
    assert usual_checkpointing(Framework.LLAMA_FACTORY, ()) is reentrant


def test_a_model_is_divided_where_parameters_gradients_or_states_are() -> None:
    every = tuple(ShardingBackend)
    assert dividing((Sharding.NO_SHARD,), every) == ()
    assert dividing((Sharding.ZERO1,), every) == (ShardingBackend.DEEPSPEED,)
    assert dividing((Sharding.NO_SHARD, Sharding.FULL_SHARD), (ShardingBackend.FSDP2,)) == (ShardingBackend.FSDP2,)


@pytest.mark.parametrize("framework", OTHERS)
def test_its_space_is_counted_as_it_is_made(framework: Framework) -> None:
    space = Space.default(ONE, framework)
    running, rejected = space.counted(ONE)
    chains, reasons = space.valid(ONE)
    assert (running, rejected) == (sum(chain.length for chain in chains), reasons)
    assert space.searched("unquantized_dtype", A100)["qlora"] == (UnquantizedDtype.BF16,)
