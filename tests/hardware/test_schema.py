from typing import Any

import jsonschema
import pytest
import yaml

from hardware import builtin_catalog_path
from hardware.schema import catalog_schema


def document() -> Any:
    text = builtin_catalog_path().read_text(encoding="utf-8")
    loader = type("Dates", (yaml.SafeLoader,), {})  # JSON has no days: they are text there
    loader.add_constructor("tag:yaml.org,2002:timestamp", lambda made, node: made.construct_scalar(node))
    return yaml.load(text, Loader=loader)


def rejects(changed: Any) -> bool:
    return not jsonschema.Draft202012Validator(catalog_schema()).is_valid(changed)


def test_the_built_in_catalog_has_the_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(catalog_schema())
    jsonschema.validate(document(), catalog_schema())


@pytest.mark.parametrize(
    "wrong",
    [
        {"gpu": {}},
        {"gpus": {"T4": {"colour": "red"}}},
        {"gpus": {"T4": {"memory_bytes": "much"}}},
        {"machines": {"box": {"gpus": 0}}},
        {"schema_version": 2},
    ],
)
def test_what_a_catalog_cannot_hold_has_not(wrong: Any) -> None:
    assert rejects(wrong)


def test_an_entry_may_leave_out_what_its_base_has() -> None:
    assert not rejects({"machines": {"mine": {"base": "p5.48xlarge", "spot": True, "price_per_hour_usd": 20}}})
