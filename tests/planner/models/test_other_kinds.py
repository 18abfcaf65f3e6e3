"""Names of models that are no language models are told so."""

import pytest

from hardware.errors import UnknownNameError
from planner.models import find_model, registry_models, replayed_models
from planner.models.names.other_kinds import other_kind


def told(text: str) -> str:
    with pytest.raises(UnknownNameError) as caught:
        find_model(text)
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("whisper-large-v3", "a speech model"),
        ("openai/whisper-large-v3", "a speech model"),
        ("distil-whisper-large", "a speech model"),
        ("black-forest-labs/FLUX.1-dev", "an image generator"),
        ("stable-diffusion-xl-base-1.0", "an image generator"),
        ("sdxl", "an image generator"),
        ("stable-video-diffusion", "a video generator"),
        ("wan2.1-t2v-14b", "a video generator"),
        ("clip-vit-base-patch32", "an image model"),
        ("siglip-so400m", "an image model"),
        ("llava-1.5-7b", "a vision-language model"),
        ("qwen2-vl-2b", "a vision-language model"),
        ("llama-3.2-11b-vision", "a vision-language model"),
        ("qwen2.5-omni-7b", "a model of text and sound"),
    ],
)
def test_the_error_says_what_kind_of_model_a_name_is_of(name: str, kind: str) -> None:
    assert told(name).startswith(f"{name} is {kind}, and planner plans language models\nhint: ")


@pytest.mark.parametrize("name", ["chatglm3-6b", "Qwen/Qwen-7B-Chat", "baichuan2-7b", "internlm2_5-7b", "minicpm3-4b"])
def test_a_model_with_code_of_its_own_is_told_what_plans_its_size(name: str) -> None:
    assert told(name).startswith(f"{name} is a model with code of its own")
    assert "hint: a size such as 7B" in told(name)
    assert other_kind("deepseek-r1-distill-qwen-7b", lambda _: False) is None


@pytest.mark.parametrize(
    ("name", "text_model"),
    [
        ("qwen2.5-vl-7b", "qwen2.5-7b"),
        ("Qwen/Qwen2.5-VL-7B-Instruct", "Qwen2.5-7B-Instruct"),
        ("qwen3-vl-8b", "qwen3-8b"),
        ("Qwen/Qwen3-VL-8B-Instruct", "Qwen3-8B"),
    ],
)
def test_a_vision_language_model_comes_with_the_name_of_its_language_model(name: str, text_model: str) -> None:
    assert f"hint: {text_model} has the shape of its language model" in told(name)
    assert find_model(text_model)


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("Qwen/Qwen3-Embedding-0.6B", "Qwen3-0.6B with --loss liger-fused-linear takes about as much"),
        ("intfloat/e5-mistral-7b-instruct", "the language model of its shape"),
        ("nomic-ai/nomic-embed-text-v1.5", "the language model of its shape"),
    ],
)
def test_an_embedding_model_of_another_architecture_says_which_are_planned(name: str, near: str) -> None:
    assert told(name).startswith(f"{name} is an embedding model, and pairs of texts are planned for BERT, RoBERTa, ")
    assert near in told(name)


def test_no_name_of_the_registry_looks_like_another_kind() -> None:
    names = [name for entry in (*registry_models(), *replayed_models()) for name in entry.names]
    assert [name for name in names if other_kind(name, lambda _: True)] == []


@pytest.mark.parametrize("name", ["lama-7b", "stablelm-9b", "swan-7b", "clipper-7b", "revision-7b"])
def test_other_unknown_names_are_only_unknown(name: str) -> None:
    assert told(name).startswith(f"unknown model '{name}'")
