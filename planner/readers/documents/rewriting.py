"""Sets keys in the text of a YAML or JSON file: comments, order, quotes and anchors elsewhere stay as they are.

Values are replaced, and keys added, at the positions that PyYAML's parser reports. Whoever rewrites a text reads the
new one back, since a value may be used elsewhere by an anchor or a merge key.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

Path = tuple[str, ...]
"""Names of the mappings that lead to a key, and of the key."""


@dataclass(slots=True)
class _Node:
    """Holds where a value stands: the half-open range of its characters."""

    start: int
    end: int
    column: int
    flow: bool = False
    entries: list[tuple[str, _Node, _Node]] | None = None
    """Name, key and value of each entry of a mapping; None for another value."""
    items: list[_Node] | None = None
    """Items of a sequence; None for another value."""


def rewritten(text: str, path: Path, value: Any, *, is_json: bool, beside: Sequence[str] = ()) -> str:
    """Returns the text with one key set to a value.

    Args:
        text: Text of the file, a mapping.
        path: The key.
        value: Its new value: a scalar, a list of scalars, or a mapping of those.
        is_json: Whether values are spelled as JSON.
        beside: Keys of the same mapping after the last of which a new key is put; without them it comes last.

    Raises:
        ValueError: The key stands in no mapping that can be written to.
    """
    spelling = _Spelling(text, is_json)
    node = key = _parsed(text.replace("\t", " ") if is_json else text)  # YAML has no tabs between values
    for depth, name in enumerate(path):
        if node.entries is None:
            raise ValueError(f"{'.'.join(path[:depth])} is no mapping")
        found = next(((key, value) for other, key, value in node.entries if other == name), None)
        if found is None:
            for rest in reversed(path[depth + 1 :]):
                value = {rest: value}
            return spelling.added(node, name, value, beside)
        key, node = found
    return spelling.replaced(key, node, value)


@dataclass(frozen=True, slots=True)
class _Spelling:
    """Writes values into a text as its language and its lines have them."""

    text: str
    is_json: bool
    newline: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "newline", "\r\n" if "\r\n" in self.text else "\n")

    def replaced(self, key: _Node, node: _Node, value: Any) -> str:
        """Returns the text with another value of a key; a list that only grows has its new items added."""
        if node.items and isinstance(value, list) and len(value) > len(node.items):
            return self._grown(node, value[len(node.items) :])
        spelled = self.scalar(value)
        if node.start == node.end:  # nothing stands behind the colon
            return self._spliced(node.start, node.end, f" {spelled}")
        if not node.flow and (node.entries or node.items):
            return self._spliced(key.end, node.end, f": {spelled}")
        old = self.text[node.start : node.end]
        anchor = f"{old.split()[0]} " if old.startswith("&") and len(old.split()) > 1 else ""
        if isinstance(value, str) and old[:1] in "'\"" and not self.is_json:
            spelled = old[0] + value + old[0]
        ending = self.newline if old.endswith("\n") else ""
        return self._spliced(node.start, node.end, anchor + spelled + ending)

    def added(self, node: _Node, name: str, value: Any, beside: Sequence[str]) -> str:
        """Returns the text with one more entry in a mapping."""
        assert node.entries is not None
        if not node.entries:
            return self._spliced(node.end - 1, node.end - 1, f"{self.scalar(name)}: {self.scalar(value)}")
        after = next((entry for entry in reversed(node.entries) if entry[0] in beside), node.entries[-1])
        _, key, last = after
        if node.flow:
            begins = self.text.rfind("\n", 0, key.start) + 1
            own_line = not self.text[begins : key.start].strip()
            lead = f"{self.newline}{self.text[begins : key.start]}" if own_line else " "
            return self._spliced(last.end, last.end, f",{lead}{self.scalar(name)}: {self.scalar(value)}")
        return self._with_lines(max(last.end, key.end), node.column, self._lines(name, value))

    def _grown(self, node: _Node, more: Sequence[Any]) -> str:
        assert node.items
        last = node.items[-1]
        if node.flow:
            return self._spliced(last.end, last.end, "".join(f", {self.scalar(item)}" for item in more))
        return self._with_lines(last.end, node.column, [f"- {self.scalar(item)}" for item in more])

    def _with_lines(self, end: int, column: int, lines: Sequence[str]) -> str:
        """Returns the text with lines behind the one on which a value ends."""
        text = self.text
        if text[end - 1 : end] != "\n":
            found = text.find("\n", end)
            end = len(text) if found < 0 else found + 1
        lead = self.newline if end and text[end - 1] != "\n" else ""
        return self._spliced(end, end, lead + "".join(f"{' ' * column}{line}{self.newline}" for line in lines))

    def _lines(self, name: str, value: Any) -> list[str]:
        return yaml.safe_dump({name: value}, sort_keys=False, width=10_000).splitlines()

    def scalar(self, value: Any) -> str:
        """Returns a value in one line."""
        if self.is_json:
            return json.dumps(value)
        dumped = yaml.safe_dump(value, default_flow_style=True, width=10_000, sort_keys=False)
        return dumped.removesuffix("...\n").strip()

    def _spliced(self, start: int, end: int, new: str) -> str:
        return self.text[:start] + new + self.text[end:]


def _parsed(text: str) -> _Node:
    events = yaml.parse(text, Loader=yaml.SafeLoader)
    for event in events:
        if isinstance(event, yaml.MappingStartEvent):
            return _collection(event, events)
        if isinstance(event, yaml.NodeEvent):
            break
    raise ValueError("the file is no mapping")


def _node(event: Any, events: Iterator[Any]) -> _Node:
    if isinstance(event, yaml.CollectionStartEvent):
        return _collection(event, events)
    begin, end = _marks(event)
    return _Node(begin.index, end.index, begin.column)


def _marks(event: yaml.Event) -> tuple[Any, Any]:
    """Returns where an event begins and ends; events of a text have both marks."""
    return event.start_mark, event.end_mark


def _collection(event: Any, events: Iterator[Any]) -> _Node:
    """Returns a collection, whose block form ends with its last value: the parser's mark is at the next token."""
    begin, end = _marks(event)
    node = _Node(begin.index, end.index, begin.column, bool(event.flow_style))
    children: list[_Node] = []
    names: list[str] = []
    for inner in events:
        if isinstance(inner, yaml.CollectionEndEvent):
            node.end = _marks(inner)[1].index if node.flow or not children else max(c.end for c in children[-2:])
            break
        if isinstance(event, yaml.MappingStartEvent) and len(children) % 2 == 0:
            names.append(getattr(inner, "value", ""))
        children.append(_node(inner, events))
    if isinstance(event, yaml.MappingStartEvent):
        node.entries = list(zip(names, children[::2], children[1::2], strict=True))
        if children and not node.flow:
            node.column = children[0].column
    else:
        node.items = children
    return node
