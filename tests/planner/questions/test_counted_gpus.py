"""A number in front of a GPU's name, or behind it, is how many of them a node has."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from planner import RequestError, check, estimate, fit, fit_machines
from planner.cli import main


@pytest.mark.parametrize("name", ["2xT4", "2 x T4", "T4:2", "T4 x 2", "2x tesla t4"])
def test_a_number_and_a_name_are_what_the_option_says(name: str) -> None:
    counted, said = fit("gpt2", gpu=name), fit("gpt2", gpu="T4", gpus=2)
    assert counted.request == said.request
    assert (counted.request.gpu, counted.request.gpus) == ("T4", 2)
    assert counted.plans == said.plans
    assert estimate("gpt2", gpu=name, gpus=2).request.gpus == 2


def test_each_of_several_has_its_own_number() -> None:
    found = fit_machines("gpt2", gpu="2xT4,L4,4xL4", finetuning="lora")
    assert {(machine.gpus, machine.gpu) for machine in found.machines} == {(2, "T4"), (1, "L4"), (4, "L4")}
    of_all = fit_machines("gpt2", gpu="2xany", finetuning="lora")
    assert {machine.gpus for machine in of_all.machines} == {2}


@pytest.mark.parametrize("line", ["fit gpt2 --gpu 2xT4", "fit gpt2 --gpu 2xT4,L4", "explain gpt2 --gpu T4:2"])
def test_another_number_of_gpus_contradicts_it(line: str) -> None:
    refused = CliRunner().invoke(main, [*line.split(), "--gpus", "4"])
    assert refused.exit_code == 2
    assert "gpus is 4, but " in refused.stderr
    assert " says 2 of them" in refused.stderr


def test_a_machine_is_rented_as_a_whole() -> None:
    with pytest.raises(RequestError, match="rented as a whole"):
        fit("gpt2", gpu="2xp5.48xlarge")


def test_a_run_is_checked_on_as_many(tmp_path: Path) -> None:
    file = tmp_path / "sft.yaml"
    file.write_text("model_name_or_path: Qwen/Qwen2.5-0.5B\nmax_length: 512\n")
    counted, said = check(file, gpu="2xH100"), check(file, gpu="H100", gpus=2)
    assert counted.plan is not None
    assert counted.plan.request.gpus == 2
    assert counted == said


@pytest.mark.parametrize(
    ("line", "meant"),
    [
        ("fit gpt2 2xT4", "--gpu 2xT4"),
        ("fit gpt2 --gpu 2x RTX 3090", "--gpu '2x RTX 3090'"),
        ("fit gpt2 2x RTX 3090", "--gpu '2x RTX 3090'"),
    ],
)
def test_words_in_other_places_are_answered_by_the_command_that_is_meant(line: str, meant: str) -> None:
    assert f"hint: planner fit gpt2 {meant}" in CliRunner().invoke(main, line.split()).stderr
