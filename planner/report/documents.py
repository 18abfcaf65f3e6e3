"""Makes the JSON documents of GPUs, models and search spaces.

Results of the planner are documents already: see `planner.records.plan`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from hardware import GPU, Machine
from planner.models import Foreign, Model
from planner.records.asked.described import Described
from planner.records.asked.space import SearchSpace
from planner.records.verification import SCHEMA_VERSION
from planner.report.parts.words import values_of
from strategies import Option


def gpus_document(gpus: Iterable[GPU]) -> str:
    """Returns a catalog of the GPUs; it can be given back as `--catalog`."""
    entries = {gpu.name: gpu.model_dump(mode="json", exclude={"name"}, exclude_none=True) for gpu in gpus}
    return _text({"gpus": entries})


def machines_document(machines: Iterable[Machine]) -> str:
    """Returns a catalog of the machines; it can be given back as `--catalog`."""
    entries = {m.name: m.model_dump(mode="json", exclude={"name"}, exclude_none=True) for m in machines}
    return _text({"machines": entries})


def models_document(models: Iterable[Model | Foreign]) -> str:
    """Returns a list of the models, without their shapes."""
    return _text({"models": [_entry(model) for model in models]})


def model_document(model: Model | Foreign) -> str:
    """Returns one model with its shape.

    `config` holds the fields of a config.json that decide sizes; a file with these fields is a model, too.
    """
    if isinstance(model, Foreign):
        return _text({**_entry(model), "config": dict(model.fields)})
    return _text({**_entry(model), "config": model.architecture.model_dump(mode="json", exclude_none=True)})


def space_document(described: Described) -> str:
    """Returns a search space; it can be given back as `--space`.

    Values that depend on the fine-tuning method are left out, so that they still depend on it.
    """
    given = {o.name: values for o in described.options() if (values := getattr(described.space, o.name))}
    return _text(json.loads(SearchSpace.model_construct(**given).model_dump_json(exclude_defaults=True)))


def choices_document(options: Iterable[Option]) -> str:
    """Returns options with the meaning of their values, and what each option applies to."""
    return _text({"options": [_option(option) for option in options]})


def _option(option: Option) -> dict[str, Any]:
    kind = option.kind
    named = [{"name": choice.value, "summary": choice.summary} for choice in kind] if isinstance(kind, type) else None
    return {
        "name": option.name,
        "help": option.help,
        "choices": named,
        "aliases": dict(kind.aliases()) if isinstance(kind, type) else {},
        "values": None if isinstance(kind, type) else values_of(kind),
        "applies_to": {name: [choice.value for choice in owners] for name, owners in option.owners().items()},
    }


def _entry(model: Model | Foreign) -> dict[str, Any]:
    if isinstance(model, Foreign):
        model_type, approximate = model.fields["model_type"], False
    else:
        model_type, approximate = model.architecture.model_type, model.approximate
    return {
        "name": model.name,
        "num_parameters": model.num_parameters,
        "model_type": model_type,
        "hf": model.hf,
        "aliases": list(model.aliases),
        "approximate": approximate,
        "notes": list(model.notes),
    }


def _text(content: dict[str, Any]) -> str:
    return json.dumps({"schema_version": SCHEMA_VERSION, **content}, indent=2, ensure_ascii=False)
