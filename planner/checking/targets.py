"""Finds which layers get adapters where a file names modules by their paths or by a regular expression, as PEFT does.

Source: peft/tuners/tuners_utils.py, `check_target_module_exists`: a text has to match the whole path of a module, and a
name of a list the end of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from planner.models import Foreign, Model
from planner.readers.documents.patterns import Pattern
from planner.readers.documents.reading import Place, Reading
from strategies import ALL_LINEAR

_BLOCKS: Mapping[str, str] = {
    "bloom": "transformer.h",
    "falcon": "transformer.h",
    "gpt2": "transformer.h",
    "gpt_neox": "gpt_neox.layers",
    "gptj": "transformer.h",
    "mpt": "transformer.blocks",
    "opt": "model.decoder.layers",
}
"""Paths of the blocks of causal language models, of those that have not `model.layers`: models/*/modeling_*.py."""
_OTHERS = ("bert", "deberta_v2", "distilbert", "roberta", "t5", "vit", "xlm_roberta")
"""Families with other paths, or with more than one stack of blocks."""
_OF_PARTS = ("model.language_model.layers", "language_model.model.layers")
"""Paths of the language model's blocks in a multimodal model: of transformers 4.52 and later, and of older ones."""
_ENDS = ("lm_head", "embed_out", "embed_tokens", "wte", "embed_in", "word_embeddings")
"""Modules beside the blocks that PEFT would adapt as well: the head and the token embedding, by their short names."""
_SHOWN = 3


def say_targets(reading: Reading, model: Model | Foreign) -> list[str]:
    """Says by short names which layers get adapters, or refuses what chooses in another way; returns notes.

    Args:
        reading: What is read; its pattern is replaced.
        model: The model whose modules are looked through.
    """
    said = reading.said.get("lora_targets")
    if said is not None and isinstance(said.value, Pattern):
        _say_pattern(reading, said.value, said.place, model)
    elif said is not None and isinstance(said.value, tuple):
        known = _adaptable(model)
        names = tuple(name for name in said.value if name in known or name in _ENDS)
        without = ", ".join(name for name in said.value if name not in names)
        # PEFT refuses a list only if none of its names has a layer: tuners_utils.py, `inject_adapter`
        if known and names and without:
            reading.say("lora_targets", names, said.place, f"{model.name} has no layer {without}")
            return [f"{model.name} has no layer {without}: PEFT leaves such names of a list without adapters"]
    return []


def _adaptable(model: Model | Foreign) -> tuple[str, ...]:
    """Returns the names of linear layers, or none of a model with experts, where names are also of parameters."""
    if not isinstance(model, Model):
        from planner.profiles import ProfiledModel  # few recipes name such a model

        return ProfiledModel.of(model, lambda line: None).target_names
    layers = (layer for part in model.inventory.parts for layer in part.linears)
    return () if any(layer.experts > 1 for layer in layers) else model.target_names


def _say_pattern(reading: Reading, pattern: Pattern, place: Place | None, model: Model | Foreign) -> None:
    del reading.said["lora_targets"]
    why = _unknown(model)
    if why is not None or not isinstance(model, Model):
        reading.refuse(f"layers with adapters by {pattern}: {why}", place)
        return
    blocks = next((path for path in _paths(model) if any(map(pattern.matches, _linears(model, path)))), None)
    if blocks is None:
        reading.refuse(f"{pattern} matches no linear layer of {model.name}, which PEFT refuses", place)
        return
    others = [path for path in _beside(model, blocks) if pattern.matches(path)]
    if others:
        reading.refuse(f"adapters on {', '.join(others[:_SHOWN])}, which {pattern} matches", place)
    chosen = _chosen(pattern, model, blocks)
    partly = next((name for name, places in chosen.items() if len(set(places.values())) > 1), None)
    if partly is not None:
        yes, no = ([path for path, is_one in chosen[partly].items() if is_one is on] for on in (True, False))
        what = f"adapters on {len(yes)} of {len(yes) + len(no)} layers {partly}: on {yes[0]}, not on {no[0]}"
        reading.refuse(what, place)
        return
    names = tuple(name for name, places in chosen.items() if all(places.values()))
    every = len(names) == len(chosen)
    reading.say("lora_targets", ALL_LINEAR if every else names, place, "the layers that it matches")


def _unknown(model: Model | Foreign) -> str | None:
    """Returns why it is not known what a model's modules are called, or None."""
    if not isinstance(model, Model) or model.architecture.model_type in _OTHERS:
        return f"the paths of {model.name}'s modules are not known here"
    if any(layer.experts > 1 for part in model.inventory.parts for layer in part.linears):
        return f"experts of {model.name} are parameters, which PEFT finds by names alone"
    return None


def _paths(model: Model) -> tuple[str, ...]:
    known = _BLOCKS.get(model.architecture.model_type, "model.layers")
    return (*_OF_PARTS, known) if any("only the text part" in note for note in model.notes) else (known,)


def _chosen(pattern: Pattern, model: Model, blocks: str) -> dict[str, dict[str, bool]]:
    """Returns by the short names of linear layers whether a layer of that path gets an adapter."""
    found: dict[str, dict[str, bool]] = {}
    for path, name in _linears(model, blocks).items():
        found.setdefault(name, {})[path] = pattern.matches(path)
    return found


def _linears(model: Model, blocks: str) -> dict[str, str]:
    """Returns the short name of every linear layer in blocks by its path."""
    inventory = model.inventory
    return {
        ".".join(filter(None, (blocks, str(number), layer.name.rpartition(".")[0], name))): name
        for number, kind in enumerate(inventory.layer_kinds)
        for layer in inventory.blocks[kind].linears
        for name in layer.target_names
    }


def _beside(model: Model, blocks: str) -> Iterator[str]:
    """Yields the paths of modules that are no linear layers of blocks: containers, embeddings and the head."""
    base = blocks.rpartition(".")[0]
    yield from (*(f"{base}.{name}" for name in _ENDS), *_ENDS, base, blocks)
    yield from dict.fromkeys(path.rpartition(".")[0] for path in _linears(model, blocks))
