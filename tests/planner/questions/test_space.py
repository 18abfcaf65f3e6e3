"""Search spaces as data, in Python and in files."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from hardware import Cluster, load_catalog
from planner import PlannerError, SearchSpace, SpaceFileError, fit
from planner.records.asked.described import described
from planner.report.documents import space_document
from planner.search.engine import TooManyStrategiesError
from strategies import ALL_LINEAR, Attention, Finetuning, Optimizer, Precision

ONE_GPU = Cluster(load_catalog().get("A100-40GB"))
FILE = """
# narrowed and widened
finetuning: [lora, full]
lora-rank: [8..16 step 4, 64]
lora_targets: [all-linear, "q_proj,v_proj"]
precision: all
"""


def written(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


def test_a_file_says_what_python_says(tmp_path: Path) -> None:
    space = SearchSpace(
        finetuning=["lora", "full"],
        lora_rank=[8, "12..16 step 4", 64],
        lora_targets=["all-linear", "q_proj,v_proj"],
        precision="all",
    )
    assert SearchSpace.read(written(tmp_path / "space.yaml", FILE)) == space
    assert space.finetuning == (Finetuning.LORA, Finetuning.FULL)
    assert space.lora_rank == (8, 12, 16, 64)
    assert space.lora_targets == (ALL_LINEAR, ("q_proj", "v_proj"))
    assert space.precision == tuple(Precision)


def test_a_space_is_searched_as_if_its_choices_were_arguments(tmp_path: Path) -> None:
    path = written(tmp_path / "space.yaml", FILE)
    choices: dict[str, Any] = {"finetuning": ["lora", "full"], "lora_rank": [8, 12, 16, 64], "precision": "all"}
    expected = fit("gpt2", gpu="T4", lora_targets=["all-linear", "c_attn"], **choices)
    found = fit("gpt2", gpu="T4", space=path, lora_targets=["all-linear", "c_attn"])
    assert found.request == expected.request
    assert found.plans == expected.plans
    assert found.searched.strategies == expected.searched.strategies


def test_what_an_argument_says_comes_before_the_space() -> None:
    space = SearchSpace(optimizer=["sgd", "adamw"], attention="eager")
    request = fit("gpt2", gpu="T4", space=space, optimizer="adafactor").request
    assert (request.optimizer, request.attention) == ((Optimizer.ADAFACTOR,), (Attention.EAGER,))


def test_all_problems_of_a_file_are_told_with_their_places(tmp_path: Path) -> None:
    text = "lora-rank: [4..2, 7, x]\nprecision: fp33\nfinetunig: lora\noptimizer:\nlora_rank: 4\n"
    with pytest.raises(SpaceFileError) as refused:
        SearchSpace.read(written(tmp_path / "bad.yaml", text))
    places = [problem.removeprefix(f"{tmp_path}/").split(": ")[:2] for problem in refused.value.problems]
    assert places == [
        ["bad.yaml:1:13", "lora-rank.0"],
        ["bad.yaml:1:22", "lora-rank.2"],
        ["bad.yaml:2:12", "precision"],
        ["bad.yaml:3:12", "finetunig"],
        ["bad.yaml:4:11", "optimizer"],
        ["bad.yaml:5:12", "lora_rank"],
    ]


@pytest.mark.parametrize("text", ["- lora", "lora", "{", "precision: {a: b}", "precision: 2024-01-01"])
def test_a_file_that_is_no_space_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(SpaceFileError):
        SearchSpace.read(written(tmp_path / "bad.yaml", text))


def test_an_unknown_option_of_a_space_is_refused_in_python() -> None:
    with pytest.raises((PlannerError, ValueError), match="precisions"):
        SearchSpace(precisions="fp32")  # type: ignore[call-arg]  # that is the mistake


def test_a_shown_space_given_back_is_the_same_space(tmp_path: Path) -> None:
    shown = described(written(tmp_path / "space.yaml", FILE), ONE_GPU, {"attention": "all"})
    again = described(written(tmp_path / "again.json", space_document(shown)), ONE_GPU, {})
    assert again.space == shown.space
    assert again.num_strategies == shown.num_strategies


def test_the_default_space_is_what_fit_searches() -> None:
    assert described(None, ONE_GPU, {}).num_strategies == fit("gpt2", gpu="A100-40GB").searched.strategies
    assert "precision" not in json.loads(space_document(described(None, ONE_GPU, {})))


EIGHT_GPUS = Cluster(load_catalog().get("H100"), 8)
RANGES: dict[str, Any] = {
    "checkpointing": "full",
    "checkpoint_every": "1..1024",
    "sharding": "full_shard",
    "reshard_size": "0..65536",
    "gradient_sync": "each",
}


def test_a_space_of_long_ranges_is_counted() -> None:
    shown = described(None, EIGHT_GPUS, RANGES)
    # Full fine-tuning has 3 precisions x 3 optimizers, LoRA one of each, QLoRA one of each with 2 quantizations x 2
    # dtypes of the rest: 14. Of 65,537 numbers of ranks, 0, 1, 2 and 4 can be, each with 1,024 numbers of blocks. Of
    # the 14, sharded parameters exclude 3 with Adafactor and 3 with 8-bit AdamW: 8 are left.
    assert shown.num_strategies == 8 * 4 * 1_024
    assert shown.rejected == Counter(
        {
            "parameters of 8 shards are resharded to a smaller number that divides 8": 14 * 65_533 * 1_024,
            "transformers' Adafactor does not run on parameters that FSDP2 has sharded": 3 * 4 * 1_024,
            "bitsandbytes' optimizers do not run on parameters that FSDP2 has sharded": 3 * 4 * 1_024,
        }
    )


def test_numbers_that_cannot_be_are_not_searched() -> None:
    asked = {**RANGES, "checkpoint_every": 2}
    found, shown = fit("gpt2", gpu="H100", gpus=8, **asked), described(None, EIGHT_GPUS, asked)
    assert found.searched.strategies == shown.num_strategies == 8 * 4
    assert found.rejected == shown.rejected


def test_a_space_that_is_too_large_to_decide_is_refused() -> None:
    with pytest.raises(TooManyStrategiesError) as refused:
        fit("gpt2", gpu="H100", gpus=8, **RANGES, optimizer=["adamw", "sgd"])
    assert str(refused.value) == (
        "65,536 strategies of this space can run here, and 65,536 would be decided one by one: the exhaustive engine "
        "does so with 25,000 at most\nhint: --engine optuna samples such a space; or narrow a range"
    )


def test_strategies_that_differ_in_a_growing_number_are_decided_together() -> None:
    found = fit("gpt2", gpu="T4", finetuning="lora", lora_rank="1..16384")
    assert found.searched.strategies == 2 * 16_384  # with checkpointing and without
