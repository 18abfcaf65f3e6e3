"""Reads names of models as other places spell them: an address on the Hugging Face Hub, or a name and tag of Ollama."""

from __future__ import annotations

import re
from typing import Final

_PAGE: Final = (
    r"(?i)(?:https?://)?(?:www\.)?(?:huggingface\.co|hf\.co)/(?P<id>[\w.-]+/[\w.-]+?)/?(?:/(?:tree|blob)/.*)?"
)
"""Address of a model's page, or of one of its files."""
_TAGGED: Final = r"(?P<name>[A-Za-z][\w.-]*):(?P<tag>[0-9][\w.]*[bBmM](?:-[\w.-]+)?)"
"""A name and the number of parameters behind a colon, as Ollama has them: `llama3.1:8b`."""


def repository_of(text: str) -> str | None:
    """Returns the id of the repository whose address a text is, `org/name`; None if it is none."""
    found = re.fullmatch(_PAGE, text)
    return None if found is None else found["id"]


def untagged(text: str) -> str:
    """Returns a name with its tag as other names have their size, `llama3.1-8b`; any other text as it is."""
    found = re.fullmatch(_TAGGED, text)
    return text if found is None else f"{found['name']}-{found['tag']}"
