"""Says what is left out of a multimodal model: the language model alone is planned."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

WORDS: Final = {
    "vision_config": "its vision tower and the tokens of images",
    "audio_config": "its audio encoder and the tokens of sound",
}
"""What is left out, by the key of a config.json that describes it."""


def described_parts(config: dict[str, object]) -> tuple[str, ...]:
    """Returns the keys of a multimodal config.json that describe parts other than the language model."""
    return tuple(key for key in WORDS if config.get(key) is not None)


def note_on_text_part(whole: str, part: str, left_out: Sequence[str]) -> str:
    """Returns a note for users on a language model that is planned without the rest of a multimodal model.

    Args:
        whole: The `model_type` of the multimodal model.
        part: That of its language model.
        left_out: Keys of `WORDS`, for the parts that are left out.
    """
    said = f"only the text part of this {whole} model counts ({part})"
    return f"{said}, without {', '.join(WORDS[key] for key in left_out)}" if left_out else said
