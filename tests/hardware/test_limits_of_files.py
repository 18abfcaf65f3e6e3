"""Bounds of what is read at all, and shown of it: the last that is taken and the first that is not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hardware import CatalogError
from hardware.errors import nearest_names, shown
from hardware.files.document import MAX_PROBLEMS, Document
from hardware.files.json_text import JsonError, decoded, parse_json
from hardware.files.yaml_text import read_document

# --- JSON ---


def test_json_is_read_up_to_its_limits() -> None:
    for text in ("[" * 49 + "1" + "]" * 49, "[" * 50 + "]" * 50):  # a value is a level
        assert parse_json(text) == json.loads(text)
    assert parse_json('{"a": [1, 2.5, true, null, "x"]}') == {"a": [1, 2.5, True, None, "x"]}
    assert parse_json("9" * 40) == int("9" * 40)
    assert len(parse_json("[" + ",".join(["[]"] * 99_999) + "]")) == 99_999


@pytest.mark.parametrize(
    ("text", "message", "line", "column"),
    [
        ("[" * 50 + "1" + "]" * 50, "nested deeper than 50 levels", 0, 0),
        ('{"a":' * 50 + "1" + "}" * 50, "nested deeper than 50 levels", 0, 0),
        ("[" * 90_000, "nested deeper than 50 levels", 0, 0),
        ("9" * 41, "a number with more than 40 digits", 0, 0),
        ("[" + ",".join(["{}"] * 100_000) + "]", "more than 100000 objects and lists", 0, 0),
        ('{"a": 1,\n "b" 2}', "not valid JSON: Expecting ':' delimiter", 2, 6),
        ("", "not valid JSON: Expecting value", 1, 1),
    ],
    ids=lambda x: str(x)[:20],
)
def test_json_beyond_its_limits_is_refused(text: str, message: str, line: int, column: int) -> None:
    with pytest.raises(JsonError) as refused:
        parse_json(text)
    assert (refused.value.message, refused.value.line, refused.value.column) == (message, line, column)


def test_bytes_are_decoded_with_and_without_a_mark() -> None:
    assert decoded(b"\xef\xbb\xbf{}") == decoded(b"{}") == "{}"
    with pytest.raises(JsonError) as refused:
        decoded(b"one\ntw\xffo")
    assert (refused.value.message, refused.value.line, refused.value.column) == ("not UTF-8 text (byte 0xff)", 2, 3)


# --- YAML ---


def problem_of(path: Path, content: str) -> str | None:
    path.write_text(content)
    try:
        read_document(path).raise_problems()
    except CatalogError as error:
        return error.problems[0].partition(": ")[2]
    return None


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("[" * 20 + "]" * 20, None),
        ("[" * 21 + "]" * 21, "(file): nested deeper than 20 levels"),
        ("a: " + "x" * 10_000, None),
        ("a: " + "x" * 10_001, "(file): a value of more than 10000 characters"),
        (f"a: {2**128 - 1}", None),
        (f"a: {2**128}", "a: '340282366920938463463374607431768211456' has too many digits"),
        ("[" + "1," * 49_999 + "]", None),
        ("[" + "1," * 50_000 + "]", "(file): more than 50000 values, aliases included"),
    ],
    ids=lambda x: str(x)[:20],
)
def test_yaml_is_read_up_to_its_limits(content: str, problem: str | None, tmp_path: Path) -> None:
    assert problem_of(tmp_path / "x.yaml", content) == problem


def test_aliases_count_as_often_as_they_are_used(tmp_path: Path) -> None:
    def of(number: int) -> str | None:
        return problem_of(tmp_path / "x.yaml", f"a: &a [{'1,' * 998}]\nb: [{'*a,' * number}]")

    # The mapping, two keys, a list of 998 and itself; then a list, and 999 for each alias of it: 1,003 + 999 n.
    assert of(49) is None
    assert of(50) == "(file): more than 50000 values, aliases included"
    assert problem_of(tmp_path / "x.yaml", "a: &a 1\nb: [*a, *a]") is None


def test_a_megabyte_is_read_and_no_more(tmp_path: Path) -> None:
    assert problem_of(tmp_path / "x.yaml", "#" * 2**20) is None
    assert problem_of(tmp_path / "x.yaml", "#" * (2**20 + 1)) == "(file): larger than 1048576 bytes"


def test_after_fifty_problems_the_rest_is_not_read() -> None:
    document = Document("x.yaml")
    for number in range(49):
        document.add_problem_at((number, 1), (f"k{number}",), "odd")
    document.add_problem_at((0, 1), ("k0",), "odd")  # the same one again
    with pytest.raises(CatalogError) as refused:
        document.add_problem_at((50, 1), ("last",), "odd")
    assert len(refused.value.problems) == MAX_PROBLEMS == 50
    assert refused.value.hint == "the rest of the file was not read"


def test_of_fewer_problems_the_hint_is_the_files() -> None:
    document = Document("x.yaml", hint="look again")
    document.raise_problems()
    document.add_problem(("a",), "odd")
    with pytest.raises(CatalogError) as refused:
        document.raise_problems()
    assert (refused.value.problems, refused.value.hint) == (["x.yaml:1:1: a: odd"], "look again")


# --- names and values in errors ---


def test_a_value_is_shown_up_to_sixty_characters() -> None:
    assert shown("x" * 58) == repr("x" * 58)
    assert shown("x" * 59) == repr("x" * 59)[:57] + "..."
    assert len(shown("x" * 59)) == 60

    class Broken:
        def __repr__(self) -> str:
            raise RuntimeError

    assert shown(Broken()) == "a Broken"


def test_names_are_near_if_they_begin_with_or_contain_or_resemble_what_was_given() -> None:
    known = ["alpha", "alphabet", "beta", "an-alpha", "alpina"]
    assert nearest_names("alpha", known) == ("alpha", "alphabet", "an-alpha")
    assert nearest_names("alpah", known) == ("alpha", "alpina", "an-alpha", "alphabet")
    assert nearest_names("zzzzz", known) == ()
    assert nearest_names("a", ["a1", "b"]) == ("a1",)  # one letter is no part of a name, but resembles a short one
    assert nearest_names("a", ["alpha-centauri"]) == ()
    assert nearest_names("l4", ["nvidia-l4-of-a-cloud", "a-long-name"]) == ("nvidia-l4-of-a-cloud",)
    assert len(nearest_names("x", ["x1", "x2", "x3", "x4", "x5"])) == 4
    assert nearest_names("x" * 200, ["x" * 200]) == ("x" * 200,)
    assert nearest_names("x" * 201, ["x" * 201]) == ()
