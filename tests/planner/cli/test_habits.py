"""Habits of the command line: several values with commas, names of training libraries, shell completion."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from planner.cli import main
from strategies import Attention, Optimizer, Precision, Quantization, Sharding


def asked(*arguments: str) -> dict[str, object]:
    result = CliRunner().invoke(main, ["fit", "gpt2", "--gpu", "A100-40GB", *arguments, "--json"])
    found: dict[str, object] = json.loads(result.stdout)["request"]
    return found


def test_several_values_stand_behind_one_option_or_behind_several() -> None:
    commas = asked("--precision", "bf16-mixed,fp32", "--finetuning", "lora", "--lora-rank", "4,8")
    repeated = asked(
        *("--precision", "bf16-mixed", "--precision", "fp32", "--finetuning", "lora"),
        *("--lora-rank", "4", "--lora-rank", "8"),
    )
    assert commas == repeated
    assert commas["lora_rank"] == [4, 8]


def test_commas_join_the_names_of_one_set_of_targets() -> None:
    assert asked("--finetuning", "lora", "--lora-targets", "c_attn,c_fc")["lora_targets"] == [["c_attn", "c_fc"]]


@pytest.mark.parametrize(
    ("axis", "text", "meant"),
    [
        (Precision, "bf16", Precision.BF16_MIXED),
        (Precision, "16-mixed", Precision.FP16_MIXED),
        (Optimizer, "adamw_torch_fused", Optimizer.ADAMW),
        (Optimizer, "adamw_bnb_8bit", Optimizer.ADAMW_8BIT),
        (Optimizer, "paged_adamw_8bit", Optimizer.PAGED_ADAMW_8BIT),
        (Quantization, "load_in_4bit", Quantization.NF4),
        (Quantization, "8bit", Quantization.INT8),
        (Attention, "flash_attention_2", Attention.FLASH_2),
        (Sharding, "FULL_SHARD", Sharding.FULL_SHARD),
    ],
)
def test_names_of_training_libraries_are_understood(axis: type[Precision], text: str, meant: Precision) -> None:
    assert axis.parse(text) is meant


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_printed_and_installed(shell: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("XDG_DATA_HOME", "ZDOTDIR", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(variable, str(tmp_path))
    printed = CliRunner().invoke(main, ["completion", shell])
    assert "_PLANNER_COMPLETE" in printed.stdout
    result = CliRunner().invoke(main, ["completion", shell, "--install"])
    assert result.exit_code == 0
    (written,) = (path for path in tmp_path.rglob("*") if path.is_file())
    assert written.read_text().strip() == printed.stdout.strip()


def test_the_name_of_a_cloud_lists_its_machines() -> None:
    listed = CliRunner().invoke(main, ["machines", "aws", "--json"])
    assert listed.exit_code == 0
    machines = json.loads(listed.stdout)["machines"]
    assert {machine["provider"] for machine in machines.values()} == {"AWS"}
    assert len(machines) > 1


@pytest.mark.parametrize(
    ("choice", "option"), [("dora", "lora-variant"), ("paged-adamw-8bit", "optimizer"), ("fsdp1", "sharding-backend")]
)
def test_a_choice_of_one_option_alone_explains_that_option(choice: str, option: str) -> None:
    shown = CliRunner().invoke(main, ["choices", choice]).stdout
    assert shown.startswith(f"--{option}\n")
    assert f"\n  {choice} " in shown


def test_a_choice_of_several_options_is_the_name_of_none() -> None:
    assert "unknown option 'none'" in CliRunner().invoke(main, ["choices", "none"]).stderr
