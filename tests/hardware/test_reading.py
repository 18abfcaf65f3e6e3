from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardware.errors import CatalogError, shown
from hardware.files.document import Document
from hardware.files.yaml_text import read_document

BILLION_LAUGHS = "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 40))


def read(directory: Path, content: str | bytes) -> Document:
    path = directory / "my.yaml"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_document(path)


def problems_of(directory: Path, content: str | bytes) -> list[str]:
    with pytest.raises(CatalogError) as caught:
        read(directory, content).raise_problems()
    return [problem.replace(f"{directory}/", "") for problem in caught.value.problems]


def test_values_are_read_as_yaml_reads_them_and_keys_as_text(tmp_path: Path) -> None:
    document = read(tmp_path, "4090: {yes: 1_000, b: [1.5, null, 1e9]}")
    document.raise_problems()
    assert document.data == {"4090": {"yes": 1000, "b": [1.5, None, "1e9"]}}


def test_a_merge_key_and_an_alias_bring_what_their_anchor_holds(tmp_path: Path) -> None:
    document = read(tmp_path, "a: &a {x: 1, y: 2}\nb: &b {<<: *a, y: 3}\nc: *b")
    document.raise_problems()
    assert document.data == {"a": {"x": 1, "y": 2}, "b": {"x": 1, "y": 3}, "c": {"x": 1, "y": 3}}


def test_a_problem_stands_where_its_value_stands_or_else_where_the_nearest_enclosing_one_does(tmp_path: Path) -> None:
    document = read(tmp_path, "a:\n  b: 1\n  c: [2,\n    3]\n")
    document.add_problem(("a", "c", 1), "odd")
    document.add_problem(("a", "missing", "deep"), "absent")
    with pytest.raises(CatalogError) as caught:
        document.raise_problems()
    assert [problem.removeprefix(str(tmp_path)) for problem in caught.value.problems] == [
        "/my.yaml:1:1: a.missing.deep: absent",
        "/my.yaml:4:5: a.c.1: odd",
    ]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (
            "a: [1",
            "my.yaml:2:1: (file): not valid YAML: while parsing a flow sequence, did not find expected ',' or ']'",
        ),
        ("a: 1\na: 2", "my.yaml:2:1: a: duplicate key, first on line 1"),
        ("? [a]\n: 1", "my.yaml:1:3: (file): a key must be plain text"),
        ("a: *b", "my.yaml:1:4: (file): not valid YAML: found undefined alias"),
        ("a: &a [*a]", "my.yaml:1:8: (file): alias *a contains itself"),
        ("a: 1\n---\nb: 2", "my.yaml:2:1: (file): not valid YAML: expected a single document in the stream, but found"),
        (BILLION_LAUGHS, "my.yaml:14:18: (file): more than 50000 values, aliases included"),
        ("[" * 500, "my.yaml:1:21: (file): nested deeper than 20 levels"),
        ("a: " + "1:" * 100_000 + "1", "my.yaml:1:4: (file): a value of more than 10000 characters"),
        ("a: !!python/object:os.system {}", "my.yaml:1:4: a: the tag 'tag:yaml.org,2002:python/object:os.system' is"),
        ("a: !mine 3", "my.yaml:1:4: a: the tag '!mine' is not allowed"),
        ("a: !!int x", "my.yaml:1:4: a: 'x' is not a valid int"),
        ('a: !!int ""', "my.yaml:1:4: a: '' is not a valid int"),
        ("a: !!bool 3", "my.yaml:1:4: a: '3' is not a valid bool"),
        ("a: !!timestamp 3", "my.yaml:1:4: a: '3' is not a valid timestamp"),
        ("a: 2024-99-99", "my.yaml:1:4: a: '2024-99-99' is not a valid timestamp"),
        ("a: 1\nb: \x00", "my.yaml:1:1: (file): not valid YAML: "),
        (b"a: 1\nb: \xff", "my.yaml:2:4: (file): not UTF-8 text (byte 0xff)"),
        (b"\x7fELF\x02\x01", "my.yaml:1:1: (file): not valid YAML: "),
        (b"#" * (2**20 + 1), "my.yaml:1:1: (file): larger than 1048576 bytes"),
    ],
)
def test_content_that_cannot_be_read_is_a_problem_with_a_position(
    tmp_path: Path, content: str | bytes, expected: str
) -> None:
    (problem,) = problems_of(tmp_path, content)
    assert problem.startswith(expected)


def test_every_unreadable_value_is_reported_in_the_order_of_the_file(tmp_path: Path) -> None:
    content = "b: !x 1\na: 2024-13-01\nb: 2"
    assert problems_of(tmp_path, content) == [
        "my.yaml:1:4: b: the tag '!x' is not allowed",
        "my.yaml:2:4: a: '2024-13-01' is not a valid timestamp",
        "my.yaml:3:1: b: duplicate key, first on line 1",
    ]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("missing.yaml", "no such file"),
        (".", "is a directory, not a file"),
        ("/dev/zero", "is a device, not a file"),
        ("null\0byte", "cannot be read: embedded null byte"),
    ],
)
def test_a_path_that_cannot_be_read_is_a_problem(
    path: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CatalogError) as caught:
        read_document(path)
    assert caught.value.problems == [f"{path}:1:1: (file): {expected}"]


def test_a_path_part_that_is_not_a_plain_word_is_quoted_so_that_a_problem_stays_one_line(tmp_path: Path) -> None:
    assert problems_of(tmp_path, '"two\\nlines": !x 1') == ["my.yaml:1:15: 'two\\nlines': the tag '!x' is not allowed"]


def test_a_long_value_is_shown_shortened() -> None:
    assert (shown("x" * 100), shown(16**9999)) == ("'" + "x" * 56 + "...", "a huge number")


@given(st.integers() | st.text() | st.lists(st.floats()))
def test_a_shown_value_is_one_short_line(value: object) -> None:
    assert len(shown(value)) <= 60
    assert "\n" not in shown(value)
