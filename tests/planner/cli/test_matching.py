"""Words of which `planner gpus`, `planner machines` and `planner models` list what they are a part of."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner, Result

from hardware import load_catalog
from planner.cli import main
from planner.models import registry_models, replayed_models


def run(line: str) -> Result:
    return CliRunner().invoke(main, line.split(), env={"COLUMNS": "200"})


def listed(line: str) -> list[str]:
    """Returns the names that a command lists, or the name of the one that it shows."""
    document = json.loads(run(f"{line} --json").stdout)
    kind = next(iter(document.keys() - {"schema_version"}))
    return [entry if isinstance(entry, str) else entry["name"] for entry in document[kind]]


def test_a_word_lists_the_gpus_whose_names_hold_it() -> None:
    names = [gpu.name for gpu in load_catalog().gpus]
    assert listed("gpus a100") == [name for name in names if name.startswith("A100")]
    assert listed("gpus rtx") == [name for name in names if "RTX" in name]
    assert listed("gpus show rtx") == listed("gpus rtx")


def test_a_vendor_or_an_architecture_is_such_a_word_too() -> None:
    gpus = load_catalog().gpus
    assert listed("gpus amd") == [gpu.name for gpu in gpus if gpu.vendor == "amd"]
    assert listed("gpus hopper") == [gpu.name for gpu in gpus if gpu.architecture == "hopper"]


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("gpus A100-80GB-SXM", "A100-80GB-SXM"),
        ("gpus t4", "T4"),  # also a part of other names' numbers, such as T400
        ("gpus l4", "L4"),
        ("gpus 1080", "GTX-1080-Ti"),  # of one name only
        ("gpus a100 40gb pcie", "A100-40GB-PCIe"),
        ("gpus show A100", "A100-80GB-SXM"),  # as --gpu takes it
        ("machines p4d.24xlarge", "p4d.24xlarge"),
    ],
)
def test_the_name_of_one_shows_that_one(line: str, name: str) -> None:
    assert listed(line) == [name]
    assert run(line).stdout.splitlines()[0] == name


def test_what_an_alias_means_alone_stands_below_the_list() -> None:
    assert run("gpus a100").stdout.splitlines()[-1] == "  a100 alone means A100-80GB-SXM: planner gpus show a100"
    assert "alone" not in run("gpus rtx").stdout  # which is no GPU's name
    assert run("models 7B").stdout.splitlines()[-1].startswith("  7B alone means a stand-in of that size")


def test_machines_are_listed_by_cloud_and_by_gpu() -> None:
    machines = load_catalog().machines
    assert listed("machines aws") == [machine.name for machine in machines if machine.provider == "AWS"]
    with_h200 = [machine.name for machine in machines if machine.gpu.startswith("H200")]
    assert listed("machines h200") == with_h200


def test_models_are_listed_by_a_part_of_their_names() -> None:
    names = [entry.name for entry in (*registry_models(), *replayed_models())]
    assert listed("models mixtral") == [name for name in names if "mixtral" in name]
    assert {"llama-2-7b", "codellama-7b", "tinyllama-1.1b"} <= set(listed("models llama"))
    assert listed("models show llama") == listed("models llama")
    assert listed("models mistral-7b")[0] == "mistral-7b-v0.1"


def test_a_number_is_not_a_part_of_a_longer_one() -> None:
    sizes = listed("models 7b")
    assert "llama-2-7b" in sizes
    assert not {"qwen3-1.7b", "qwen3.5-27b"} & set(sizes)


@pytest.mark.parametrize("name", ["qwen3-8b", "gpt2", "meta-llama/Llama-2-7b-hf", "tinyllama"])
def test_the_name_of_one_model_shows_that_one(name: str) -> None:
    assert "model_type" in json.loads(run(f"models {name} --json").stdout)["config"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("gpus zzz", "unknown GPU 'zzz'"),
        ("gpus m", "unknown GPU 'm'"),  # a letter is in most names
        ("gpus 8xA100", "unknown GPU '8xA100': the number of GPUs is an option of its own"),
        ("machines zzz", "unknown machine 'zzz'"),
        ("models zzz", "unknown model 'zzz'"),
    ],
)
def test_a_word_of_no_name_is_refused(line: str, message: str) -> None:
    ended = run(line)
    assert (ended.exit_code, ended.stderr.splitlines()[0]) == (2, f"error: {message}")
