"""Numbers that JSON has no word for are read from a config.json as transformers writes them."""

import math
from pathlib import Path

import pytest
from transformers import AutoConfig, FalconH1Config, GraniteMoeHybridConfig, Mamba2Config, NemotronHConfig

from planner.models.sources.config_json import parse_config
from planner.replay.structure.config_data import checked


@pytest.mark.parametrize("kind", [FalconH1Config, GraniteMoeHybridConfig, Mamba2Config, NemotronHConfig])
def test_an_infinity_that_transformers_has_saved_is_read_again(kind: type, tmp_path: Path) -> None:
    config = kind(time_step_limit=(0.0, math.inf))
    config.save_pretrained(tmp_path)
    source = parse_config("config.json", (tmp_path / "config.json").read_bytes())
    assert isinstance(source.architecture, dict)
    read = AutoConfig.for_model(**checked(source.architecture))
    assert tuple(read.time_step_limit) == (0.0, math.inf)


def test_other_objects_stay_objects() -> None:
    assert checked({"limits": [{"__float__": "-Infinity"}, 1.5]}) == {"limits": [-math.inf, 1.5]}
    assert math.isnan(checked({"eps": {"__float__": "NaN"}})["eps"])
    assert checked({"of": {"__float__": "12"}, "or": {"__float__": "NaN", "b": 1}}) == {"of": {}, "or": {"b": 1}}
