from __future__ import annotations

import json
from pathlib import Path

from hardware import builtin_catalog_path, load_catalog, read_catalog
from planner.models import find_model, recognize, sized_model
from planner.report.documents import choices_document, gpus_document, machines_document, model_document, models_document
from strategies import OPTIONS, Update


def test_the_document_of_gpus_is_a_catalog_of_the_same_gpus(tmp_path: Path) -> None:
    gpus = read_catalog(builtin_catalog_path()).gpus
    path = tmp_path / "my.yaml"
    path.write_text(gpus_document(gpus), encoding="utf-8")
    assert load_catalog(path).gpus == gpus


def test_the_document_of_machines_is_a_catalog_of_the_same_machines(tmp_path: Path) -> None:
    machines = load_catalog().machines
    path = tmp_path / "my.yaml"
    path.write_text(machines_document(machines), encoding="utf-8")
    assert load_catalog(path).machines == machines


def test_the_document_of_a_model_has_a_config_that_is_the_same_model(tmp_path: Path) -> None:
    model = find_model("qwen2.5-0.5b")
    document = json.loads(model_document(model))
    path = tmp_path / "config.json"
    path.write_text(json.dumps(document["config"]), encoding="utf-8")
    assert find_model(str(path)).num_parameters == model.num_parameters == document["num_parameters"]


def test_the_document_of_models_lists_each_with_its_exact_size() -> None:
    models = [find_model(name) for name in ("gpt2", "llama-2-7b")]
    document = json.loads(models_document(models))
    assert document["schema_version"] == 1
    assert {entry["name"]: entry["num_parameters"] for entry in document["models"]} == {
        "gpt2": 124_439_808,
        "llama-2-7b": 6_738_415_616,
    }


def test_the_document_of_choices_says_what_each_means_and_applies_to() -> None:
    document = json.loads(choices_document(OPTIONS.values()))
    found = {entry["name"]: entry for entry in document["options"]}
    assert list(found) == list(OPTIONS)
    assert all(choice["summary"] for entry in found.values() for choice in entry["choices"] or ())
    assert found["update"]["choices"][0] == {"name": "after-backward", "summary": Update.AFTER_BACKWARD.summary}
    assert found["lora_dropout"]["values"] == "a number from 0 to below 1, such as 0.05"
    assert found["shard_size"]["applies_to"]["sharding"] == ["hybrid_shard"]


def test_the_document_of_a_model_that_replays_plan_has_its_fields(tmp_path: Path) -> None:
    model = sized_model("olmo-3-7b")
    document = json.loads(model_document(model))
    assert (document["num_parameters"], document["model_type"]) == (7_298_011_136, "olmo3")
    path = tmp_path / "config.json"
    path.write_text(json.dumps(document["config"]), encoding="utf-8")
    assert recognize(str(path)).source == model.source
