"""Every architecture against the class of transformers that it describes."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import CONFIG_MAPPING, MODEL_MAPPING, AutoConfig
from transformers.utils import logging

from planner.models import (
    Architecture,
    Foreign,
    Inventory,
    find_model,
    recognize,
    registry_models,
    replayed_models,
    supported_model_types,
)
from planner.models.families import family
from planner.replay.structure.source import build
from strategies import Task

logging.set_verbosity_error()

SMALL: dict[str, Any] = {
    **dict.fromkeys(["hidden_size", "n_embd", "d_model", "dim"], 4096),
    **dict.fromkeys(["num_attention_heads", "n_head", "n_heads", "num_heads"], 64),
    **dict.fromkeys(["num_hidden_layers", "n_layer", "n_layers", "num_layers"], 2),
    **dict.fromkeys(["max_position_embeddings", "n_positions"], 128),
    **dict.fromkeys(["intermediate_size", "ffn_dim", "d_ff", "hidden_dim"], 512),
    "num_key_value_heads": 8,
    "vocab_size": 160_000,  # above the padding token of every family
    "position_buckets": 32,
    "relative_attention": True,
    "position_biased_input": False,
    "share_att_key": True,
    "norm_rel_ebd": "layer_norm",
    "pos_att_type": ["p2c", "c2p"],
}


def counted_by_transformers(fields: dict[str, Any]) -> int:
    """Parameters of the real model of the training class, tied ones once."""
    model = build(fields, torch.float32, "eager")
    return sum(parameter.numel() for parameter in model.parameters())


def pretrained(architecture: Architecture) -> Architecture:
    """An encoder as it was pretrained, with the head that its config.json names; others as they are."""
    is_classifier = architecture.task is Task.SEQUENCE_CLASSIFICATION
    return architecture.for_task(Task.MASKED_LM) if is_classifier else architecture


def required_fields(architecture: type[Architecture]) -> dict[str, Any]:
    fields = architecture.model_fields.items()
    needed = [(name, f) for name, f in fields if f.is_required() or name == "num_attention_heads"]
    names = [getattr(f.validation_alias, "choices", [name])[0] for name, f in needed]
    return {name: SMALL[name] for name in names if name != "model_type"}


def variants() -> Iterator[tuple[str, dict[str, Any]]]:
    """Each family with the defaults of all optional fields, then with one of those that decide sizes set."""
    for model_type in supported_model_types():
        fields = family(model_type).model_fields
        yield model_type, {}
        yield from ((model_type, {name: not f.default}) for name, f in fields.items() if isinstance(f.default, bool))
        sizes = {"num_key_value_heads": 32, "head_dim": 32, "n_inner": 96, "word_embed_proj_dim": 256}
        sizes |= {"num_kv_heads": 16, "ffn_hidden_size": 512}
        yield from ((model_type, {name: value}) for name, value in sizes.items() if name in fields)


@pytest.mark.parametrize("name", [entry.name for entry in registry_models()])
def test_a_registry_model_has_the_parameters_of_the_real_one(name: str) -> None:
    entry = next(entry for entry in registry_models() if entry.name == name)
    expected = counted_by_transformers(entry.fields)
    assert Inventory(pretrained(find_model(name).architecture)).num_parameters == expected


@pytest.mark.slow
def test_models_of_the_registry_without_a_family_have_the_parameters_of_the_real_ones() -> None:
    counted = {e.name: counted_by_transformers(e.fields) for e in replayed_models()}
    assert counted == {e.name: e.num_parameters for e in replayed_models()}


@pytest.mark.parametrize("model_type", supported_model_types())
def test_a_family_runs_with_the_fused_attention_that_transformers_gives_it(model_type: str) -> None:
    real, ours = MODEL_MAPPING[CONFIG_MAPPING[model_type]], family(model_type)
    assert (ours.supports_flash, ours.supports_flex) == (real._supports_flash_attn, real._supports_flex_attn)


@pytest.mark.parametrize(("model_type", "options"), list(variants()))
def test_a_family_reads_optional_fields_as_transformers_does(model_type: str, options: dict[str, Any]) -> None:
    architecture = family(model_type)
    fields = {"model_type": model_type, **required_fields(architecture), **options}
    found = pretrained(architecture.model_validate(fields))
    assert Inventory(found).num_parameters == counted_by_transformers(fields)


@pytest.mark.parametrize("name", [entry.name for entry in registry_models()])
def test_a_configuration_that_transformers_saves_reads_as_the_registry_entry(name: str, tmp_path: Path) -> None:
    entry = next(entry for entry in registry_models() if entry.name == name)
    AutoConfig.for_model(**entry.fields).save_pretrained(tmp_path)
    saved, registered = find_model(str(tmp_path)), find_model(name)
    without = {"head_dim"}  # transformers writes out what follows from the other fields
    assert saved.architecture.model_dump(exclude=without) == registered.architecture.model_dump(exclude=without)
    assert saved.inventory.blocks == registered.inventory.blocks


@pytest.mark.parametrize(("model_type", "field"), [("gpt_neox", "rotary_pct"), ("phi3", "partial_rotary_factor")])
def test_partial_rotary_is_found_where_transformers_saves_it(model_type: str, field: str, tmp_path: Path) -> None:
    AutoConfig.for_model(model_type, **{field: 0.5}).save_pretrained(tmp_path)
    assert getattr(find_model(str(tmp_path)).architecture, field) == 0.5


def test_a_distilbert_of_frozen_positions_is_left_to_replays(tmp_path: Path) -> None:
    source = next(e.fields for e in registry_models() if e.name == "distilbert-base")
    (tmp_path / "config.json").write_text(json.dumps({**source, "sinusoidal_pos_embds": True}))
    assert isinstance(recognize(str(tmp_path)), Foreign)


@pytest.mark.parametrize(
    ("fields", "described"),
    [
        ({"pos_att_type": "p2c|c2p"}, True),
        ({"conv_kernel_size": 3}, False),
        ({"legacy": False}, False),
        ({"embedding_size": 64}, False),
        ({"share_att_key": False}, False),
    ],
)
def test_a_deberta_that_its_family_does_not_write_out_is_left_to_replays(
    fields: dict[str, Any], described: bool, tmp_path: Path
) -> None:
    source = {**SMALL, **next(e.fields for e in registry_models() if e.model_type == "deberta-v2")}
    (tmp_path / "config.json").write_text(json.dumps({**source, **fields}))
    assert isinstance(recognize(str(tmp_path)), Foreign) is not described


@pytest.mark.parametrize("model_type", supported_model_types())
def test_every_family_has_a_model_in_the_registry_and_an_architecture(model_type: str) -> None:
    assert issubclass(family(model_type), Architecture)
    assert any(entry.model_type == model_type for entry in registry_models())
