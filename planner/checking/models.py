"""Finds the model that a recipe names, without network and without running code."""

from __future__ import annotations

import os

from hardware.errors import PlannerError
from planner.models import Foreign, Model
from planner.models.names.closest import closest_model
from planner.models.trusted import UntrustedError, named_in
from planner.readers.documents.reading import Reading
from planner.readers.run import Run
from planner.readers.trainer.shared import LEFT_TO_TRANSFORMERS
from strategies import Attention


def model_of(reading: Reading, run: Run) -> tuple[Model | Foreign, list[str]]:
    """Returns the model, and a note if it is known under another owner's name, or by the name of a folder elsewhere.

    Raises:
        PlannerError: Nothing names a model, or nobody knows it.
    """
    said = reading.said.get("model")
    if said is None or not said.value:
        raise PlannerError("nothing names a model", "-- model_name_or_path=llama-3-8b, or base_model=")
    name = str(said.value)
    file = said.place.file if said.place else run.files[0]
    try:
        return named_in(file, name, None), []
    except UntrustedError as error:
        key = said.place.key if said.place else "model_name_or_path"
        raise PlannerError(error.message, f"-- {key}=llama-3-8b, or another of `planner models`") from None
    except PlannerError as error:
        if os.path.lexists(name):
            raise
        bare = _bare(name)
        try:
            found = named_in(file, bare, None) if "-" in bare else None
        except PlannerError:
            found = None
        if found is None:
            raise _unknown(error, reading) from None
        return found, [f"{name} is taken for {found.hf or found.name}, whose name it has"]


def _bare(name: str) -> str:
    """Returns the model's own name in an id or a path; the Hub's cache and ModelScope's write it in their own ways."""
    parts = name.replace("\\", "/").rstrip("/").split("/")
    cached = next((part for part in reversed(parts) if part.startswith("models--")), None)
    if cached is not None:  # huggingface_hub, file_download.py: models--owner--name/snapshots/revision
        return cached.rpartition("--")[2]
    return parts[-1].replace("___", ".") if len(parts) > 1 else ""  # modelscope, hub/snapshot_download.py: no dots


def say_attention(reading: Reading, model: Model | Foreign) -> None:
    """Says eager attention where a run leaves it to transformers, which has no SDPA for the model."""
    said = reading.said.get("attention")
    if said is None or said.value is not Attention.SDPA or said.why != LEFT_TO_TRANSFORMERS:
        return
    if isinstance(model, Model) and not model.architecture.supports_sdpa:
        reading.say("attention", Attention.EAGER, said.place, f"transformers runs {model.name} without SDPA")


def _unknown(error: PlannerError, reading: Reading) -> PlannerError:
    said = reading.said["model"]
    key = said.place.key if said.place else "model_name_or_path"
    near = closest_model(str(said.value))
    way_out = f"-- {key}=PATH with its config.json says it"
    if near is not None:
        way_out += f"; -- {key}={near} plans the registry's model of that name and size"
    return PlannerError(error.message, way_out)
