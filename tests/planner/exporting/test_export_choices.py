"""Each target writes what its framework does, and names what it cannot say."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from exportable import planned

from planner import ExportError, estimate, export
from planner.exporting.launch import Launch
from planner.models import find_model

LAYERWISE = {"finetuning": "full", "precision": "bf16-true", "optimizer": "galore", "update": "in-backward"}


@pytest.mark.parametrize(
    ("target", "options"),
    [
        ("trl", {"finetuning": "qlora"}),
        ("trl", {"finetuning": "lora", "lora_targets": "q_proj,v_proj", "lora_rank": 4, "lora_variant": "dora"}),
        ("trl", {"gpus": 8, "sharding_backend": "fsdp1", "offload": "cpu"}),
        ("trl", {"gpus": 8, "sharding_backend": "fsdp1", "wrapping": "torch-2.7"}),
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
    assert " in 9 of 10 cases), " in files["run.sh"]
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
            "transformers",
            {"loss": "transformers-4.48", "framework": "transformers"},
            "transformers cannot say loss transformers-4.48",
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


def test_a_model_without_an_id_has_no_recipe() -> None:
    plan = estimate("1B", gpu="A100-40GB", framework="trl")
    with pytest.raises(ExportError, match="has no id on the Hugging Face Hub"):
        export(plan, "trl")


def test_names_in_a_plan_end_no_comment() -> None:
    plan = planned()
    request = plan.request.model_copy(update={"gpu": "A100\nrm -rf /"})
    launch = Launch(request, plan, find_model("llama-3.2-1b"), None, "trl", "planner export\n'x' --to trl")
    assert [line for line in launch.comment().splitlines() if not line.startswith("# ")] == []
