"""A key is set in a text, and nothing else of it changes."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from planner.readers.documents.rewriting import rewritten

YAML = """\
# what it is for
base_model: 'meta-llama/Llama-3.2-1B'  # keep
batch: &batch 4 # anchored
eval: *batch
empty:
plugins:
  - one # first
  - two
flow: {a: 1, b: [1, 2]}
nested:
    deep: 1
    # inside

text: |
  several
  lines

last: 1"""


@pytest.mark.parametrize(
    ("path", "value", "old", "new"),
    [
        (("base_model",), "gpt2", "'meta-llama/Llama-3.2-1B'  # keep", "'gpt2'  # keep"),
        (("batch",), 8, "&batch 4 # anchored", "&batch 8 # anchored"),
        (("eval",), 2, "*batch", "2"),
        (("empty",), True, "empty:\n", "empty: true\n"),
        (("plugins",), ["one", "two", "three"], "  - two\n", "  - two\n  - three\n"),
        (("flow", "a"), 3, "{a: 1,", "{a: 3,"),
        (("flow", "b"), [1, 2, 3], "[1, 2]", "[1, 2, 3]"),
        (("flow", "c"), "x", "[1, 2]}", "[1, 2], c: x}"),
        (("nested", "more"), 2, "    deep: 1\n", "    deep: 1\n    more: 2\n"),
        (("text",), "one", "|\n  several\n  lines\n\n", "one\n"),
        (("new",), {"a": 1}, "last: 1", "last: 1\nnew:\n  a: 1\n"),
        (("new", "a"), "no", "last: 1", "last: 1\nnew:\n  a: 'no'\n"),
    ],
)
def test_one_key_of_a_yaml_changes(path: tuple[str, ...], value: Any, old: str, new: str) -> None:
    assert YAML.count(old) == 1
    assert rewritten(YAML, path, value, is_json=False) == YAML.replace(old, new)


def test_a_new_key_stands_beside_those_it_belongs_to() -> None:
    text = rewritten("a: 1\nb: 2\nc: 3\n", ("d",), 4, is_json=False, beside=["a", "b"])
    assert text == "a: 1\nb: 2\nd: 4\nc: 3\n"


def test_line_ends_are_those_of_the_file() -> None:
    assert rewritten("a: 1\r\nb: 2\r\n", ("c",), 3, is_json=False) == "a: 1\r\nb: 2\r\nc: 3\r\n"


def test_a_key_below_a_value_is_refused() -> None:
    with pytest.raises(ValueError, match=r"nested\.deep is no mapping"):
        rewritten(YAML, ("nested", "deep", "er"), 1, is_json=False)


@pytest.mark.parametrize(
    ("text", "path", "value", "expected"),
    [
        ('{"a": 1}', ("a",), True, '{"a": true}'),
        ('{"a": 1}', ("b",), "x", '{"a": 1, "b": "x"}'),
        ('{\n\t"a": 1\n}\n', ("b",), 5e8, '{\n\t"a": 1,\n\t"b": 500000000.0\n}\n'),
        (
            '{\n  "z": {\n    "s": 2\n  }\n}',
            ("z", "o", "device"),
            "cpu",
            '{\n  "z": {\n    "s": 2,\n    "o": {"device": "cpu"}\n  }\n}',
        ),
        ('{"z": {}}', ("z", "s"), 3, '{"z": {"s": 3}}'),
    ],
)
def test_one_key_of_a_json_changes(text: str, path: tuple[str, ...], value: Any, expected: str) -> None:
    assert rewritten(text, path, value, is_json=True) == expected


NAMES = st.sampled_from(["a", "b", "c d", "x-y", "on", "1"])
SCALARS = st.one_of(st.integers(-5, 10**9), st.booleans(), st.floats(allow_nan=False, allow_infinity=False), st.text())
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.dictionaries(NAMES, inner, max_size=3), st.lists(inner, max_size=3)),
    max_leaves=8,
)


@given(
    data=st.dictionaries(NAMES, VALUES, min_size=1, max_size=5),
    above=st.lists(NAMES, max_size=2),
    name=NAMES,
    value=st.one_of(st.integers(), st.booleans(), st.sampled_from(["no", "1e9", "a: b", "it's", "# x", ""])),
    flow=st.sampled_from([True, False, None]),
    is_json=st.booleans(),
)
def test_the_new_text_holds_the_old_data_and_the_new_value(
    data: dict[str, Any], above: list[str], name: str, value: Any, flow: bool | None, is_json: bool
) -> None:
    text = json.dumps(data, indent=2) if is_json else yaml.safe_dump(data, default_flow_style=flow, sort_keys=False)
    load = json.loads if is_json else yaml.safe_load
    data = load(text)
    at: Any = data
    for part in above:
        at = at.setdefault(part, {}) if isinstance(at, dict) else None
    if not isinstance(at, dict):
        with pytest.raises(ValueError, match="is no mapping"):
            rewritten(text, (*above, name), value, is_json=is_json)
        return
    at[name] = value
    assert load(rewritten(text, (*above, name), value, is_json=is_json)) == data
