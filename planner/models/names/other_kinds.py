"""Recognizes names of models that are no language models, such as speech models and image generators."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, NamedTuple

SPEECH, IMAGES, VIDEO, ENCODER, VISION, SOUND, PAIRS, OWN_CODE = (
    "a speech model",
    "an image generator",
    "a video generator",
    "an image model",
    "a vision-language model",
    "a model of text and sound",
    "an embedding model",
    "a model with code of its own, which trust_remote_code runs",
)
"""What a model is, as an error calls it."""

KINDS: Final = (
    (r"whisper|wav2vec|hubert|parakeet|canary|seamless|speecht5|xtts|bark|kokoro|musicgen", SPEECH),
    (r"flux|stable-?diffusion(?!-video)|sdxl|sd-?(?:xl|3)|pixart|kandinsky|hidream|qwen-?image|sana|z-?image", IMAGES),
    (r"wan-?[0-9]|wan|hunyuan-?video|cogvideox?|ltx|mochi|stable-?(?:diffusion-)?video|svd", VIDEO),
    (r"clip|siglip|dino|sam|resnet|convnext|swin|efficientnet|yolo|detr|beit", ENCODER),
    (
        r"llava|bakllava|qwen-?[0-9.]*-?vl|internvl|idefics|paligemma|pixtral|blip|florence|molmo|smolvlm|minicpm-?v"
        r"|deepseek-?vl|cogvlm|kosmos|fuyu|moondream|glm-?[0-9.]+v|vision|multimodal",
        VISION,
    ),
    (r"qwen-?[0-9.]*-?(?:audio|omni)|voxtral|ultravox|moshi|minicpm-?o", SOUND),
    (
        r"embeddings?|embeddinggemma|e5-mistral|gte-(?:qwen[0-9.]*|modernbert|multilingual)|all-mpnet|nomic-embed|nv-embed"
        r"|modernbert-embed",
        PAIRS,
    ),
    (r"chatglm[0-9]?|baichuan[0-9]?|internlm[0-9.]*|minicpm[0-9.]*|(?<!-)qwen-(?:1[._]8|7|14|72)b", OWN_CODE),
)
"""Words with which names begin, or that stand in them after a dash, and what such a model is."""

_PATTERN: Final = r"(?:^|[-_. ])(?:{words})(?![a-z])"
_VISION_MARK: Final = r"-?vl(?![a-z])"
"""What the name of a Qwen vision-language model has in addition to that of the language model of its shape."""
_TRAINED: Final = r"-(?:instruct|thinking)$"
"""What the name of a model that was trained further has at its end."""
_EMBEDDING_MARK: Final = r"-embedding"
"""What the name of a Qwen embedding model has in addition to that of the language model of its shape."""
_BY_ITS_SHAPE: Final = "{} with --loss liger-fused-linear takes about as much memory, each text of a pair a sample"
_OF_ITS_SIZE: Final = "a size such as 7B plans a Llama of that size, and package.module:function your own by replays"
_PAIRS_OF: Final = "pairs of texts are planned for BERT, RoBERTa, XLM-RoBERTa and DeBERTa alone"


_CLOSED: Final = (
    r"(?:(?:openai|anthropic|google|x-?ai)/)?"
    r"(?:chat-?gpt.*|gpt-?[345]o?(?:[-.].*)?|o[134](?:-.*)?|claude.*|gemini.*|grok-?[3-9].*)"
)
"""Names of models that are only served, and whose weights are not published; those of Grok-1 and Grok-2 are."""


class OtherKind(NamedTuple):
    """Describes a model that is no language model."""

    kind: str
    """What it is, such as `a speech model`."""
    way_out: str
    """What can be planned in its place."""
    why: str = "planner plans language models"
    """Why it is not planned."""


def other_kind(name: str, is_known: Callable[[str], bool]) -> OtherKind | None:
    """Returns what a model is whose name says that it is no language model; None for all other names.

    Args:
        name: The name, with or without an organization in front.
        is_known: Returns whether the registry has a model of a name.
    """
    if re.fullmatch(_CLOSED, name, re.IGNORECASE):
        return OtherKind(
            "a model whose weights nobody publishes",
            "gpt-oss-20b is one of OpenAI's with open weights; planner models lists others",
            "planner plans what you can train",
        )
    base = name.rpartition("/")[2]
    matching = (kind for words, kind in KINDS if re.search(_PATTERN.format(words=words), base, re.IGNORECASE))
    kind = next(matching, None)
    if kind is None:
        return None
    if kind is PAIRS:
        shape = re.sub(_EMBEDDING_MARK, "", base, flags=re.IGNORECASE)
        near = shape if shape != base and is_known(shape) else "the language model of its shape, if it is a decoder,"
        return OtherKind(kind, _BY_ITS_SHAPE.format(near), _PAIRS_OF)
    if kind is OWN_CODE:
        return OtherKind(kind, _OF_ITS_SIZE, "planner plans classes of transformers")
    text_model = re.sub(_VISION_MARK, "", base, flags=re.IGNORECASE)
    for shape in (text_model, re.sub(_TRAINED, "", text_model, flags=re.IGNORECASE)):
        if kind is VISION and text_model != base and is_known(shape):
            return OtherKind(kind, f"{shape} has the shape of its language model, which can be planned alone")
    if kind in (VISION, SOUND):
        return OtherKind(kind, "a path to its config.json plans its language model alone, if that has a training class")
    if kind in (IMAGES, VIDEO):
        return OtherKind(
            kind, "package.module:function, a function of yours that returns its module, is planned by replays"
        )
    return OtherKind(kind, "a path to its config.json is planned by replays, if transformers can train it")
