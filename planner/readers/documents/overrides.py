"""Reads what a command line says instead of the keys of a file: `KEY=VALUE`, or flags."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import yaml

from hardware.errors import PlannerError, shown
from hardware.files.yaml_text import SafeLoader


def overrides_of(words: Sequence[str]) -> list[str]:
    """Returns arguments as texts `KEY=VALUE`: those that are, and flags such as `--bf16 --max_length 4096`.

    A flag without a value is true, as transformers' parser has it.
    """
    found: list[str] = []
    for word in words:
        if word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            found.append(f"{name.replace('-', '_')}{equals}{value}")
        elif "=" not in word and found and "=" not in found[-1]:
            found[-1] += f"={word}"
        else:
            found.append(word)
    return [text if "=" in text else f"{text}=true" for text in found]


def parse_override(text: str) -> tuple[str, Any]:
    """Returns key and value of `KEY=VALUE`; the value is read as YAML.

    Raises:
        PlannerError: The text is no such pair, or the value is no plain value.
    """
    key, equals, value = text.lstrip("-").partition("=")
    if not equals or not key:
        raise PlannerError(f"{shown(text)} is not KEY=VALUE", "planner check run.yaml -- micro_batch_size=4")
    try:
        return key, yaml.load(value, Loader=SafeLoader)
    except (yaml.YAMLError, ValueError, LookupError, AttributeError, TypeError, OverflowError):
        raise PlannerError(f"{key} is {shown(value)}, which is not a plain value", f"{key}=4") from None
