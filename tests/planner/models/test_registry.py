"""Every name of an entry finds the model that the registry's files say, and no other."""

import re
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pytest
import yaml

from hardware.errors import PlannerError, normalized
from planner.models import (
    Foreign,
    Model,
    find_model,
    recognize,
    registry,
    registry_models,
    replayed_models,
    sized_model,
    supported_model_types,
)
from planner.report.catalog.models import DEPTHS, POSITIONS, WIDTHS

ENTRIES = {entry.name: entry for entry in (*registry_models(), *replayed_models())}
NAMES = [entry.name for entry in registry_models()]
REPLAYED = [entry.name for entry in replayed_models()]


M = TypeVar("M", Model, Foreign)


def under(model: M, repository: str) -> M:
    """The model as an id finds it that has its shape and other weights."""
    return model if repository == model.hf else replace(model, name=repository, hf=repository)


def test_the_entries_are_those_of_the_files() -> None:
    files = sorted(Path(registry.__file__).with_name("registry").glob("*.yaml"))
    full = [item for file in files for item in yaml.safe_load(file.read_text()).items()]
    optional = {"aliases": (), "text_of": (), "note": None, "num_parameters": None}
    found = {
        entry.name: {**{name: getattr(entry, name) for name in ("hf", *optional)}, "config": entry.fields}
        for entry in ENTRIES.values()
    }
    assert len(full) == len(found)
    for name, entry in full:
        lists = {key: tuple(value) for key, value in entry.items() if isinstance(value, list)}
        assert found[name] == {**optional, **entry, **lists}


def test_no_two_models_share_a_name() -> None:
    names = [name for entry in ENTRIES.values() for name in {normalized(name) for name in entry.names}]
    assert sorted(names) == sorted(set(names))


def test_no_two_models_share_an_id_without_its_organization() -> None:
    bare = [
        name
        for entry in ENTRIES.values()
        for name in {normalized(name.rpartition("/")[2]) for name in entry.names if "/" in name}
    ]
    assert sorted(bare) == sorted(set(bare))


def test_no_name_reads_as_a_size_or_a_path() -> None:
    names = [name for entry in ENTRIES.values() for name in entry.names]
    names += [name.rpartition("/")[2] for name in names]
    assert not [name for name in names if re.fullmatch(registry._SIZE, name) or registry._spelled_as_path(name)]


@pytest.mark.parametrize("name", NAMES)
def test_every_name_of_an_entry_finds_a_model_that_states_all_of_its_fields(name: str) -> None:
    entry, model = ENTRIES[name], find_model(name)
    assert (model.name, model.hf, model.aliases, model.approximate) == (*entry[:3], False)
    assert model.notes == (*entry.notes, *model.architecture.notes)
    assert all(find_model(other) == under(model, entry.repository(other)) for other in entry.names)
    assert "tie_word_embeddings" in model.architecture.model_fields_set
    assert find_model(model.name) == model


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("llama-7b", "llama-2-7b"),
        (" Llama_2 7B ", "llama-2-7b"),
        ("meta-llama/llama-2-7B-hf", "llama-2-7b"),
        ("Llama-3.1-8B-Instruct", "meta-llama/Llama-3.1-8B-Instruct"),
        ("gemma-3-4b-it", "google/gemma-3-4b-it"),
        ("huggyllama/llama-7b", "llama-1-7b"),
        ("GPT2", "gpt2"),
        ("gpt-2", "gpt2"),
    ],
)
def test_case_dashes_and_underscores_do_not_count(text: str, name: str) -> None:
    assert find_model(text).name == name


@pytest.mark.parametrize(
    ("name", "repository"),
    [
        ("Qwen/Qwen2.5-Coder-7B-Instruct", "Qwen/Qwen2.5-Coder-7B-Instruct"),
        ("qwen2.5-coder-7b-instruct", "Qwen/Qwen2.5-Coder-7B-Instruct"),
        ("qwen2.5-coder-7b", "Qwen/Qwen2.5-Coder-7B"),
        ("mistral-small-3.2", "mistralai/Mistral-Small-3.2-24B-Instruct-2506"),
        ("deepseek-r1", "deepseek-ai/DeepSeek-R1"),
        ("llama3.1-8b", "meta-llama/Llama-3.1-8B"),
        ("llama-7b", "meta-llama/Llama-2-7b-hf"),
    ],
)
def test_a_name_means_the_weights_of_its_own_repository_and_not_those_of_another_of_its_shape(
    name: str, repository: str
) -> None:
    model = find_model(name)
    assert model.hf == repository
    assert find_model(model.name) == model


def test_a_model_that_a_mirror_publishes_again_is_found_under_its_own_name() -> None:
    model = recognize("unsloth/Llama-3.2-3B-Instruct")
    assert (model.name, model.hf) == ("meta-llama/Llama-3.2-3B-Instruct",) * 2
    assert model.notes == (
        "unsloth/Llama-3.2-3B-Instruct is taken for meta-llama/Llama-3.2-3B-Instruct, whose name it has",
    )


@pytest.mark.parametrize(
    "name", ["unsloth/Qwen3-8B-unsloth-bnb-4bit", "unsloth/qwen3-8b-bnb-4bit", "Qwen3-8B-BNB-4bit"]
)
def test_a_model_stored_in_4_bits_says_which_method_trains_over_them(name: str) -> None:
    model = recognize(name)
    assert model.hf == "Qwen/Qwen3-8B"
    said = f"{name} is Qwen/Qwen3-8B stored in NF4, which qlora trains over; other methods take that itself"
    assert model.notes == (said,)


@pytest.mark.parametrize(("name", "fused"), [("gpt-oss-20b-unsloth-bnb-4bit", True), ("Qwen3-30B-A3B-bnb-4bit", False)])
def test_experts_in_4_bits_that_were_never_linear_layers_are_told_to_be_planned_in_16(name: str, fused: bool) -> None:
    note = find_model(f"unsloth/{name}").notes[-1]
    assert ("its experts are stored so as well, which Unsloth alone runs" in note) == fused


def test_a_directory_with_the_name_of_a_registry_model_is_not_ignored_silently(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("gpt2").mkdir()
    Path("gpt2/config.json").write_text("{}")
    assert find_model("gpt2").notes == ("gpt2 of the built-in registry; the directory is ./gpt2",)


def test_finding_one_model_builds_that_one_alone() -> None:
    registry._described_entry.cache_clear()
    find_model("tinyllama-1.1b")
    assert registry._described_entry.cache_info().misses == 1


@pytest.mark.parametrize("name", REPLAYED)
def test_every_name_of_an_entry_without_a_family_finds_its_fields(name: str) -> None:
    entry = ENTRIES[name]
    assert entry.model_type not in supported_model_types()
    found = recognize(name)
    assert found == Foreign(name, entry.fields, entry.notes, entry.hf, entry.aliases, entry.num_parameters)
    for other in entry.names:
        assert recognize(other) == under(found, entry.repository(other)) == sized_model(other)
    assert {"architectures", "vocab_size"} <= set(entry.fields)
    assert all(set(entry.fields) & set(names) for names in (DEPTHS, WIDTHS))
    assert set(entry.fields) & {*POSITIONS, "relative_attention_num_buckets"}
    with pytest.raises(PlannerError, match="is of no family of the registry"):
        find_model(name)


@pytest.mark.parametrize(
    ("name", "whole", "left_out"),
    [
        ("gemma-3-4b", "gemma3 model counts (gemma3_text)", ["its vision tower and the tokens of images"]),
        (
            "gemma-4-e2b",
            "gemma4 model counts (gemma4_text)",
            ["its vision tower and the tokens of images", "its audio encoder and the tokens of sound"],
        ),
        ("mistral-small-3.1", "mistral3 model counts (mistral)", ["its vision tower and the tokens of images"]),
    ],
)
def test_the_name_of_a_multimodal_model_says_what_is_left_out(name: str, whole: str, left_out: list[str]) -> None:
    assert recognize(name).notes == (f"only the text part of this {whole}, without {', '.join(left_out)}",)


def test_a_note_of_a_family_stands_beside_that_of_a_text_part_and_a_text_model_has_none() -> None:
    said = "only the text part of this llama4 model counts (llama4_text)"
    assert recognize("llama-4-scout").notes[0].startswith(said)
    assert len(recognize("llama-4-scout").notes) == 2
    assert recognize("gemma-3-1b").notes == ()
