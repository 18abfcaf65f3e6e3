"""What --json prints."""

from __future__ import annotations

import json
from collections.abc import Callable

import jsonschema
import pytest
from click.testing import CliRunner
from pydantic import BaseModel

import planner
from planner.cli import main
from planner.cli.output import print_record
from planner.records.explanation import Explanation
from planner.records.result import EstimateResult, FitResult
from planner.records.verification import Verification

RESULTS = {"fit": FitResult, "estimate": EstimateResult, "explain": Explanation, "verify": Verification}
ANSWERS = (
    "fit tinyllama-1.1b --gpu A100-40GB",
    "fit llama-2-7b --gpu A100-40GB --gpus 8 --finetuning lora --lora-targets q_proj,v_proj --top 2",
    "fit llama-2-70b --gpu T4",
    "estimate llama-2-7b --gpu A100-40GB",
    "estimate llama-2-7b --gpu H100 --gpus 8 --sharding full_shard --finetuning lora --micro-batch-size 4",
    "explain llama-2-7b --gpu A100-40GB --finetuning lora --micro-batch-size 4",
    pytest.param("verify pythia-70m --gpu L4 --precision bf16-true --sequence-length 128", marks=pytest.mark.slow),
)


def stdout(line: str) -> str:
    return CliRunner().invoke(main, line.split()).stdout


@pytest.mark.parametrize("line", ANSWERS)
def test_an_answer_is_valid_under_the_printed_schema(line: str) -> None:
    schema = json.loads(stdout(f"schema {line.split()[0]}"))
    jsonschema.Draft202012Validator.check_schema(schema)
    document = json.loads(stdout(f"{line} --json"))
    assert document["schema_version"] == 1
    jsonschema.validate(document, schema)


@pytest.mark.parametrize("line", ANSWERS)
def test_an_answer_reads_back_as_itself(line: str) -> None:
    text = stdout(f"{line} --json")
    assert RESULTS[line.split()[0]].model_validate_json(text).model_dump_json(indent=2) + "\n" == text


LISTS = ["gpus", "gpus show T4", "gpus --catalog {} show T4", "models", "models show 7B", "choices", "choices sharding"]


@pytest.mark.parametrize("line", LISTS)
def test_lists_and_entries_are_one_document_too(line: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    catalog = tmp_path_factory.mktemp("catalog") / "empty.yaml"
    catalog.write_text("gpus: {}\n")
    line = line.format(catalog)
    document = json.loads(stdout(f"{line} --json"))
    assert document["schema_version"] == 1


def test_json_given_before_the_subcommand_counts() -> None:
    assert stdout("gpus --json show T4") == stdout("gpus show T4 --json")
    assert stdout("models --json show gpt2") == stdout("models show gpt2 --json")


def test_forced_colours_leave_json_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    for line in (ANSWERS[0], "gpus", "models"):
        assert "\x1b" not in stdout(f"{line} --json")
        assert "\x1b" in stdout(line)
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[3" not in stdout(ANSWERS[0])


def test_top_bounds_the_list_of_plans() -> None:
    assert len(json.loads(stdout(f"{ANSWERS[0]} --top 3 --json"))["plans"]) == 3


@pytest.mark.parametrize(
    "ask",
    [
        lambda: planner.fit("llama-3-8b", gpu="A100-40GB", gpus=2, tokens=10**9, price=2.0, pareto=True),
        lambda: planner.fit("llama-2-70b", gpu="T4", why_not="optimizer=sgd"),
        lambda: planner.fit_machines("gpt2", gpu=["T4", "H100"]),
        lambda: planner.estimate("llama-2-70b", gpu="A100-40GB", gpus=8, sharding="full_shard", offload="cpu"),
        lambda: planner.explain("gpt2", gpu="T4", finetuning="lora"),
        lambda: planner.compare(planner.fit("gpt2", gpu="T4"), planner.estimate("gpt2", gpu="L4")),
        lambda: planner.sweep(["gpt2"], gpu=["T4", "L4"]),
    ],
    ids=["fit", "fit nothing", "machines", "estimate", "explain", "compare", "sweep"],
)
def test_a_document_is_what_pydantic_would_write(
    ask: Callable[[], BaseModel], capsys: pytest.CaptureFixture[str]
) -> None:
    result = ask()
    print_record(result)
    assert capsys.readouterr().out == result.model_dump_json(indent=2) + "\n"
