"""What is exported says the plan: read back, it takes the same bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from exportable import planned
from hypothesis import given, settings
from hypothesis import strategies as st

from planner import CheckResult, ExportError, PlannerError, check, estimate, export
from planner.exporting.targets.registry import TARGETS
from planner.records.result import EstimateResult

CHOICES: dict[str, st.SearchStrategy[Any]] = {
    "finetuning": st.sampled_from(["full", "lora", "qlora"]),
    "precision": st.sampled_from(["bf16-mixed", "bf16-true", "fp16-mixed", "fp32", "tf32"]),
    "optimizer": st.sampled_from(
        ["adamw", "adamw-foreach", "adamw-8bit", "paged-adamw-32bit", "adafactor", "galore", "muon"]
    ),
    "checkpointing": st.sampled_from(["none", "full", "full-reentrant", "offload"]),
    "attention": st.sampled_from(["sdpa", "eager", "flash-attention-2"]),
    "quantization": st.sampled_from(["nf4", "nf4-double", "int8"]),
    "sharding": st.sampled_from(["no_shard", "full_shard", "shard_grad_op"]),
    "sharding_backend": st.sampled_from(["fsdp1", "fsdp2", "deepspeed"]),
    "batching": st.sampled_from(["full", "padded", "packed"]),
    "lora_rank": st.sampled_from([4, 64]),
    "lora_dropout": st.sampled_from([0.0, 0.1]),
    "lora_targets": st.sampled_from(["all-linear", "q_proj,v_proj"]),
    "loss": st.sampled_from(["full", "chunked"]),
    "adapter_dtype": st.sampled_from(["fp32", "weights"]),
    "trained_modules": st.sampled_from(["none", "head", "embeddings-and-head"]),
    "gradient_sync": st.sampled_from(["last", "each"]),
    "framework": st.sampled_from(["transformers", *(name for name in TARGETS if name != "deepspeed")]),
    "gpus": st.sampled_from([1, 2, 8]),
    "micro_batch_size": st.sampled_from([1, 4]),
    "gradient_accumulation_steps": st.sampled_from([1, 16]),
    "sequence_length": st.sampled_from([512, 2048]),
}


@st.composite
def plans(draw: st.DrawFn) -> EstimateResult | None:
    """A plan of a few choices, or None if these contradict each other."""
    names = draw(st.sets(st.sampled_from(sorted(CHOICES)), max_size=7))
    try:
        return planned(**{name: draw(CHOICES[name]) for name in sorted(names)})
    except PlannerError:
        return None


ZERO: dict[str, st.SearchStrategy[Any]] = {
    **{name: CHOICES[name] for name in ("finetuning", "precision", "optimizer", "checkpointing", "batching")},
    **{name: CHOICES[name] for name in ("attention", "lora_rank", "adapter_dtype", "micro_batch_size")},
    "gradient_accumulation_steps": CHOICES["gradient_accumulation_steps"],
    "sharding": st.sampled_from(["zero1", "shard_grad_op", "full_shard"]),
    "offload": st.sampled_from(["none", "optimizer", "cpu"]),
    "overlap_comm": st.sampled_from(["auto", "yes", "no"]),
    "reduce_bucket": st.sampled_from([0, 10**6]),
    "prefetch_bucket": st.sampled_from([0, 10**6]),
    "persistence_threshold": st.sampled_from([0, 10**5]),
    "evaluation_batch_size": st.just(2),
}
"""Choices of plans by DeepSpeed."""


@st.composite
def zero_plans(draw: st.DrawFn) -> EstimateResult | None:
    """A plan by DeepSpeed of a few choices, or None if these contradict each other."""
    names = draw(st.sets(st.sampled_from(sorted(ZERO)), max_size=6)) | {"sharding"}
    chosen = {name: draw(ZERO[name]) for name in sorted(names)}
    try:
        return planned(**{"framework": "transformers", "sharding_backend": "deepspeed", "gpus": 8, **chosen})
    except PlannerError:
        return None


@pytest.mark.parametrize("target", ["transformers", "pytorch", "trl", "axolotl", "llama-factory"])
@given(plan=plans())
@settings(max_examples=40, deadline=None)
def test_an_export_is_the_plan_or_an_error_that_names_what_it_is_not(
    target: str, plan: EstimateResult | None, tmp_path_factory: pytest.TempPathFactory
) -> None:
    if plan is not None:
        same_or_named(target, plan, tmp_path_factory.mktemp(target))


@given(plan=zero_plans())
@settings(max_examples=40, deadline=None)
def test_an_export_to_deepspeed_is_the_plan_or_an_error_that_names_what_it_is_not(
    plan: EstimateResult | None, tmp_path_factory: pytest.TempPathFactory
) -> None:
    if plan is not None:
        same_or_named("deepspeed", plan, tmp_path_factory.mktemp("deepspeed"))


def same_or_named(target: str, plan: EstimateResult, folder: Path) -> None:
    try:
        files = export(plan, target)
    except ExportError as error:
        said = error.message
        files = {}
    if not files:
        assert said.startswith(f"{target} cannot say ")
        return
    result = read_back(target, files, plan, folder, changes=False)
    assert result.not_understood == ()
    assert result.plan is not None
    if not (TARGETS[target].takes_exact_rows and plan.request.batching == "full"):  # its data decide, not its files
        assert result.plan.memory.moments == plan.memory.moments
    assert result.plan.global_batch_size == plan.global_batch_size


def read_back(target: str, files: dict[str, str], plan: EstimateResult, folder: Path, *, changes: bool) -> CheckResult:
    for name, text in files.items():
        (folder / name).write_text(text)
    paths = [folder / name for name in TARGETS[target].read]
    return check(paths, gpu=plan.request.gpu, gpus=plan.request.gpus, changes=changes)


@pytest.mark.parametrize("target", ["transformers", "pytorch", "trl", "axolotl", "llama-factory", "deepspeed"])
@given(data=st.data())
@settings(max_examples=4, deadline=None)
def test_changes_are_looked_for_in_whatever_is_exported(
    target: str, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Looking for them takes ten times as long as all else that `check` does."""
    plan = data.draw(zero_plans() if target == "deepspeed" else plans())
    try:
        files = export(plan, target) if plan is not None else {}
    except ExportError:
        return
    if plan is not None:
        read_back(target, files, plan, tmp_path_factory.mktemp(target), changes=True)


CLASSIFIER, TAGGER = "sequence-classification", "token-classification"


@pytest.mark.parametrize(
    ("task", "choices"),
    [
        *((task, {}) for task in (CLASSIFIER, TAGGER, "masked-lm", "contrastive")),
        *((task, {"finetuning": method}) for task in (CLASSIFIER, TAGGER) for method in ("lora", "qlora")),
        (CLASSIFIER, {"finetuning": "freeze", "trained_modules": "head"}),
    ],
)
def test_an_encoder_is_exported_for_its_task(task: str, choices: dict[str, Any], tmp_path: Path) -> None:
    plan = estimate("bert-base", gpu="A100-40GB", sequence_length=128, micro_batch_size=8, task=task, **choices)
    files = export(plan, "transformers")
    recipe = yaml.safe_load(files["train.yaml"])
    assert recipe["task"] == task
    assert ("pairs.py" in files, recipe.get("pooling")) == ((True, "mean") if task == "contrastive" else (False, None))
    for name in ("train.yaml", "accelerate.yaml"):
        (tmp_path / name).write_text(files[name])
    result = check([tmp_path / "train.yaml", tmp_path / "accelerate.yaml"], gpu="A100-40GB", changes=False)
    assert result.not_understood == ()
    assert result.plan is not None
    assert (result.plan.request.task, result.plan.memory.moments) == (plan.request.task, plan.memory.moments)


@pytest.mark.parametrize(
    ("target", "options"),
    [
        ("transformers", {"gpus": 2, "sharding": "full_shard"}),
        ("pytorch", {"gpus": 8, "sharding": "full_shard", "finetuning": "lora", "checkpointing": "selective-matmuls"}),
        ("pytorch", {"gpus": 8, "sharding": "hybrid_shard", "shard_size": 4, "gradient_sync": "each"}),
        ("pytorch", {"gpus": 2, "sharding": "no_shard", "gradient_buckets": "views", "outputs": "kept"}),
        ("pytorch", {"kernels": "liger", "loss": "liger-fused-linear", "optimizer": "muon", "batching": "packed"}),
        ("deepspeed", {"gpus": 8, "sharding": "zero3", "offload": "cpu", "evaluation_batch_size": 4}),
        ("deepspeed", {"gpus": 2, "sharding": "zero2", "finetuning": "lora", "reduce_bucket": 10**6}),
    ],
)
def test_the_script_that_starts_a_run_is_checked_as_the_run(
    target: str, options: dict[str, Any], tmp_path: Path
) -> None:
    plan = planned(framework="transformers", **options)
    for name, text in export(plan, target).items():
        (tmp_path / name).write_text(text)
    result = check(tmp_path / "run.sh", gpu="A100-40GB", changes=False)
    assert result.not_understood == ()
    assert result.plan is not None
    assert result.plan.request.gpus == plan.request.gpus
    assert result.plan.memory.moments == plan.memory.moments
    assert result.plan.time.step_seconds == plan.time.step_seconds
