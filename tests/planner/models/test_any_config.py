"""Whatever a config.json holds gives a model or an error of the product."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hardware.errors import PlannerError
from planner.models import find_model, supported_model_types

COMMON = {
    **dict.fromkeys(["hidden_size", "n_embd", "intermediate_size", "ffn_dim"], 64),
    **dict.fromkeys(["num_attention_heads", "n_head", "num_key_value_heads"], 4),
    **dict.fromkeys(["num_hidden_layers", "n_layer"], 2),
    **dict.fromkeys(["max_position_embeddings", "n_positions", "vocab_size"], 100),
}
"""What every family needs."""

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
FIELDS = [
    "hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim", "n_inner", "ffn_dim",
    "word_embed_proj_dim", "tie_word_embeddings", "attention_bias", "attention_dropout", "hidden_act", "rotary_pct",
    "rope_parameters", "no_rope_layers", "no_rope_layer_interval", "quantization_config", "text_config", "é",
]  # fmt: skip


def model_or_error(path: Path) -> None:
    try:
        model = find_model(str(path))
    except PlannerError:
        return
    assert model.num_parameters > 0
    assert len(model.inventory.layer_kinds) == model.architecture.num_hidden_layers


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("any") / "config.json"


@given(content=st.binary(max_size=300) | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_give_a_model_or_an_error(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    model_or_error(path)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(
    model_type=st.sampled_from(supported_model_types()),
    fields=st.dictionaries(
        st.sampled_from(FIELDS), JSON | st.integers(1, 300) | st.sampled_from([64, 2**24]), max_size=6
    ),
)
def test_any_fields_give_a_model_or_an_error(path: Path, model_type: str, fields: dict[str, Any]) -> None:
    path.write_bytes(json.dumps({**COMMON, **fields, "model_type": model_type}).encode())
    model_or_error(path)
