"""Renders what was read: each setting with the key or the default that says it, or those alone that decide the peak."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from rich.text import Text

from planner.records.check import NO_RECIPE, CheckResult, KeyPlace, Remark, Setting
from planner.records.plan import Memory
from planner.report.parts.blocks import Wrapped, fields
from planner.report.parts.categories import category_bytes
from planner.report.parts.format import plural
from planner.report.parts.table import INDENT

_LARGE = 0.1
"""Share of a process from which on the settings are shown that a category of its memory depends on."""
_LENGTHS = ("micro_batch_size", "sequence_length")
_DECIDE: Mapping[str, Sequence[str]] = {
    "activations": (*_LENGTHS, "checkpointing"),
    "temporary": (*_LENGTHS, "loss"),
    "parameters": ("finetuning", "quantization", "precision", "sharding"),
    "gradients": ("finetuning", "precision", "sharding"),
    "optimizer_states": ("finetuning", "optimizer", "sharding"),
    "unsharded_parameters": ("sharding",),
}
"""Settings that each category of memory depends on most, beside the model."""
_ON_HOST = ("finetuning", "optimizer", "offload")
"""Settings that decide what is kept in a host's memory."""
_EVALUATION = "evaluation"
"""Name of the moment whose micro-batch is another."""
_MOST_KEYS = 6
"""Most keys that are named where their number says enough."""


def decisive(reading: Mapping[str, Setting], memory: Memory) -> Iterator[str | Text | Wrapped]:
    """Yields the settings that decide the peak, with their places."""
    if words := [word for word in _deciding(memory) if word in reading]:
        yield ""
        yield Text(" " * INDENT + "decided by", style="bold")
        yield from fields([(_name(word), _short(reading[word])) for word in words])


def settings(result: CheckResult) -> Iterator[Wrapped]:
    """Yields what was read: the planner's word, its value, and the key or the default that says it."""
    yield Wrapped(read_as(result), "bold", indent=0)
    yield from fields([(_name(word), _whole(setting)) for word, setting in result.reading.items()])
    yield from _keys("no effect on memory", result.without_effect)
    yield from _keys("not understood", result.not_understood)
    if result.dead:
        yield Wrapped(f"read by nobody: {'; '.join(map(remark_text, result.dead))}")


def summary(result: CheckResult, untold: int) -> Iterator[Wrapped]:
    """Yields how much was read, and which keys nothing was made of.

    Args:
        result: The answer.
        untold: Number of notes that are not shown.
    """
    given = sum(setting.place is not None for setting in result.reading.values())
    read = f"{read_as(result)}: {given} of {plural(len(result.reading), 'setting')} given, the rest by default"
    more = f"; {plural(untold, 'more note')}" if untold else ""
    yield Wrapped(f"{read}{more}: --notes", "dim", indent=0)
    yield from _keys("not understood", result.not_understood, _MOST_KEYS)
    yield from _keys("read by nobody", [remark.place for remark in result.dead if remark.place], _MOST_KEYS)


def read_as(result: CheckResult) -> str:
    """Returns what the files were read as; without a recipe that is nobody's."""
    return "read" if result.framework == NO_RECIPE else f"read as {result.framework}"


def remark_text(remark: Remark) -> str:
    """Returns a remark with its place."""
    place = remark.place
    if place is None:
        return remark.what
    at = f"{place.file}:{place.line}" if place.line else place.file
    return f"{at}: {place.key}: {remark.what}"


def _deciding(memory: Memory) -> Iterable[str]:
    """Returns the words of the settings that large categories of the peak depend on, in the order of their sizes."""
    sizes = sorted(category_bytes(memory.components), key=lambda one: -one[1])
    large = [category.field for category, size in sizes if size >= _LARGE * memory.process_bytes]
    wanted = ["evaluation_batch_size"] if memory.moment == _EVALUATION else []
    wanted += [word for field in large for word in _DECIDE.get(field, ())]
    if memory.host is not None and not memory.host.fits:
        wanted += _ON_HOST
    return dict.fromkeys(wanted)


def _name(word: str) -> str:
    return word.replace("_", "-")


def _value(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def _whole(setting: Setting) -> str:
    """Returns a value, where it is said, and why it is another than the key's."""
    why = f" ({setting.why})" if setting.place is not None and setting.why else ""
    return f"{_short(setting)}{why}"


def _short(setting: Setting) -> str:
    """Returns a value and the key or the default that says it."""
    place = setting.place
    if place is None:
        return f"{_value(setting.value)}, {f'default: {setting.why}' if setting.why else 'follows'}"
    at = f"{place.file.rpartition('/')[2]}:{place.line}" if place.line else place.file
    return f"{_value(setting.value)}, {at} {place.key}"


def _keys(title: str, keys: Sequence[KeyPlace], most: int | None = None) -> Iterator[Wrapped]:
    """Yields keys below their number, the first ones where only so many are wanted."""
    if keys:
        more = ", ..." if most is not None and len(keys) > most else ""
        yield Wrapped(f"{title}, {plural(len(keys), 'key')}: {', '.join(key.key for key in keys[:most])}{more}")
