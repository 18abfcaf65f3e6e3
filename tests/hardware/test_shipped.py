"""The JSON that is made of the YAML that ships: it says the same, and is read only where it does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hardware.files.shipped import checksum, joined, read_shipped
from hardware.loading import COMPILED, builtin_catalog_path


def compiled(folder: Path, *contents: bytes, data: Any) -> Path:
    path = folder / "compiled.json"
    path.write_text(json.dumps({"checksum": checksum(contents), "data": data}))
    return path


def written(folder: Path, *contents: str) -> list[Path]:
    paths = [folder / f"{number}.yaml" for number in range(len(contents))]
    for path, content in zip(paths, contents, strict=True):
        path.write_text(content)
    return paths


def test_the_json_says_what_the_built_in_catalog_says() -> None:
    data = joined([builtin_catalog_path().read_bytes()])
    assert read_shipped([builtin_catalog_path()], COMPILED) == json.loads(json.dumps(data, default=str))


def test_json_of_the_same_yaml_is_read_in_its_place(tmp_path: Path) -> None:
    sources = written(tmp_path, "a: 1", "b: 2")
    assert read_shipped(sources, compiled(tmp_path, b"a: 1", b"b: 2", data={"of": "json"})) == {"of": "json"}


@pytest.mark.parametrize(("changed", "value"), [("a: 3", 3), ("a: 1  # one", 1)])
def test_yaml_that_has_changed_is_read_itself(tmp_path: Path, changed: str, value: int) -> None:
    sources = written(tmp_path, "a: 1", "b: 2")
    path = compiled(tmp_path, b"a: 1", b"b: 2", data={"of": "json"})
    sources[0].write_text(changed)
    assert read_shipped(sources, path) == {"a": value, "b": 2}


@pytest.mark.parametrize("content", [None, b"", b"{", b"[]", b"{}", b'{"checksum": 7}', b"\xff", b"7"])
def test_yaml_is_read_where_its_json_is_missing_or_broken(tmp_path: Path, content: bytes | None) -> None:
    sources, path = written(tmp_path, "a: 1"), tmp_path / "compiled.json"
    if content is not None:
        path.write_bytes(content)
    assert read_shipped(sources, path) == {"a": 1}


@pytest.mark.parametrize("content", ["a: [", "7", "[1]", "", "\x01"])
def test_what_is_no_mapping_is_refused(tmp_path: Path, content: str) -> None:
    with pytest.raises(ValueError, match="not valid YAML of a mapping"):
        read_shipped(written(tmp_path, content), tmp_path / "none.json")
