"""Questions that people ask, and what somebody who has done it often would run: each answer fits one screen."""

from __future__ import annotations

import shlex
from typing import Any

import pytest
from click.testing import CliRunner

from planner.cli import main
from planner.report.fit.answer import LINES

QUESTIONS: dict[str, list[tuple[str, ...]]] = {
    # A usual effective batch without checkpointing where it fits, micro-batch 1 to 4; the largest batch beside it.
    "fit llama-7b --gpu A100-40GB": [("lora", "checkpointing none"), ("17x16x1=272", "1x64x1= 64")],
    # Most memory is free without checkpointing; not 2,432 sequences.
    "fit llama-3-8b --gpu H100 --gpus 8 --sequence-length 4096": [("lora", "checkpointing none", "full_shard")],
    # LoRA with FSDP and a fused loss is the plan, not a way out.
    "fit qwen2.5-14b --gpu RTX-3090 --gpus 4 --sequence-length 8192 --loss full --loss liger-fused-linear": [
        ("lora", "full_shard", "liger-fused-linear loss")
    ],
    "fit mistral-7b --gpu A100-80GB --sequence-length 32768 --attention flash-attention-2 --loss liger-fused-linear": [
        ("lora", "flash-attention-2", "liger-fused-linear loss")
    ],
    # MXFP4 dequantized, eager attention.
    "fit gpt-oss-20b --gpu H100": [("lora", "eager attention")],
    "fit qwen3-8b --gpu L4": [("qlora nf4",)],
    # Full fine-tuning in fp16, no checkpointing, a batch of 32 to 64.
    "fit bert-base-uncased --gpu T4": [("full", "fp16-mixed", "adamw", "checkpointing none"), ("32x 2x1=   64",)],
    # In-backward update or paged 8-bit Adam.
    "fit gemma-3-4b --gpu RTX-4090 --finetuning full --update all --optimizer all": [("full", "in-backward")],
    # Nothing that trades quality away first.
    "fit llama-3.1-8b --gpu A100-80GB --precision all --optimizer all --finetuning all --lora-rank '4..64 times 2'": [
        ("lora", "bf16-mixed", "adamw", "rank 8")
    ],
}
"""Commands, with what the plan to run says, and what else is on the screen."""


def answer(command: str, monkeypatch: pytest.MonkeyPatch, columns: int = 80) -> list[str]:
    monkeypatch.setenv("COLUMNS", str(columns))
    result = CliRunner().invoke(main, shlex.split(command))
    assert result.exit_code == 0, result.output
    return result.stdout.splitlines()


@pytest.mark.parametrize("command", QUESTIONS)
def test_the_plan_to_run_is_what_people_would_run(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = answer(command, monkeypatch)
    (start,) = [i for i, line in enumerate(lines) if line.startswith("  plan ")]
    end = next(i for i, line in enumerate(lines) if i > start and "█" in line)
    plan = " ".join(line.strip() for line in lines[start:end])
    of_plan, *of_screen = QUESTIONS[command]
    for words in of_plan:
        assert f" {words}" in f"{plan},".replace(":", ""), plan
    for words in (words for group in of_screen for words in group):
        assert words in "\n".join(lines)


@pytest.mark.parametrize("command", QUESTIONS)
def test_the_answer_fits_a_terminal_of_24_lines(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = answer(command, monkeypatch)
    assert len(lines) <= LINES == 23
    assert all(len(line) <= 80 for line in lines)


def test_the_plan_to_run_stands_last_with_the_command_that_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def last(command: str) -> list[str]:
        return answer(command, monkeypatch)[-2:]

    assert last("fit llama-7b --gpu A100-40GB --notes") == [
        "  planner fit llama-7b --gpu A100-40GB --json |",
        "    planner export - --to transformers --plan 11 -o run",
    ]
    many = last("fit llama-7b --gpu A100-40GB --gpus 8 --nodes 2")[-1].strip()
    assert many.startswith("planner export - --to slurm --with pytorch --plan ")
    other = last("fit llama-7b --gpu A100-40GB --gpus 8 --nodes 2 --framework trl --finetuning lora")[-1].strip()
    assert other.startswith("planner verify -")


@pytest.mark.parametrize("where", ["", " --gpus 8 --nodes 2"])
def test_the_command_that_goes_on_works(where: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.chdir(tmp_path)
    first, then = " ".join(answer(f"fit llama-7b --gpu A100-40GB{where}", monkeypatch)[-2:]).split("|")
    asked = CliRunner().invoke(main, shlex.split(first)[1:])
    made = CliRunner().invoke(main, shlex.split(then)[1:], input=asked.stdout)
    assert made.exit_code == 0, made.output
