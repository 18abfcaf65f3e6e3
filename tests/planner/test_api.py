"""`fit` and `estimate` as pipelines call them."""

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest

import planner
from planner import ContradictionError, EstimateResult, FitResult, PlannerError, estimate, fit
from planner.records.asked.request import Request
from planner.records.plan import StrategyChoice
from strategies import OPTIONS, Finetuning, Space, num_risks


def test_a_result_survives_json() -> None:
    result = fit("llama-7b", gpu="A100-40GB", gpus=8, sequence_length=4096, precision=["bf16-mixed"])
    assert FitResult.model_validate_json(result.model_dump_json()) == result


def test_an_estimate_survives_json_and_says_whether_it_fits() -> None:
    result = estimate("llama-7b", gpu="A100-40GB")
    assert EstimateResult.model_validate_json(result.model_dump_json()) == result
    assert not result.memory.fits


def test_plans_have_one_key_per_option() -> None:
    strategy = json.loads(fit("gpt2", gpu="T4").model_dump_json())["plans"][0]["strategy"]
    assert set(strategy) == set(OPTIONS)


@pytest.mark.parametrize("fields", [set(Space._fields), set(StrategyChoice.model_fields)], ids=["space", "plan"])
def test_every_option_has_a_field(fields: set[str]) -> None:
    assert fields == set(OPTIONS)


def test_a_request_has_a_field_for_every_option() -> None:
    assert set(OPTIONS) <= set(Request.model_fields)


def test_a_plan_estimated_again_is_the_same_plan() -> None:
    plan = fit("qwen2.5-1.5b", gpu="RTX-4090", gpus=2).plans[0]
    chosen: dict[str, Any] = {k: v for k, v in plan.strategy.model_dump().items() if v is not None}
    if chosen["finetuning"] != Finetuning.QLORA:
        chosen.pop("quantization")
    again = estimate(
        "qwen2.5-1.5b",
        gpu="RTX-4090",
        gpus=2,
        micro_batch_size=plan.micro_batch_size,
        gradient_accumulation_steps=plan.gradient_accumulation_steps,
        **chosen,
    )
    assert again.memory.unlimited_reserved_bytes is not None  # only an estimate says it
    memory = again.memory.model_copy(update={"unlimited_reserved_bytes": None})
    assert (memory, again.time, again.strategy) == (plan.memory, plan.time, plan.strategy)


def test_every_plan_fits_and_uses_all_allowed_accumulation() -> None:
    for plan in fit("llama-7b", gpu="A100-40GB", top=100, max_accumulation=4).plans:
        assert plan.memory.fits
        assert plan.global_batch_size == plan.micro_batch_size * plan.gradient_accumulation_steps
        assert plan.gradient_accumulation_steps in (1, 4)


def test_a_wanted_global_batch_is_met_exactly_and_the_fastest_plan_wins() -> None:
    plans = fit("llama-7b", gpu="A100-80GB", gpus=8, global_batch_size=512, top=100).plans
    assert {p.global_batch_size for p in plans} == {512}
    gpu = planner.load_catalog().get("A100-80GB")
    keys = [(num_risks(p.strategy.strategy(), gpu), p.time.step_seconds) for p in plans]
    assert keys == sorted(keys)


def test_the_best_plan_of_each_method_is_given_even_outside_the_top() -> None:
    result = fit("llama-7b", gpu="A100-40GB", top=1)
    assert {p.strategy.finetuning for p in result.best_by_method} == set(Space().finetuning)
    assert result.plans[0] == result.best_by_method[0]


def test_rejected_and_feasible_strategies_add_up() -> None:
    result = fit("llama-7b", gpu="A100-40GB")
    assert result.searched.feasible + result.rejected["does not fit into memory"] == result.searched.strategies


def test_the_time_of_a_search_has_what_the_allocator_serves_and_not_what_is_replayed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A clock goes on by 100 s where candidates are settled, and by 10,000 s where one is replayed."""
    module, now = sys.modules["planner.api.fit"], [0.0]

    def takes(seconds: float, function: Callable[..., Any]) -> Callable[..., Any]:
        def called(*args: Any, **options: Any) -> Any:
            now[0] += seconds
            return function(*args, **options)

        return called

    monkeypatch.setattr(module, "settle", takes(100, module.settle))
    monkeypatch.setattr(module.Listed, "of", takes(200, module.Listed.of))
    monkeypatch.setattr(module, "_verified", takes(10_000, lambda *_: None))
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    asked = {"gpu": "L4", "sequence_length": 64, "allocator": "native", "finetuning": "lora"}
    assert fit("pythia-70m", verify=True, **asked).searched.seconds == 300


@pytest.mark.parametrize("options", [{"gpu": "T4"}, {"gpu": "RTX-3090", "gpus": 2, "finetuning": "qlora"}], ids=str)
def test_when_nothing_fits_the_shortfall_names_moment_term_and_ways_that_work(options: dict[str, Any]) -> None:
    result = fit("llama-2-70b", **options)
    shortfall = result.shortfall
    assert result.plans == ()
    assert shortfall is not None
    assert shortfall.term == "parameters"
    assert shortfall.over_bytes == shortfall.smallest.memory.process_bytes - shortfall.smallest.memory.budget_bytes
    assert shortfall.ways
    assert ({"offload": "cpu"} in [way.options for way in shortfall.ways]) == ("gpus" in options)
    for way in shortfall.ways:
        changed: dict[str, Any] = {**options, **{k.replace("-", "_"): v for k, v in way.options.items()}}
        assert fit("llama-2-70b", **changed).plans, way


def test_where_nothing_fits_no_plan_is_recommended_and_the_error_says_so() -> None:
    with pytest.raises(PlannerError, match="nothing fits for llama-2-70b on 1 x T4: there is no plan"):
        _ = fit("llama-2-70b", gpu="T4").recommended


def test_a_gpu_without_bf16_leaves_it_out_and_says_so() -> None:
    result = fit("gpt2", gpu="T4")
    assert all("bf16" not in p.strategy.precision for p in result.plans)
    assert any("no bf16" in note for note in result.notes)
    assert any("no flash attention: sdpa runs the memory-efficient kernel" in note for note in result.notes)


def test_the_math_kernel_is_noted_where_heads_share_keys_and_flash_does_not_run() -> None:
    def noted(model: str, **options: Any) -> bool:
        return any("math kernel" in note for note in estimate(model, micro_batch_size=1, **options).notes)

    assert noted("smollm2-135m", gpu="T4", precision="fp16-mixed")
    assert noted("smollm2-135m", gpu="A100-80GB", precision="tf32")
    assert noted("smollm2-135m", gpu="A100-80GB", precision="bf16-true", finetuning="qlora")
    assert not noted("smollm2-135m", gpu="A100-80GB", precision="bf16-mixed")
    assert not noted("smollm2-135m", gpu="A100-80GB", precision="tf32", attention="eager")
    assert not noted("gpt2", gpu="A100-80GB", precision="tf32")


def test_a_sequence_beyond_the_context_is_noted_with_rotary_and_refused_with_learned_positions() -> None:
    assert any("8192 tokens" in note for note in fit("llama-7b", gpu="H100", sequence_length=8192).notes)
    with pytest.raises(ContradictionError, match="learned positions"):
        fit("gpt2", gpu="H100", sequence_length=2048)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"gpus": 0}, "gpus is 0"),
        ({"gpus": -1}, "gpus is -1"),
        ({"nodes": True}, "nodes is True"),
        ({"sequence_length": 10**12}, "sequence_length is 1000000000000"),
        ({"headroom": 1.0}, "headroom is 1.0"),
        ({"headroom": float("nan")}, "headroom is nan"),
        ({"micro_batch_size": 0}, "micro_batch_size"),
        ({"top": 0}, "top is 0"),
        ({"max_accumulation": 0}, "max_accumulation is 0"),
        ({"max_accumulation": 2, "global_batch_size": 8}, "exclude each other"),
        ({"gpus": 3, "global_batch_size": 8}, "cannot be divided over 3 GPUs"),
        ({"precision": "bf17"}, "unknown precision 'bf17'"),
        ({"precisions": "fp32"}, "unknown argument 'precisions'"),
        ({"lora_rank": 0}, "lora_rank is 0"),
        ({"lora_targets": "nope"}, "no linear layer 'nope'"),
        ({"lora_targets": ""}, "lora_targets is ''"),
        ({"finetuning": "full", "lora_rank": 8}, "only lora and qlora have it"),
        ({"finetuning": "lora", "quantization": "nf4"}, "only qlora has it"),
        ({"finetuning": "qlora", "quantization": "none"}, "qlora without quantization is lora"),
        ({"sharding": "full_shard"}, "one GPU has nothing to shard over"),
        ({"gpu": "T4", "precision": "bf16-mixed"}, "T4 has no bf16"),
    ],
    ids=lambda x: str(x) if isinstance(x, dict) else "",
)
def test_a_senseless_request_is_refused_with_its_value(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(PlannerError) as refused:
        fit("llama-7b", **{"gpu": "A100-40GB", **arguments})
    assert message in refused.value.message
    assert refused.value.hint


def test_an_estimate_takes_one_choice_per_axis() -> None:
    with pytest.raises(ContradictionError, match="one precision, not of 2"):
        estimate("gpt2", gpu="T4", precision=["fp32", "fp16-mixed"])


def test_the_public_names_are_importable() -> None:
    for name in planner.__all__:
        assert getattr(planner, name) is not None


@pytest.mark.parametrize(
    ("model", "method", "backends"),
    [
        ("llama-2-70b", "qlora", {"fsdp2", "fsdp1"}),  # 32 GiB in 4 bits
        ("llama-2-70b", "lora", {"fsdp2"}),
        ("llama-2-13b", "qlora", {"fsdp2"}),
    ],
)
def test_a_quantized_base_that_no_gpu_holds_is_divided_by_fsdp1_as_well(
    model: str, method: str, backends: set[str]
) -> None:
    asked = {"finetuning": method, "sharding": ("full_shard",), "offload": ("cpu",), "sequence_length": 512}
    result = fit(model, gpu="RTX-3090", gpus=8, top=100, **asked)
    assert {plan.strategy.sharding_backend for plan in result.plans} == backends


def test_experts_that_stay_in_half_precision_count_for_whether_a_gpu_holds_the_base() -> None:
    asked = {"finetuning": "qlora", "sharding": "full_shard", "lora_targets": "q_proj,v_proj", "sequence_length": 512}
    plans = fit("mixtral-8x7b", gpu="A100-80GB", gpus=8, top=100, **asked).plans  # 23 GiB in 4 bits, 85 as it is
    assert {plan.strategy.sharding_backend for plan in plans} == {"fsdp2", "fsdp1"}


@pytest.mark.parametrize(
    ("axes", "reason"),
    [
        ({"attention": "all"}, "transformers runs gpt2 without flex_attention"),
        ({"loss": "all"}, "liger-kernel has no fused linear cross-entropy for gpt2"),
        ({"kernels": "all"}, "liger-kernel has no kernels for gpt2, or none with an account here"),
        (
            {"kernels": ("eager", "compile"), "batching": "packed", "mean_length": 100},
            "compiled blocks have an account for full sequences alone, not for packed ones",
        ),
        (
            {"kernels": ("eager", "compile"), "evaluation_batch_size": 4},
            "compiled blocks have no account of evaluation",
        ),
    ],
)
def test_of_several_kernels_those_that_cannot_run_are_left_out_with_the_reason(
    axes: dict[str, Any], reason: str
) -> None:
    result = fit("gpt2", gpu="A100-40GB", **axes)
    assert result.plans
    assert result.rejected[reason] > 0


@pytest.mark.parametrize("ask", [fit, estimate])
@pytest.mark.parametrize(
    ("axes", "message", "hint"),
    [
        (
            {"sharding_backend": "deepspeed"},
            "sharding_backend=deepspeed is given, but only zero1, shard_grad_op, full_shard and hybrid_shard have it",
            "add --sharding zero1",
        ),
        (
            {"gpus": 2, "shard_size": 2},
            "shard_size=2 is given, but only hybrid_shard has it",
            "--sharding hybrid_shard",
        ),
        ({"trained_blocks": 4}, "trained_blocks=4 is given, but only freeze has it", "--finetuning freeze"),
    ],
)
def test_an_option_that_applies_to_no_default_is_not_ignored(
    ask: Any, axes: dict[str, Any], message: str, hint: str
) -> None:
    with pytest.raises(ContradictionError) as caught:
        ask("smollm2-135m", gpu="A100-80GB-SXM", **axes)
    assert (caught.value.message, hint in caught.value.hint) == (message, True)


def test_several_values_of_an_option_are_no_contradiction_if_one_of_them_is_what_runs_anyway() -> None:
    assert fit("smollm2-135m", gpu="A100-80GB-SXM", offload="all", top=1).plans
    with pytest.raises(ContradictionError, match="lora_rank=8 is given, but only lora and qlora have it"):
        estimate("smollm2-135m", gpu="A100-80GB-SXM", lora_rank=8)
