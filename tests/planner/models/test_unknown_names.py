"""Names that no model has come with the nearest ones, and with the other ways to give a model."""

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hardware.errors import PlannerError, UnknownNameError
from planner.models import Model, find_model, registry_models

NAMES = [entry.name for entry in registry_models()]


def message(text: str) -> str:
    with pytest.raises(UnknownNameError) as caught:
        find_model(text)
    return str(caught.value)


def test_a_misspelled_name_comes_with_the_nearest_ones() -> None:
    assert message("lama-7b") == (
        "unknown model 'lama-7b'\nhint: did you mean llama-7b, codellama-7b?  (planner models lists all)"
    )


def test_a_name_far_from_all_others_comes_with_the_other_ways_to_give_a_model() -> None:
    assert message("zzzz") == (
        "unknown model 'zzzz'\n"
        "hint: planner models lists all; a path to a config.json, hf:org/name or a size such as 7B will do"
    )


@pytest.mark.parametrize("name", ["any", "all", "ALL"])
def test_a_word_for_every_model_comes_with_the_command_that_plans_them(name: str) -> None:
    assert message(name).startswith(
        f"'{name}' is no model, and this plans one at a time\nhint: planner sweep all --gpu "
    )


def test_an_unknown_hub_id_comes_with_the_way_to_read_it() -> None:
    assert message("xyz/qqq") == (
        "unknown model 'xyz/qqq'\n"
        "hint: planner models lists all; hf:xyz/qqq reads it from the Hugging Face Hub; "
        "a path to a config.json or a size such as 7B will do"
    )
    assert "did you mean meta-llama/Llama-3.1-8B" in message("meta-llama/Llama-9-8B")


def test_an_empty_name_and_a_huge_one_are_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("config.json").write_text("{}")
    assert message("").startswith("unknown model ''")
    monkeypatch.setattr("difflib.SequenceMatcher.ratio", lambda _: pytest.fail("a huge name is compared with others"))
    assert message("llama" * 20_000).startswith("unknown model 'llamallama")


@given(st.one_of(st.text(), st.from_regex(r"[0-9.]{1,12} ?[kmbtKMBT]", fullmatch=True), st.sampled_from(NAMES)))
@settings(deadline=None)
def test_any_text_gives_a_model_or_an_error(text: str) -> None:
    if text.strip()[:3].lower() == "hf:":
        return  # the Hub is out of reach of a test
    with suppress(PlannerError):
        assert isinstance(find_model(text), Model)


@pytest.mark.parametrize("name", ["somebody/Qwen3-8B-bnb-4bit", "unsloth/no-such-8b-bnb-4bit", "unsloth/"])
def test_what_no_mirror_publishes_is_unknown(name: str) -> None:
    assert message(name).startswith(f"unknown model '{name}'")
