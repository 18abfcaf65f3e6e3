"""What a run's files say becomes a plan, or a reason why there is none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from hardware import PlannerError
from planner import CheckResult, check, estimate
from planner.cli import main

AXOLOTL = """\
base_model: meta-llama/Llama-3.2-1B
adapter: qlora
load_in_4bit: true
lora_r: 8
lora_target_linear: true
sequence_len: 1024
micro_batch_size: 2
bf16: auto
gradient_checkpointing: true
wandb_project:
learning_rate: 2e-4
no_such_key: 3
"""
CUT = "plugins: [axolotl.integrations.cut_cross_entropy.CutCrossEntropyPlugin]\n"
LLAMA_FACTORY = """\
model_name_or_path: Qwen/Qwen3-4B
stage: sft
finetuning_type: full
deepspeed: zero/ds_z3.json
cutoff_len: 1024
per_device_train_batch_size: 1
bf16: true
"""
ZERO3 = {
    "train_micro_batch_size_per_gpu": "auto",
    "gradient_accumulation_steps": "auto",
    "bf16": {"enabled": "auto"},
    "zero_optimization": {
        "stage": 3,
        "overlap_comm": False,
        "reduce_bucket_size": "auto",
        "stage3_prefetch_bucket_size": "auto",
        "stage3_param_persistence_threshold": "auto",
        "stage3_max_live_parameters": 1e9,
    },
}
TRL = "model_name_or_path: Qwen/Qwen2.5-0.5B\ndataset_name: stanfordnlp/imdb\nlearning_rate: 0.0001\n"
FSDP = """\
distributed_type: FSDP
mixed_precision: bf16
num_machines: 1
num_processes: 2
fsdp_config:
  fsdp_sharding_strategy: FULL_SHARD
  fsdp_offload_params: false
"""


def written(folder: Path, **files: str) -> list[str]:
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text)
    return [str(folder / f"{name}.yaml") for name in files]


def values(result: CheckResult) -> dict[str, Any]:
    return {word: setting.value for word, setting in result.reading.items()}


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["check", *arguments])


def test_a_reading_has_the_place_of_each_value_and_the_source_of_each_default(tmp_path: Path) -> None:
    (file,) = written(tmp_path, qlora=AXOLOTL)
    result = check(file, gpu="RTX-4090", gpus=1)
    reading = result.reading
    assert reading["quantization"].value == "nf4-double"
    assert reading["quantization"].place is not None
    assert (reading["quantization"].place.file, reading["quantization"].place.line) == (file, 3)
    assert (reading["precision"].value, reading["checkpointing"].value) == ("bf16-mixed", "full-reentrant")
    assert reading["gradient_accumulation_steps"].place is None
    assert "axolotl 0.19" in reading["gradient_accumulation_steps"].why
    assert [key.key for key in result.without_effect] == ["wandb_project", "learning_rate"]
    assert [(key.key, key.line) for key in result.not_understood] == [("no_such_key", 12)]
    assert CheckResult.model_validate_json(result.model_dump_json()) == result


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


def test_the_json_that_a_recipe_names_is_read_with_it(tmp_path: Path) -> None:
    (file,) = written(tmp_path, recipe=LLAMA_FACTORY)
    (tmp_path / "zero").mkdir()
    (tmp_path / "zero/ds_z3.json").write_text(json.dumps(ZERO3))
    result = check(file, gpu="H100", gpus=8)
    assert result.files == (file, str(tmp_path / "zero/ds_z3.json"))
    read = values(result)
    assert (read["sharding"], read["sharding_backend"], read["reduce_bucket"]) == ("full_shard", "deepspeed", 0)
    assert (read["sub_group_size"], read["overlap_comm"]) == (1_000_000_000, "no")
    assert result.reading["sub_group_size"].why.startswith("DeepSpeed 0.19")
    assert result.plan is not None


def test_a_json_that_is_not_here_is_named(tmp_path: Path) -> None:
    (file,) = written(tmp_path, recipe=LLAMA_FACTORY)
    result = check(file)
    assert result.plan is None
    assert result.refused[0].what == "zero/ds_z3.json is not here: give it as another FILE"


def test_numbers_of_a_json_that_are_not_those_of_the_recipe_are_refused(tmp_path: Path) -> None:
    (file,) = written(tmp_path, recipe=LLAMA_FACTORY)
    other = tmp_path / "ds_z3.json"
    other.write_text(json.dumps({**ZERO3, "train_micro_batch_size_per_gpu": 4}))
    (refusal,) = check([file, other]).refused
    assert refusal.what == "micro_batch_size is 4 here and 1 in the recipe"


def test_a_launcher_says_gpus_and_engine(tmp_path: Path) -> None:
    files = written(tmp_path, fsdp=FSDP, sft=TRL)
    result = check(files, gpu="A100-40GB")
    read = values(result)
    assert (read["gpus"], read["sharding"], read["sharding_backend"]) == (2, "full_shard", "fsdp1")
    assert (read["precision"], read["loss"], read["sequence_length"]) == ("bf16-mixed", "chunked", 1024)
    assert result.on_gpus == ()
    assert result.plan is not None
    assert result.plan.data_parallel_size == 2
    assert check(files, gpu="A100-40GB", gpus=4).plan.data_parallel_size == 4  # type: ignore[union-attr]


def test_several_numbers_of_gpus_are_tried_where_nothing_says_how_many(tmp_path: Path) -> None:
    (file,) = written(tmp_path, sft=TRL + "fsdp: full_shard\ndtype: bfloat16\n")
    result = check(file, gpu="A100-40GB")
    assert [on.gpus for on in result.on_gpus] == [2, 4, 8, 16, 32, 64]
    sizes = [on.process_bytes for on in result.on_gpus]
    assert sizes == sorted(sizes, reverse=True)
    assert (values(result)["sharding_backend"], values(result)["precision"]) == ("fsdp2", "bf16-mixed")


def test_without_a_gpu_the_smallest_are_named(tmp_path: Path) -> None:
    (file,) = written(tmp_path, qlora=AXOLOTL)
    result = check(file)
    sizes = [on.budget_bytes for on in result.smallest]
    assert len(sizes) == 3
    assert sizes == sorted(sizes)
    assert all(on.fits for on in result.smallest)


@pytest.mark.parametrize(
    ("recipe", "what"),
    [
        (AXOLOTL + "rl: dpo\n", "dpo"),
        (AXOLOTL + "tensor_parallel_size: 2\n", "tensor parallelism"),
        (AXOLOTL.replace("bf16: auto", "") + CUT, "cut cross-entropy without bf16 or fp16"),
        (AXOLOTL + "cut_cross_entropy: true\n", "cut_cross_entropy without its plugin"),
        (AXOLOTL.replace("base_model: meta-llama/Llama-3.2-1B", "base_model: nobody/knows-this"), "unknown model"),
        (AXOLOTL.replace("base_model: meta-llama/Llama-3.2-1B", "base_model: os:getcwd"), "names the code"),
        (AXOLOTL.replace("micro_batch_size: 2", "micro_batch_size: two"), "not a whole number"),
        (TRL + "use_vllm: true\n", "vLLM beside the trainer"),
        (TRL + "beta: 0.1\n", "a reference model beside the one that trains"),
        (TRL + "use_peft: true\n", "a frozen base in float32"),
        (TRL + "label_smoothing_factor: 0.1\n", "label smoothing"),
        (TRL + "use_everything: true\n", "would refuse: use_everything"),
        (LLAMA_FACTORY.replace("stage: sft", "stage: dpo"), "dpo"),
        (LLAMA_FACTORY + "use_unsloth: true\n", "Unsloth"),
        (FSDP, "no recipe"),
    ],
)
def test_what_has_no_word_is_refused_by_name_and_still_read(recipe: str, what: str, tmp_path: Path) -> None:
    (file,) = written(tmp_path, run=recipe)
    result = run(file, "--json")
    assert result.exit_code == 2
    answer = json.loads(result.stdout)
    assert answer["plan"] is None
    assert answer["reading"]
    assert any(what in remark["what"] for remark in answer["refused"])
    assert what in " ".join(run(file).stdout.split())


def test_exit_codes_say_whether_it_fits(tmp_path: Path) -> None:
    (file,) = written(tmp_path, full=AXOLOTL.replace("adapter: qlora\nload_in_4bit: true\n", ""))
    assert run(file, "--gpu", "H100", "--gpus", "1").exit_code == 0
    assert run(file, "--gpu", "H100", "--gpus", "1", "--", "micro_batch_size=1000").exit_code == 1
    assert run(file, "--", "micro_batch_size=1000").exit_code == 0
    assert run(file, "--gpu", "H100", "--", "no_such_key_at_all=1").exit_code == 2
    assert run(str(tmp_path / "absent.yaml")).exit_code == 2


def test_the_command_line_replaces_keys(tmp_path: Path) -> None:
    (file,) = written(tmp_path, qlora=AXOLOTL)
    result = check(file, gpu="H100", overrides=["micro_batch_size=3", "adapter=lora", "load_in_4bit=false"])
    assert result.reading["micro_batch_size"].value == 3
    assert result.reading["micro_batch_size"].place.line is None  # type: ignore[union-attr]
    assert result.reading["finetuning"].value == "lora"
    with pytest.raises(PlannerError, match="no file of this run has a key 'micro_batch_sise'"):
        check(file, overrides={"micro_batch_sise": 3})


def test_packed_rows_are_one_row_of_the_micro_batch(tmp_path: Path) -> None:
    (file,) = written(tmp_path, qlora=AXOLOTL + "sample_packing: true\nattn_implementation: flash_attention_2\n")
    result = check(file, gpu="H100", gpus=1)
    assert result.plan is not None
    assert (result.plan.micro_batch_size, result.plan.request.sequence_length) == (1, 2048)
    assert any("one row of 2,048" in note for note in result.notes)


def test_a_launcher_says_the_precision_where_the_recipe_does_not(tmp_path: Path) -> None:
    recipe = LLAMA_FACTORY.replace("bf16: true\n", "").replace("deepspeed: zero/ds_z3.json\n", "")
    files = written(tmp_path, fsdp=FSDP, recipe=recipe)
    setting = check(files).reading["precision"]
    assert setting.value == "bf16-mixed"
    assert setting.place is not None
    assert (setting.place.file, setting.place.key) == (files[0], "mixed_precision")


def test_bf16_auto_is_fp16_on_a_gpu_without_bf16(tmp_path: Path) -> None:
    (file,) = written(tmp_path, qlora=AXOLOTL)
    plan = check(file, gpu="T4", gpus=1).plan
    assert plan is not None
    assert (plan.strategy.precision, plan.strategy.unquantized_dtype) == ("fp16-mixed", "fp16")


def test_older_trl_is_recognized_by_its_keys(tmp_path: Path) -> None:
    (file,) = written(tmp_path, sft=TRL + "max_seq_length: 512\ntorch_dtype: bfloat16\nbf16: true\n")
    read = values(check(file, gpu="H100"))
    assert (read["sequence_length"], read["loss"], read["checkpointing"]) == (512, "full", "none")
    assert read["precision"] == "bf16-true"


def test_two_recipes_are_not_one_run(tmp_path: Path) -> None:
    with pytest.raises(PlannerError, match="both are a recipe of a run"):
        check(written(tmp_path, a=AXOLOTL, b=TRL))


@pytest.mark.parametrize("columns", ["80", "120"])
def test_the_report_fits_the_terminal_and_names_places(
    columns: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    (file,) = written(tmp_path, qlora=AXOLOTL)
    shown = run(file).stdout
    assert max(map(len, shown.splitlines())) <= int(columns)
    assert "read as axolotl 0.19" in shown
    words = " ".join(shown.split())
    assert "smallest GPUs that hold it" in words
    assert "not understood, 1 key: no_such_key" in words
    assert "qlora.yaml:3" in words


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


def test_an_argument_that_is_no_file_is_named() -> None:
    result = run("missing=x.yaml")
    assert result.exit_code == 2
    assert "'missing=x.yaml' is no file here, and is taken for KEY=VALUE" in result.stderr


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


def test_a_template_is_told_to_be_filled_in(tmp_path: Path) -> None:
    (file,) = written(tmp_path, sft=TRL + "max_length: {{ length }}\n")
    refused = run(file)
    assert refused.exit_code == 2
    assert "are of a template: fill it in first" in refused.stderr


def test_keys_of_a_json_that_a_recipe_names_are_replaced(tmp_path: Path) -> None:
    (file,) = written(tmp_path, recipe=LLAMA_FACTORY)
    (tmp_path / "zero").mkdir()
    (tmp_path / "zero/ds_z3.json").write_text(json.dumps(ZERO3))
    result = check(file, gpu="H100", gpus=8, overrides=["zero_optimization.stage=2"])
    assert result.reading["sharding"].value == "shard_grad_op"
