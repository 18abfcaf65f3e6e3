"""Checks a config.json of unknown origin before transformers builds a model from it.

It must load no code, use no network, and describe a model that can be built in reasonable time.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final
from unittest.mock import patch

import huggingface_hub.constants
import torch

from hardware import PlannerError
from hardware.errors import shown

MAX_LAYERS: Final = 2**10
"""Largest number of layers, and of entries in a list, as in `planner.models`; the largest models have 126 layers."""

MAX_LABELS: Final = 10**6
"""Largest number of labels; transformers writes a dictionary of them."""

MAX_MODULES: Final = 100_000
"""Largest number of modules; DeepSeek-V3 with a module for each expert would have about 60,000."""

MAX_NUMBER: Final = 10**7
"""Largest whole number of any other field, wider than any layer.

Vocabularies, lengths, positions and bases of rotary embeddings have no limit (`_LARGE`)."""

_LAYERS: Final = {"layer", "layers", "nlayers", "blocks", "depth", "depths", "stages"} | {
    *("frames", "types", "replace", "repeat", "repeats", "groups")
}
"""Words in the names of fields that count layers, such as `num_hidden_layers`."""

_NO_COUNT: Final = {"size", "dim", "dims", "norm", "eps", "scale", "offset", "index", "interval", "id", "ids"}
"""Words in the names of fields that count no layers in spite of a word of `_LAYERS`, such as `layer_norm_eps`."""

_LARGE: Final = {"theta", "base", "token", "id", "ids", "length", "position", "positions", "vocab", "size", "max"}
"""Words in the names of fields whose numbers have no limit."""

_SPECIAL: Final = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
"""Numbers that transformers 5 writes as `{"__float__": "Infinity"}` (configuration_utils.py,
`_encode_special_floats`)."""

_OF_LOADING: Final = ("auto_map", "attn_implementation", "experts_implementation", "custom_pipelines", "model_args")
"""Fields that name code or kernels to load, also from the Hub (transformers, configuration_utils.py and
integrations/hub_kernels.py). A replay chooses its kernels itself."""


def checked(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a configuration without the fields that name what to load and without private ones (`_...`).

    Args:
        fields: The content of a config.json.

    Raises:
        PlannerError: Timm would build the model, or a number is larger than in any model, which could take hours.
    """
    if str(fields.get("model_type", "")).startswith("timm") or fields.get("use_timm_backbone") is True:
        # transformers passes fields on to timm's functions, which load files.
        raise PlannerError("the configuration is of a model that timm builds", "package.module:function plans a module")
    return {name: _checked(name, value) for name, value in fields.items() if not _loads(name)}


def _checked(name: str, value: Any) -> Any:
    """Checks the value of one field, nested ones included."""
    if isinstance(value, Mapping):
        return checked(value) if (number := _special(value)) is None else number
    if isinstance(value, list):
        numbers = [item for item in value if isinstance(item, int)]
        if len(value) > MAX_LAYERS or (_counts_layers(name) and sum(numbers) > MAX_LAYERS):
            raise PlannerError(f"{name} is {shown(value)}", f"at most {MAX_LAYERS} entries, or layers, are built")
        return [_checked(name, item) for item in value]
    if isinstance(value, int) and value > (most := _most(name)):
        raise PlannerError(f"{name} is {shown(value)}", f"at most {most} are built")
    return value


def _special(value: Mapping[str, Any]) -> float | None:
    """Returns the number that JSON has no word for and an object stands for; None if it is another object."""
    spelled = value.get("__float__") if len(value) == 1 else None
    return _SPECIAL.get(spelled) if isinstance(spelled, str) else None


def _most(name: str) -> float:
    """Returns the largest whole number that a field may have."""
    if name == "num_labels":
        return MAX_LABELS
    if _counts_layers(name):
        return MAX_LAYERS
    return math.inf if set(name.split("_")) & _LARGE else MAX_NUMBER


def _loads(name: str) -> bool:
    """Returns whether a field is private or names what to load."""
    return name.startswith("_") or name in _OF_LOADING


def _counts_layers(name: str) -> bool:
    """Returns whether a field counts layers, as far as its name says."""
    parts = set(name.split("_"))
    return not parts.isdisjoint(_LAYERS) and parts.isdisjoint(_NO_COUNT)


@contextmanager
def offline() -> Iterator[None]:
    """Keeps the Hub's client off the network while the context lasts.

    Some configurations make a model ask the Hub for weights (`use_pretrained_backbone`).
    """
    with patch.object(huggingface_hub.constants, "HF_HUB_OFFLINE", True):
        yield


@contextmanager
def few_modules() -> Iterator[None]:
    """Limits the modules that are built while the context lasts.

    Raises:
        PlannerError: There are more than `MAX_MODULES`.
    """
    count = 0

    def counted(*_: Any) -> None:
        nonlocal count
        count += 1
        if count > MAX_MODULES:
            raise PlannerError(
                f"the model has more than {MAX_MODULES:,} modules", "check the counts in its config.json"
            )

    registration = torch.nn.modules.module.register_module_module_registration_hook(counted)
    try:
        yield
    finally:
        registration.remove()
