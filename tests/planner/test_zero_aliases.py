"""`zero2` or `fsdp1`, as users of DeepSpeed and FSDP say them: in Python, on the command line and in a space's file."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

import planner
from planner import PlannerError
from planner.cli import main
from planner.records.asked.axes import parse_axes
from strategies import Sharding, ShardingBackend

MEANT = {
    "zero2": {"sharding": (Sharding.SHARD_GRAD_OP,), "sharding_backend": (ShardingBackend.DEEPSPEED,)},
    "zero3": {"sharding": (Sharding.FULL_SHARD,), "sharding_backend": (ShardingBackend.DEEPSPEED,)},
    "fsdp1": {"sharding": (Sharding.FULL_SHARD,), "sharding_backend": (ShardingBackend.FSDP1,)},
    "fsdp2": {"sharding": (Sharding.FULL_SHARD,), "sharding_backend": (ShardingBackend.FSDP2,)},
}
ON_EIGHT = ["--gpu", "A100-80GB", "--gpus", "8"]


@pytest.mark.parametrize("name", MEANT)
def test_an_alias_says_sharding_and_backend(name: str) -> None:
    assert parse_axes({"sharding": name}) == MEANT[name]
    (backend,) = MEANT[name]["sharding_backend"]
    assert parse_axes({"sharding": (name,), "sharding_backend": str(backend)}) == MEANT[name]


def test_an_alias_stands_alone_and_beside_no_other_backend() -> None:
    with pytest.raises(PlannerError, match="zero3 sets the backend of all values"):
        parse_axes({"sharding": ("zero3", "no_shard")})
    with pytest.raises(PlannerError, match="zero2 is deepspeed's, and sharding_backend is 'fsdp2'"):
        parse_axes({"sharding": "zero2", "sharding_backend": ("fsdp2",)})


def test_a_mistyped_alias_is_told_the_right_one() -> None:
    with pytest.raises(PlannerError) as caught:
        parse_axes({"sharding": "zero-3"})
    assert caught.value.hint.startswith("did you mean zero3?")
    with pytest.raises(PlannerError) as caught:
        parse_axes({"sharding": "fsdp"})
    assert caught.value.hint.startswith("did you mean fsdp2 or fsdp1?")


def test_python_takes_them() -> None:
    plan = planner.estimate("llama-2-7b", gpu="A100-80GB", gpus=8, sharding="zero3", micro_batch_size=1)
    assert (plan.strategy.sharding, plan.strategy.sharding_backend) == ("full_shard", "deepspeed")


@pytest.mark.parametrize("command", ["fit", "estimate"])
def test_the_command_line_takes_them(command: str) -> None:
    size = ["--micro-batch-size", "1"] if command == "estimate" else ["--top", "1"]
    result = CliRunner().invoke(main, [command, "llama-2-7b", *ON_EIGHT, "--sharding", "zero3", *size])
    assert result.exit_code == 0
    assert "full_shard by" in result.output


def test_help_says_what_they_mean() -> None:
    output = " ".join(CliRunner().invoke(main, ["fit", "--help"]).output.split())
    assert "zero3: full_shard by deepspeed" in output


def test_a_file_of_a_space_takes_them(tmp_path: Path) -> None:
    file = tmp_path / "space.yaml"
    file.write_text("sharding: zero2\nfinetuning: [full]\n")
    result = planner.fit("llama-2-7b", gpu="A100-80GB", gpus=8, space=file, top=1)
    assert result.plans[0].strategy.sharding_backend == "deepspeed"
    file.write_text("sharding: [zero2, no_shard]\n")
    with pytest.raises(PlannerError, match="zero2 sets the backend of all values"):
        planner.fit("llama-2-7b", gpu="A100-80GB", gpus=8, space=file)
