"""What is exported says the plan: read back, it takes the same bytes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st

from planner import ExportError, PlannerError, check, estimate, export, fit
from planner.cli import main
from planner.exporting.launch import Launch
from planner.exporting.registry import TARGETS
from planner.models import find_model
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


LAYERWISE = {"finetuning": "full", "precision": "bf16-true", "optimizer": "galore", "update": "in-backward"}


def planned(**chosen: Any) -> EstimateResult:
    return estimate("llama-3.2-1b", **{"gpu": "A100-40GB", "framework": "trl", **chosen})


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
    for name, text in files.items():
        (folder / name).write_text(text)
    result = check([folder / name for name in TARGETS[target].read], gpu=plan.request.gpu, gpus=plan.request.gpus)
    assert result.not_understood == ()
    assert result.plan is not None
    if not (TARGETS[target].takes_exact_rows and plan.request.batching == "full"):  # its data decide, not its files
        assert result.plan.memory.moments == plan.memory.moments
    assert result.plan.global_batch_size == plan.global_batch_size


@pytest.mark.parametrize(
    ("target", "options"),
    [
        ("trl", {"finetuning": "qlora"}),
        ("trl", {"finetuning": "lora", "lora_targets": "q_proj,v_proj", "lora_rank": 4, "lora_variant": "dora"}),
        ("trl", {"gpus": 8, "sharding_backend": "fsdp1", "offload": "cpu"}),
        ("trl", {"gpus": 8, "checkpoint_every": 2, "kernels": "liger"}),
        ("trl", {"kernels": "liger", "batching": "padded", "finetuning": "qlora", "gpus": 2, "sharding": "full_shard"}),
        ("axolotl", {"framework": "axolotl", "batching": "padded", "finetuning": "qlora"}),
        ("axolotl", {"framework": "axolotl", "batching": "padded", "gpus": 2, "sharding_backend": "fsdp2"}),
        ("axolotl", {"framework": "axolotl", "attention": "flash-attention-2", "gpus": 2, "sharding": "zero2"}),
        ("llama-factory", {**LAYERWISE, "framework": "llama-factory"}),
        ("llama-factory", {"framework": "llama-factory", "finetuning": "qlora", "evaluation_batch_size": 4}),
        ("llama-factory", {"framework": "llama-factory", "finetuning": "full", "gpus": 4, "sharding": "zero3"}),
        ("llama-factory", {"framework": "llama-factory", "finetuning": "freeze", "trained_blocks": 3}),
        ("trl", {"finetuning": "lora", "trained_modules": "embeddings-and-head"}),
        ("trl", {"finetuning": "lora", "gpus": 8, "gradient_sync": "each"}),
        ("axolotl", {"framework": "axolotl", "finetuning": "lora", "trained_modules": "head"}),
        ("axolotl", {"framework": "axolotl", "finetuning": "lora", "adapter_dtype": "weights"}),
        ("axolotl", {"framework": "axolotl", "finetuning": "qlora", "quantization": "nf4"}),
        ("axolotl", {"framework": "axolotl", "finetuning": "full", "checkpointing": "selective-matmuls"}),
        ("axolotl", {**LAYERWISE, "framework": "axolotl"}),
        ("axolotl", {"framework": "axolotl", "optimizer": "apollo-mini"}),
        ("axolotl", {"framework": "axolotl", "optimizer": "sgd-momentum", "gpus": 2, "gradient_sync": "each"}),
        ("llama-factory", {"framework": "llama-factory", "optimizer": "apollo-mini", "finetuning": "full"}),
        ("llama-factory", {"framework": "llama-factory", "optimizer": "sgd-momentum", "precision": "tf32"}),
        ("llama-factory", {"framework": "llama-factory", "finetuning": "lora", "trained_modules": "embeddings"}),
        (
            "llama-factory",
            {
                "framework": "llama-factory",
                "finetuning": "freeze",
                "trained_blocks": 3,
                "trained_modules": "embeddings",
            },
        ),
        ("llama-factory", {"framework": "llama-factory", "finetuning": "full", "gpus": 2, "gradient_sync": "each"}),
    ],
)
def test_what_a_framework_does_is_exported_to_it(target: str, options: dict[str, Any]) -> None:
    files = export(planned(**options), target)
    assert {"run.sh", "requirements.txt"} <= set(files)
    assert "predicted: " in files["run.sh"]
    assert "expandable_segments:True" in files["run.sh"]
    for name, text in files.items():
        if name.endswith(".yaml"):
            assert isinstance(yaml.safe_load(text), dict)


@pytest.mark.parametrize(
    ("target", "options", "message"),
    [
        ("trl", {"finetuning": "qlora", "adapter_dtype": "fp32"}, "trl cannot say adapter-dtype fp32"),
        ("trl", {"optimizer": "muon"}, "trl cannot say optimizer muon"),
        (
            "trl",
            {"gpus": 2, "sharding": "no_shard", "gradient_buckets": "views"},
            "trl cannot say gradient-buckets views",
        ),
        ("trl", {"kernels": "compile"}, "trl cannot say kernels compile"),
        ("trl", {"loss": "full"}, "trl cannot say loss full"),
        ("axolotl", {}, "axolotl cannot say kernels eager with loss chunked"),
        (
            "axolotl",
            {"loss": "flash-cross-entropy", "framework": "axolotl"},
            "axolotl cannot say kernels eager with loss flash-cross-entropy",
        ),
        (
            "pytorch",
            {"loss": "compiled", "framework": "transformers", "allocator": "native"},
            "pytorch cannot say loss compiled",
        ),
        (
            "transformers",
            {"loss": "flash-cross-entropy", "framework": "transformers"},
            "transformers cannot say loss flash-cross-entropy",
        ),
        (
            "axolotl",
            {"finetuning": "lora", "checkpointing": "selective-matmuls", "loss": "full", "framework": "axolotl"},
            "axolotl cannot say checkpointing selective-matmuls with adapters",
        ),
        (
            "llama-factory",
            {"finetuning": "freeze", "trained_modules": "head", "loss": "full", "framework": "llama-factory"},
            "llama-factory cannot say trained-modules head",
        ),
        (
            "llama-factory",
            {"checkpointing": "offload", "loss": "full"},
            "llama-factory cannot say checkpointing offload",
        ),
        ("deepspeed", {}, "deepspeed cannot say a plan by one GPU or DDP"),
        ("transformers", {"framework": "transformers", "optimizer": "muon"}, "transformers cannot say optimizer muon"),
        ("transformers", {"framework": "transformers", "outputs": "kept"}, "transformers cannot say outputs kept"),
        ("pytorch", {}, "pytorch cannot say framework trl"),
        ("pytorch", {"framework": "transformers", "optimizer": "adam-mini"}, "pytorch cannot say optimizer adam-mini"),
        (
            "pytorch",
            {"framework": "transformers", "gpus": 2, "sharding": "full_shard", "sharding_backend": "fsdp1"},
            "pytorch cannot say sharding by fsdp1",
        ),
    ],
)
def test_what_a_target_cannot_say_is_named(target: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ExportError) as error:
        export(planned(**options), target)
    assert error.value.message.startswith(message)


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
    result = check([tmp_path / "train.yaml", tmp_path / "accelerate.yaml"], gpu="A100-40GB")
    assert result.not_understood == ()
    assert result.plan is not None
    assert (result.plan.request.task, result.plan.memory.moments) == (plan.request.task, plan.memory.moments)


@pytest.mark.parametrize(
    ("target", "options", "message"),
    [
        ("transformers", {"finetuning": "freeze"}, "transformers cannot say finetuning freeze of a classifier with a"),
        ("transformers", {"finetuning": "bitfit"}, "transformers cannot say finetuning bitfit of a classifier with a"),
        ("pytorch", {"task": "contrastive"}, "pytorch cannot say task contrastive"),
        (
            "pytorch",
            {"task": "masked-lm", "gpus": 2, "sharding": "full_shard"},
            "pytorch cannot say task masked-lm with sharding full_shard",
        ),
        ("trl", {"framework": "trl", "loss": "full"}, "trl cannot say task"),
        ("llama-factory", {"framework": "llama-factory"}, "llama-factory cannot say task"),
    ],
)
def test_a_task_that_a_target_does_not_train_is_named(target: str, options: dict[str, Any], message: str) -> None:
    plan = estimate("bert-base", gpu="A100-40GB", sequence_length=128, micro_batch_size=8, **options)
    with pytest.raises(ExportError) as error:
        export(plan, target)
    assert error.value.message.startswith(message)


def test_deepspeeds_json_has_numbers_and_no_auto() -> None:
    plan = planned(
        framework="transformers", gpus=8, sharding="zero3", micro_batch_size=2, gradient_accumulation_steps=4
    )
    content = json.loads(export(plan, "deepspeed")["deepspeed.json"])
    assert (content["train_micro_batch_size_per_gpu"], content["gradient_accumulation_steps"]) == (2, 4)
    assert content["zero_optimization"]["reduce_bucket_size"] == 2048**2
    assert "auto" not in json.dumps(content)


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
    result = check(tmp_path / "run.sh", gpu="A100-40GB")
    assert result.not_understood == ()
    assert result.plan is not None
    assert result.plan.request.gpus == plan.request.gpus
    assert result.plan.memory.moments == plan.memory.moments
    assert result.plan.time.step_seconds == plan.time.step_seconds


@pytest.mark.parametrize(
    ("key", "value", "what"),
    [
        ("sharding", "tensor", "sharding tensor"),
        ("optimizer", "shampoo", "the optimizer shampoo"),
        ("autocast", "float8", "autocast to float8"),
        ("checkpointing", "some", "checkpointing some"),
        ("keep_outputs", "always", "outputs that are kept until always"),
        ("nonsense", 1, "keys that the program of this file would refuse: nonsense"),
    ],
)
def test_what_a_changed_loop_would_not_do_is_refused(key: str, value: Any, what: str, tmp_path: Path) -> None:
    files = export(planned(framework="transformers", gpus=2, sharding="full_shard"), "pytorch")
    said = {**yaml.safe_load(files["train.yaml"]), key: value}
    (tmp_path / "train.yaml").write_text(yaml.safe_dump(said))
    result = check(tmp_path / "train.yaml", gpu="A100-40GB", gpus=2)
    assert result.plan is None
    assert what in [refused.what for refused in result.refused]


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ({"gradient_clipping": "auto"}, '"auto", which transformers fills in and DeepSpeed itself does not know'),
        ({"optimizer": {"type": "AdamW"}}, "an optimizer of the JSON beside the one that train.py makes"),
        ({"train_micro_batch_size_per_gpu": None}, "train_micro_batch_size_per_gpu is not said, which train.py reads"),
    ],
)
def test_what_deepspeeds_loop_would_not_do_with_a_json_is_refused(
    content: dict[str, Any], what: str, tmp_path: Path
) -> None:
    files = export(planned(framework="transformers", gpus=2, sharding="zero2"), "deepspeed")
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "deepspeed.json").write_text(json.dumps({**json.loads(files["deepspeed.json"]), **content}))
    result = check(tmp_path / "train.yaml", gpu="A100-40GB", gpus=2)
    assert any(refused.what.startswith(what) for refused in result.refused)


@pytest.mark.parametrize(("target", "sharding"), [("pytorch", "full_shard"), ("deepspeed", "zero2")])
def test_changes_of_a_loop_are_diffs_of_its_settings(target: str, sharding: str, tmp_path: Path) -> None:
    plan = planned(framework="transformers", gpus=2, sharding=sharding, micro_batch_size=16)
    files = export(plan, target)
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    result = check(tmp_path / "run.sh", gpu="A100-40GB")
    assert not result.fits
    change = next(change for change in result.changes if change.fits)
    for name, text in change.files.items():
        Path(name).write_text(text)
    again = check(tmp_path / "run.sh", gpu="A100-40GB")
    assert again.plan is not None
    assert again.plan.memory.process_bytes == change.process_bytes
    kept = {"train.yaml", "deepspeed.json"} | {Path(name).name for name in change.files}
    assert kept == {"train.yaml", "deepspeed.json"}


def test_a_model_without_an_id_has_no_recipe() -> None:
    plan = estimate("1B", gpu="A100-40GB", framework="trl")
    with pytest.raises(ExportError, match="has no id on the Hugging Face Hub"):
        export(plan, "trl")


def test_a_plan_of_fit_is_exported_by_its_rank() -> None:
    found = fit("llama-3.2-1b", gpu="A100-40GB", framework="trl", top=2)
    files = export(found, "trl", rank=2, dataset="me/mine")
    recipe = yaml.safe_load(files["sft.yaml"])
    assert recipe["per_device_train_batch_size"] == found.plans[1].micro_batch_size
    assert recipe["dataset_name"] == "me/mine"
    with pytest.raises(ExportError, match="not a plan"):
        export(found, "trl", rank=len(found.listed) + 1)


def run(*arguments: str, given: str | None = None) -> Result:
    return CliRunner().invoke(main, list(arguments), input=given)


def test_the_command_writes_files_and_overwrites_none(tmp_path: Path) -> None:
    plan = planned().model_dump_json()
    folder = tmp_path / "run"
    first = run("export", "-", "--to", "trl", "-o", str(folder), given=plan)
    assert first.exit_code == 0
    names = ("sft.yaml", "accelerate.yaml", "run.sh", "requirements.txt")
    assert first.stdout.splitlines() == [str(folder / name) for name in names]
    (folder / "run.sh").write_text("mine")
    again = run("export", "-", "--to", "trl", "-o", str(folder), given=plan)
    assert (again.exit_code, again.stdout) == (2, "")
    assert "would be overwritten" in again.stderr
    assert (folder / "run.sh").read_text() == "mine"
    assert run("export", "-", "--to", "trl", "-o", str(folder), "--force", given=plan).exit_code == 0
    assert (folder / "run.sh").read_text() != "mine"
    assert run("export", "-", "--to", "trll", given=plan).stderr.startswith("error: unknown target 'trll'")
    (tmp_path / "file").write_text("")
    assert run("export", "-", "--to", "trl", "-o", str(tmp_path / "file" / "x"), given=plan).exit_code == 2


def test_a_plan_of_fit_goes_through_a_pipe_to_a_script(tmp_path: Path) -> None:
    found = run("fit", "pythia-70m", "--gpu", "T4", "--top", "2", "--json")
    best, second = json.loads(found.stdout)["plans"][:2]
    for rank, plan in ((1, best), (2, second)):
        folder = tmp_path / str(rank)
        arguments = ("--to", "transformers", "--random-weights", "-o", str(folder), "--plan", str(rank))
        assert run("export", "-", *arguments, given=found.stdout).exit_code == 0
        recipe = yaml.safe_load((folder / "train.yaml").read_text())
        assert recipe["per_device_train_batch_size"] == plan["micro_batch_size"]
        assert (folder / "train.yaml").read_text().startswith("# planner export - --to transformers")


def test_what_cannot_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    plan = planned().model_dump_json()
    folder = tmp_path / "run"
    (folder / "run.sh").mkdir(parents=True)
    done = run("export", "-", "--to", "trl", "-o", str(folder), "--force", given=plan)
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ")
    assert [path.name for path in folder.iterdir()] == ["run.sh"]


def test_names_in_a_plan_end_no_comment() -> None:
    plan = planned()
    request = plan.request.model_copy(update={"gpu": "A100\nrm -rf /"})
    launch = Launch(request, plan, find_model("llama-3.2-1b"), None, "trl", "planner export\n'x' --to trl")
    assert [line for line in launch.comment().splitlines() if not line.startswith("# ")] == []
