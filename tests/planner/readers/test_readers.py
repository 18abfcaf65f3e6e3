"""Every reader keeps what its table promises, whatever stands behind its keys."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hardware import PlannerError
from planner.readers.documents.source import read_source
from planner.readers.documents.table import Table
from planner.readers.reader import Reader, Role
from planner.readers.registry import READERS
from planner.readers.run import Run
from planner.readers.settle import settle
from strategies import OPTIONS

WORDS = {
    *OPTIONS,
    "batching",
    "evaluation_batch_size",
    "global_batch_size",
    "gpus",
    "gradient_accumulation_steps",
    "loss_chunk_tokens",
    "loss_chunks",
    "lora_alpha",
    "micro_batch_size",
    "model",
    "nodes",
    "outputs",
    "precision_without_bf16",
    "sequence_length",
    "target_length",
    "task",
    "version",
}
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 70_000),
    st.floats(allow_nan=True),
    st.sampled_from(["auto", "true", "none", "lora", "4", "1e9", "FSDP", "full_shard auto_wrap", "bf16", "\x00", ""]),
    st.lists(st.sampled_from(["q_proj", "full_shard", "x"]), max_size=2),
    st.dictionaries(st.sampled_from(["a", "use_reentrant"]), st.booleans(), max_size=1),
)


def nested(flat: dict[str, Any]) -> dict[str, Any]:
    """The mapping whose keys are written with dots; a key that is a section and a value is a section."""
    made: dict[str, Any] = {}
    for path, value in flat.items():
        *above, name = path.split(".")
        at = made
        for part in above:
            inner = at.get(part)
            at[part] = at = inner if isinstance(inner, dict) else {}
        if not isinstance(at.get(name), dict):
            at[name] = value
    return made


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.name)
def test_a_key_has_one_meaning(reader: Reader) -> None:
    table: Table = reader.table
    kinds = [set(table.decides), set(table.no_word), set(table.left_out), set(table.idle), set(table.dead)]
    for i, kind in enumerate(kinds):
        for other in kinds[i + 1 :]:
            assert not kind & other


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.name)
@given(data=st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_stands_in_a_file_is_read_or_refused(reader: Reader, data: st.DataObject, tmp_path: Path) -> None:
    table = reader.table
    keys = st.sampled_from([*table.decides, *table.no_word, *table.left_out, *table.dead])
    flat = data.draw(st.dictionaries(keys, VALUES, min_size=1, max_size=8))
    for sign in reader.signs:
        flat.setdefault(sign, {} if any(name.startswith(f"{sign}.") for name in table.decides) else "x")
    file = tmp_path / ("run.json" if reader.role is Role.ENGINE else "run.yaml")
    text = json.dumps(nested(flat)) if reader.role is Role.ENGINE else yaml.safe_dump(nested(flat))
    file.write_text(text)
    try:
        run = Run([read_source(str(file))], READERS, {})
    except PlannerError:
        return
    settle(run.reading)
    assert set(run.reading.said) <= WORDS
    for said in run.reading.said.values():
        assert said.place is None or said.place.file == str(file)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("base_model: a\nbase_model: b\n", "2:1: base_model: duplicate key, first on line 1"),
        ("base_model: !!python/object/apply:os.system [ls]\n", "the tag"),
        ("base_model: [\n", "not valid YAML"),
        ("- base_model\n", "is not a mapping"),
        ("", "has no keys"),
        ("a: &a [*a]\n", "alias *a contains itself"),
    ],
)
def test_a_broken_file_is_told_with_its_line(text: str, problem: str, tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text(text)
    with pytest.raises(PlannerError, match="1 problem in the configuration") as error:
        Run([read_source(str(file))], READERS, {})
    assert problem in error.value.message


def test_json_numbers_and_lines_are_those_of_json(tmp_path: Path) -> None:
    file = tmp_path / "ds.json"
    file.write_text('{\n\t"zero_optimization": {\n\t\t"stage": 3,\n\t\t"reduce_bucket_size": 5e7\n\t}\n}\n')
    said = Run([read_source(str(file))], READERS, {}).reading.said["reduce_bucket"]
    assert said.value == 50_000_000
    assert said.place is not None
    assert (said.place.line, said.place.key) == (4, "zero_optimization.reduce_bucket_size")
    file.write_text('{"zero_optimization": {"stage": 3, "stage": 2}}')
    with pytest.raises(PlannerError, match="duplicate key"):
        Run([read_source(str(file))], READERS, {})
