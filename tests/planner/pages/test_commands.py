"""The commands of a page plan what the page shows, and say nothing that would be filled in anyway."""

from __future__ import annotations

import html
import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from planner import Plan, fit, report_page
from planner.cli import main
from planner.pages.subjects import sheet_of

CASES: tuple[dict[str, Any], ...] = (
    {"model": "llama-2-7b", "gpu": "A100-40GB"},
    {"model": "llama-3-8b", "gpu": "H100", "gpus": 4, "nodes": 2, "sequence_length": 4096, "headroom": 0.1},
    {"model": "qwen2.5-1.5b", "gpu": "T4", "gpus": 4, "sharding_backend": "deepspeed", "host_memory": "200GB"},
    {"model": "bert-base-uncased", "gpu": "T4", "task": "masked-lm"},
    {"model": "llama-2-7b", "gpu": "A100-40GB", "lora_targets": "q_proj,v_proj", "lora_rank": 8, "outputs": "kept"},
    {"model": "gpt2", "gpu": "A10G", "framework": "trl", "evaluation_batch_size": 4},
    {"model": "pythia-70m", "gpu": "T4", "batching": "padded", "mean_length": 100},
    {"model": "t5-small", "gpu": "T4", "sequence_length": 384, "target_length": 64},
    {"model": "pythia-70m", "gpu": "T4", "optimizer": ("sgd", "adafactor"), "update": "in-backward"},
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['model']} on {case['gpu']}")
def test_a_command_plans_what_is_shown(case: dict[str, Any]) -> None:
    result = fit(**case, top=3)
    assert result.plans
    for plan in result.listed:
        alone = result.model_copy(update={"plans": (plan,), "best_by_method": (), "usual": ()})
        (subject,) = sheet_of([alone], None).subjects
        assert subject.spelled is not None
        run = CliRunner().invoke(main, ["estimate", *shlex.split(subject.spelled), "--json"])
        assert run.exit_code == 0, run.output
        again = json.loads(run.stdout)
        said = Plan.model_validate({name: again[name] for name in Plan.model_fields})
        others = {"memory": plan.memory, "usd_per_million_tokens": plan.usd_per_million_tokens}  # a search has prices
        assert said.model_copy(update=others) == plan
        assert said.memory.process_bytes == plan.memory.process_bytes


def test_a_command_leaves_out_what_is_filled_in() -> None:
    result = fit("llama-2-7b", gpu="A100-40GB", finetuning="lora", checkpointing="none")
    subject = sheet_of([result], None).subjects[0]
    assert subject.spelled == (
        "llama-2-7b --gpu A100-40GB-SXM --micro-batch-size 1 --gradient-accumulation-steps 64 --finetuning lora"
    )


def test_every_command_of_a_page_runs(tmp_path: Path) -> None:
    page = report_page(fit("pythia-70m", gpu="T4", finetuning=["lora", "full"]))
    lines = [html.unescape(re.sub("<[^>]*>", "", line)) for line in re.findall("<code>(.*?)</code>", page)]
    estimates = {line for line in lines if line.startswith("planner estimate") and "|" not in line}
    exports = [line.split(" | ") for line in lines if "|" in line]
    assert len(estimates) == len(exports) >= 2
    for number, (asks, then) in enumerate(exports):
        assert asks.removesuffix(" --json") in estimates
        printed = CliRunner().invoke(main, shlex.split(asks)[1:])
        command = then.replace("-o run", f"-o {tmp_path / str(number)}")
        run = CliRunner().invoke(main, shlex.split(command)[1:], input=printed.stdout)
        assert (printed.exit_code, run.exit_code) == (0, 0), run.output
