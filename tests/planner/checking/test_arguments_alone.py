"""A launcher's or DeepSpeed's file whose recipe stands on the command line alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from planner import PlannerError, check
from planner.cli import main
from planner.readers.documents.overrides import overrides_of

ZERO3 = {"zero_optimization": {"stage": 3}, "bf16": {"enabled": True}}
MODEL = "meta-llama/Meta-Llama-3-8B"


@pytest.fixture
def zero3(tmp_path: Path) -> str:
    file = tmp_path / "ds.json"
    file.write_text(json.dumps(ZERO3))
    return str(file)


def test_flags_and_pairs_say_the_same(zero3: str) -> None:
    flags = ["--model_name_or_path", MODEL, "--per-device-train-batch-size=2", "--bf16", "--learning_rate", "-1"]
    pairs = [f"model_name_or_path={MODEL}", "per_device_train_batch_size=2", "bf16=true", "learning_rate=-1"]
    assert overrides_of(flags) == pairs
    asked = ["check", zero3, "--gpu", "A100-80GB", "--gpus", "4", "--json", "--"]
    first, second = (CliRunner().invoke(main, [*asked, *words]) for words in (flags, pairs))
    assert (first.exit_code, first.stdout) == (0, second.stdout)
    plan = json.loads(first.stdout)["plan"]
    assert (plan["micro_batch_size"], plan["strategy"]["sharding_backend"]) == (2, "deepspeed")


def test_the_model_makes_a_recipe_and_a_mistake_in_a_key_is_told(zero3: str) -> None:
    assert "none names a model" in check(zero3).refused[0].what
    small = {"per_device_train_batch_size": 1, "gradient_checkpointing": True}
    found = check(zero3, gpu="A100-80GB", gpus=4, overrides={"model_name_or_path": MODEL, **small})
    assert found.fits
    assert found.reading["model"].place.file == "command line"
    with pytest.raises(PlannerError, match="no file of this run has a key 'per_device_batch'"):
        check(zero3, overrides={"model_name_or_path": MODEL, "per_device_batch": 4})


def test_arguments_that_many_programs_take_are_trainers(zero3: str) -> None:
    said = {"model_name_or_path": MODEL, "bf16": True}
    plain, own = (check(zero3, overrides={**said, **more}) for more in ({}, {"use_peft": True}))
    assert (plain.framework, plain.reading["loss"].value) == ("transformers 5.24", "full")
    assert (own.framework, own.reading["loss"].value) == ("TRL 1.16", "chunked")


SCRIPT = f"torchrun --nproc_per_node 2 train.py --model_name_or_path {MODEL}"
EARLIER = "--bf16 True --gradient_checkpointing True --evaluation_strategy no --per_device_train_batch_size 1"


def test_arguments_that_transformers_5_has_no_more_are_read_as_4_reads_them(tmp_path: Path) -> None:
    """Scripts of 2023, as github.com/icip-cas/ChatAlpaca, script/train_hf.sh: fp32 weights, FSDP1, reentrant."""
    fsdp = '--fsdp "full_shard auto_wrap" --fsdp_transformer_layer_cls_to_wrap Qwen2DecoderLayer'
    for more, precision, backend in (("", "bf16-mixed", None), (fsdp, "bf16-mixed", "fsdp1")):
        (tmp_path / "run.sh").write_text(
            f"torchrun --nproc_per_node 2 train.py --model_name_or_path {MODEL} {EARLIER} {more}\n"
        )
        found = check(tmp_path / "run.sh", gpu="A100-80GB", changes=False)
        said = {word: setting.value for word, setting in found.reading.items()}
        assert (found.framework, said["precision"], said["checkpointing"]) == (
            "transformers 4",
            precision,
            "full-reentrant",
        )
        assert said.get("sharding_backend") == backend
    now = EARLIER.replace("evaluation_strategy", "eval_strategy")
    (tmp_path / "run.sh").write_text(f"{SCRIPT} {now}\n")
    found = check(tmp_path / "run.sh", gpu="A100-80GB", changes=False)
    assert (found.framework, found.reading["precision"].value) == ("transformers 5.24", "bf16-true")


def test_fsdp_config_may_be_the_path_of_a_json(tmp_path: Path) -> None:
    """transformers takes it as such (training_args.py), and github.com/simplescaling/s1, train/sft.sh, has it so."""
    (tmp_path / "fsdp.json").write_text('{"fsdp_version": 1, "activation_checkpointing": true}')
    script = (
        f'torchrun --nproc_per_node 2 train.py --model_name_or_path {MODEL} --bf16 True --fsdp "full_shard auto_wrap"'
    )
    (tmp_path / "run.sh").write_text(f"{script} --fsdp_config fsdp.json --max_steps 9\n")
    found = check(tmp_path / "run.sh", gpu="A100-80GB", changes=False)
    assert not found.refused
    assert found.reading["checkpointing"].value == "full"
    assert found.reading["checkpointing"].place is not None
    assert found.reading["checkpointing"].place.file.endswith("fsdp.json")
    assert found.reading["sharding_backend"].value == "fsdp1"
    (tmp_path / "run.sh").write_text(f"{script} --fsdp_config other.json --max_steps 9\n")
    found = check(tmp_path / "run.sh", gpu="A100-80GB", changes=False)
    assert [remark.what for remark in found.refused] == [
        "other.json is not here, which says how FSDP divides the model"
    ]


def test_a_users_script_may_call_the_model_otherwise(tmp_path: Path) -> None:
    (tmp_path / "run.sh").write_text("torchrun --nproc_per_node 1 x.py --model_path Qwen/Qwen2.5-0.5B --max_steps 9\n")
    assert check(tmp_path / "run.sh", changes=False).reading["model"].value == "Qwen/Qwen2.5-0.5B"
