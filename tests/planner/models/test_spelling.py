"""Names of models as other places spell them."""

from __future__ import annotations

import pytest

from hardware import PlannerError
from planner.models import recognize


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("https://huggingface.co/Qwen/Qwen3-8B", "qwen3-8b"),
        ("https://huggingface.co/Qwen/Qwen3-8B/tree/main", "qwen3-8b"),
        ("hf.co/Qwen/Qwen3-8B/", "qwen3-8b"),
        ("https://huggingface.co/unsloth/llama-3-8b-bnb-4bit", "llama-3-8b"),
        ("qwen3:8b", "qwen3-8b"),
        ("llama3.1:8b", "llama-3.1-8b"),
        ("Qwen2.5:7B-instruct", "Qwen/Qwen2.5-7B-Instruct"),
    ],
)
def test_addresses_and_tags_are_names(text: str, name: str) -> None:
    model, expected = recognize(text), recognize(name)
    assert (model.name, model.num_parameters) == (expected.name, expected.num_parameters)


def test_the_address_of_an_unknown_model_is_read_from_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def download(repository: str, **_: object) -> None:
        asked.append(repository)
        raise PlannerError("no network in tests")

    monkeypatch.setattr("planner.models.sources.hub.download_config", download)
    with pytest.raises(PlannerError, match="no network"):
        recognize("https://huggingface.co/somebody/some-model/blob/main/config.json")
    assert asked == ["somebody/some-model"]


def test_other_colons_are_left_alone() -> None:
    assert recognize("my.module:function").name == "my.module:function"
    for text in ("llama3.1:99b", "xyzzy:7b"):
        with pytest.raises(PlannerError, match=f"unknown model '{text}'"):
            recognize(text)


@pytest.mark.parametrize(
    "name", ["gpt-4", "GPT-4o-mini", "chatgpt", "claude-3-opus", "o3-mini", "openai/gpt-3.5", "grok-4"]
)
def test_models_that_are_served_alone_are_told_so(name: str) -> None:
    with pytest.raises(PlannerError, match="a model whose weights nobody publishes"):
        recognize(name)


def test_one_name_of_each_model_is_suggested() -> None:
    with pytest.raises(PlannerError) as unknown:
        recognize("llama3")
    assert unknown.value.hint == (
        "did you mean llama-3-8b, llama-3-70b, llama-3.1-8b, llama-3.2-1b?  (planner models lists all)"
    )


def test_a_bare_number_is_a_size_without_its_unit() -> None:
    with pytest.raises(PlannerError) as unknown:
        recognize("7")
    assert unknown.value.hint is not None
    assert unknown.value.hint.startswith("7B is a model of that size")
