"""What the files of a run say becomes a plan, on as many GPUs and at the length that they say or leave open."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from recipes import AXOLOTL, FSDP, LLAMA_FACTORY, TRL, values, written

from planner import check, estimate
from planner.advice import shortfall
from planner.advice.shortfall import ways_of_one
from planner.records.advice import Way


def test_a_run_is_planned_as_estimate_plans_it(tmp_path: Path) -> None:
    (file,) = written(tmp_path, qlora=AXOLOTL)
    plan = check(file, gpu="RTX-4090", gpus=1).plan
    asked = estimate(
        "llama-3.2-1b",
        gpu="RTX-4090",
        framework="axolotl",
        finetuning="qlora",
        lora_rank=8,
        sequence_length=1024,
        micro_batch_size=2,
        batching="padded",
        checkpointing="full-reentrant",
    )
    assert plan is not None
    assert plan.memory == asked.memory


def test_several_numbers_of_gpus_are_tried_where_nothing_says_how_many(tmp_path: Path) -> None:
    (file,) = written(tmp_path, sft=TRL + "fsdp: full_shard\ndtype: bfloat16\n")
    result = check(file, gpu="A100-40GB")
    assert [on.gpus for on in result.on_gpus] == [2, 4, 8, 16, 32, 64]
    sizes = [on.process_bytes for on in result.on_gpus]
    assert sizes == sorted(sizes, reverse=True)
    assert (values(result)["sharding_backend"], values(result)["precision"]) == ("fsdp2", "bf16-mixed")


def test_where_no_number_of_gpus_fits_the_nearest_is_planned(tmp_path: Path) -> None:
    (replicas,) = written(tmp_path, qlora=AXOLOTL)
    overrides = {"micro_batch_size": 64, "gradient_checkpointing": False}
    result = check(replicas, gpu="RTX-4090", overrides=overrides, changes=False)
    assert result.plan is not None
    assert [(on.gpus, on.fits) for on in result.on_gpus] == [(1, False), (8, False)]
    assert result.plan.request.gpus == 1
    (sharded,) = written(tmp_path, sft=TRL + "fsdp: full_shard\n")
    result = check(sharded, gpu="A10G", overrides={"per_device_train_batch_size": 1024}, changes=False)
    assert result.plan is not None
    assert not any(on.fits for on in result.on_gpus)
    assert result.plan.request.gpus * result.plan.request.nodes == 64


def test_of_all_that_is_tried_the_plan_alone_has_ways_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def counted(*given: Any) -> tuple[Way, ...]:
        asked.append(given)
        return ways_of_one(*given)

    monkeypatch.setattr(shortfall, "ways_of_one", counted)
    zero3 = tmp_path / "ds.json"
    zero3.write_text('{"zero_optimization": {"stage": 3}}')
    run = {"model_name_or_path": "meta-llama/Llama-2-7b-hf", "bf16": True}
    result = check(zero3, gpu="A10G", gpus=2, overrides=run, changes=False)
    plan = result.plan
    assert plan is not None
    assert not any(on.fits for on in result.on_gpus)
    assert len(result.on_gpus) > 1
    assert len(asked) == 1
    assert plan.ways


def test_without_a_gpu_the_smallest_are_named(tmp_path: Path) -> None:
    (file,) = written(tmp_path, qlora=AXOLOTL)
    result = check(file)
    sizes = [on.budget_bytes for on in result.smallest]
    assert len(sizes) == 3
    assert sizes == sorted(sizes)
    assert all(on.fits for on in result.smallest)


def test_packed_rows_are_one_row_of_the_micro_batch(tmp_path: Path) -> None:
    (file,) = written(tmp_path, qlora=AXOLOTL + "sample_packing: true\nattn_implementation: flash_attention_2\n")
    result = check(file, gpu="H100", gpus=1)
    assert result.plan is not None
    assert (result.plan.micro_batch_size, result.plan.request.sequence_length) == (1, 2048)
    assert any("one row of 2,048" in note for note in result.notes)


def test_bf16_auto_is_fp16_on_a_gpu_without_bf16(tmp_path: Path) -> None:
    (file,) = written(tmp_path, qlora=AXOLOTL)
    plan = check(file, gpu="T4", gpus=1).plan
    assert plan is not None
    assert (plan.strategy.precision, plan.strategy.unquantized_dtype) == ("fp16-mixed", "fp16")


V1 = """\
model: Qwen/Qwen3-4B
train_dataset: data.yaml
cutoff_len: 1024
micro_batch_size: 1
global_batch_size: 64
bf16: true
dist_config:
  name: fsdp2
"""


def test_a_global_batch_decides_the_accumulation_on_each_number_of_gpus(tmp_path: Path) -> None:
    (file,) = written(tmp_path, v1=V1)
    for gpus, steps in ((8, 8), (2, 32)):
        plan = check(file, gpu="H100", gpus=gpus).plan
        assert plan is not None
        assert (plan.gradient_accumulation_steps, plan.global_batch_size) == (steps, 64)
    refused = check(file, gpu="H100", gpus=7)
    assert refused.plan is None
    assert "a global batch of 64 is no multiple of 7 sequences a pass" in refused.refused[0].what


def test_one_of_gpus_and_nodes_leaves_the_other_as_the_files_say(tmp_path: Path) -> None:
    two = FSDP.replace("num_machines: 1", "num_machines: 2").replace("num_processes: 2", "num_processes: 16")
    files = written(tmp_path, sft=TRL, fsdp=two)
    for given, expected in (({}, (8, 2)), ({"gpus": 4}, (4, 2)), ({"nodes": 1}, (8, 1))):
        plan = check(files, gpu="H100", **given).plan
        assert plan is not None
        assert (plan.request.gpus, plan.request.nodes) == expected


def test_a_length_of_nothing_is_no_default(tmp_path: Path) -> None:
    for recipe in (
        AXOLOTL.replace("sequence_len: 1024", "sequence_len: 0"),
        TRL + "max_length: 0\n",
        LLAMA_FACTORY.replace("cutoff_len: 1024", "cutoff_len: 0").replace("deepspeed: zero/ds_z3.json\n", ""),
    ):
        (file,) = written(tmp_path, run=recipe)
        result = check(file, gpu="H100", gpus=1)
        assert result.reading["sequence_length"].value == 0
        assert result.plan is None
        assert "sequence_length" in result.refused[0].what


ARGUMENTS = {
    "per_device_train_batch_size": 2,
    "bf16": True,
    "optim": "adamw_torch",
    "fsdp": [],
    "deepspeed": None,
    "gradient_checkpointing": True,
    "logging_steps": 5,
}


def test_training_arguments_are_planned_with_what_the_command_line_says(tmp_path: Path) -> None:
    file = tmp_path / "training_args.json"
    file.write_text(json.dumps(ARGUMENTS))
    result = check(file, gpu="A100-40GB", gpus=1, overrides=["model_name_or_path=llama-3.2-1b", "block_size=1024"])
    asked = estimate(
        "llama-3.2-1b",
        gpu="A100-40GB",
        micro_batch_size=2,
        sequence_length=1024,
        precision="bf16-true",
        optimizer="adamw-foreach",
        checkpointing="full",
    )
    assert result.plan is not None
    assert result.plan.memory == asked.memory
    assert result.not_understood == ()


def test_several_lengths_are_tried_where_nothing_says_how_long_sequences_are(tmp_path: Path) -> None:
    file = tmp_path / "training_args.json"
    file.write_text(json.dumps(ARGUMENTS))
    result = check(file, gpu="A100-40GB", gpus=1, overrides={"model_name_or_path": "llama-3.2-1b"})
    assert [on.sequence_length for on in result.on_gpus] == [512, 1024, 2048, 4096, 8192]
    sizes = [on.process_bytes for on in result.on_gpus]
    assert sizes == sorted(sizes)
    assert result.plan is not None
    assert result.plan.request.sequence_length == 2048
    assert any("how long sequences are" in note for note in result.notes)
