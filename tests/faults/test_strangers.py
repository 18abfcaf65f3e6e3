"""Files, paths and values that somebody made to hurt: each ends soon, in an answer or a clear error."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from planner import PlannerError, estimate, fit
from planner.cli import main

SECONDS = 60


def planner(folder: Path, *arguments: str, shell: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    """The command in a folder; `shell`: what follows it on a shell's line."""
    command: Any = [sys.executable, "-m", "planner", *arguments]
    if shell:
        command = ["bash", "-c", f'"$0" "$@" {shell}', *command]
    return subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), **environment},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


def estimated(folder: Path, config: dict[str, Any]) -> str:
    """The error of a config.json that transformers would have to build."""
    (folder / "config.json").write_text(json.dumps(config))
    result = CliRunner().invoke(main, ["estimate", str(folder / "config.json"), "--gpu", "T4", "--precision", "fp32"])
    assert result.exit_code == 2, result.output
    assert result.stderr.isprintable() or "\x1b" not in result.stderr
    return result.stderr


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"model_type": "timm_wrapper", "model_args": {"checkpoint_path": "evil.pth"}}, "that timm builds"),
        ({"model_type": "detr", "use_timm_backbone": True, "backbone": "evil"}, "that timm builds"),
        ({"model_type": "videomae", "num_frames": 2**30}, "num_frames is 1073741824"),
        (
            {"model_type": "gpt_neo", "attention_types": [[["global"], 10**9]]},
            "attention_types is [['global'], 1000000000]",
        ),
        ({"model_type": "swin", "depths": [400] * 900}, "depths is [400, 400"),
        ({"model_type": "electra", "num_hidden_layers": 10**6}, "num_hidden_layers is 1000000"),
        ({"model_type": "electra", "num_labels": 10**9}, "num_labels is 1000000000"),
        ({"model_type": "electra", "sub_configs": "\x1b]0;title\x07"}, "configuration of electra failed"),
        ({"model_type": "nothing-of-that-name"}, "transformers has no model_type"),
    ],
)
def test_a_configuration_is_refused_before_it_is_built(tmp_path: Path, config: dict[str, Any], message: str) -> None:
    assert message in estimated(tmp_path, config)


@pytest.mark.parametrize("path", ["/dev/fd/1", "/dev/stdout", "/proc/self/fd/1"])
@pytest.mark.parametrize("arguments", [("estimate", "PATH", "--gpu", "T4"), ("gpus", "--catalog", "PATH")])
def test_the_own_output_is_no_file_to_read(tmp_path: Path, path: str, arguments: tuple[str, ...]) -> None:
    done = planner(tmp_path, *(path if word == "PATH" else word for word in arguments), shell="| cat")
    assert "is a pipe, not a file" in done.stderr


@pytest.mark.parametrize(
    "content",
    [
        "lora_rank: [&a 1..16384" + ", *a" * 40_000 + "]",
        "optimizer: [&a adamv" + ", *a" * 40_000 + "]",
        "lora_rank: [" + ", ".join(f"{i}..16384" for i in range(1, 2000)) + "]",
    ],
)
def test_values_that_are_repeated_are_not_counted_again(tmp_path: Path, content: str) -> None:
    (tmp_path / "space.yaml").write_text(content)
    done = planner(tmp_path, "space", "show", "space.yaml", "--gpu", "T4")
    assert done.returncode in (0, 2)
    assert len(done.stderr) < 20_000


def test_more_ranks_than_can_be_pretended_are_refused() -> None:
    asked = ["verify", "gpt2", "--gpu", "H100", "--gpus", "1024", "--nodes", "65536", "--sequence-length", "16"]
    result = CliRunner().invoke(main, asked)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "67108864 ranks are more than a replay pretends" in result.stderr


def test_settings_of_matplotlib_in_the_working_directory_start_nothing(tmp_path: Path) -> None:
    latex = tmp_path / "bin" / "latex"
    latex.parent.mkdir()
    latex.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    latex.chmod(0o755)
    (tmp_path / "matplotlibrc").write_text("text.usetex: True\nbackend: evil\n")
    asked = ("verify", "pythia-70m", "--gpu", "T4", "--precision", "fp16-mixed", "--sequence-length", "16")
    path = f"{latex.parent}:{os.environ['PATH']}"
    done = planner(tmp_path, *asked, "--timeline", "step.png", PATH=path, MPLBACKEND="evil")
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "step.png").read_bytes().startswith(b"\x89PNG")
    assert not (tmp_path / "ran").exists()


def test_a_working_directory_that_is_gone_is_no_internal_error(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    done = planner(tmp_path, "gpus", shell="", PLANNER_CATALOG="")
    assert done.returncode == 0
    python = sys.executable
    for asked in ("verify gpt2 --gpu T4 --timeline t.html", "estimate evil:build --gpu T4"):
        line = f"cd {gone} && rmdir {gone} && {python} -m planner {asked}; mkdir -p {gone}"
        done = subprocess.run(
            ["bash", "-c", line],
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
            capture_output=True,
            text=True,
            check=False,
        )
        assert "Traceback" not in done.stderr
        assert "internal error" not in done.stderr


def test_completion_without_a_shell_is_no_traceback(tmp_path: Path) -> None:
    done = planner(tmp_path, "gpus", _PLANNER_COMPLETE="bash_complete")
    assert (done.returncode, done.stderr) == (2, "")


def test_arrays_of_no_dimension_are_the_number_that_they_hold() -> None:
    plain = estimate("gpt2", gpu="T4", finetuning="lora", lora_rank=4)
    assert estimate("gpt2", gpu="T4", finetuning="lora", lora_rank=np.array(4)) == plain
    assert fit("gpt2", gpu="T4", micro_batch_size=np.array(4)).plans[0].micro_batch_size == 4


def test_a_time_that_is_over_at_once_is_said() -> None:
    with pytest.raises(PlannerError, match="no trial was completed in time"):
        fit("gpt2", gpu="T4", engine="optuna", timeout=1e-300)
