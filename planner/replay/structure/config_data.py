"""A config.json of anybody's, before transformers builds a model of it: data, of a size, and without the network."""

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
"""Of which `planner.models` reads no more either; the largest models have 126."""

MAX_LABELS: Final = 10**6
"""transformers writes a dictionary of them."""

MAX_MODULES: Final = 100_000
"""DeepSeek-V3 with a module for each expert would have about 60,000."""

MAX_NUMBER: Final = 10**7
"""Of what is no vocabulary, length, position or base of rotary embeddings: wider than any layer."""

_LAYERS: Final = {"layer", "layers", "nlayers", "blocks", "depth", "depths", "stages"} | {
    *("frames", "types", "replace", "repeat", "repeats", "groups")
}
_NO_COUNT: Final = {"size", "dim", "dims", "norm", "eps", "scale", "offset", "index", "interval", "id", "ids"}
"""Parts of the names of fields: `num_hidden_layers` counts layers, `layer_norm_eps` does not."""

_LARGE: Final = {"theta", "base", "token", "id", "ids", "length", "position", "positions", "vocab", "size", "max"}

_OF_LOADING: Final = ("auto_map", "attn_implementation", "experts_implementation", "custom_pipelines", "model_args")
"""Fields that name code or kernels to load, from the Hub as well (transformers, configuration_utils.py and
integrations/hub_kernels.py). A replay chooses its kernels itself."""


def checked(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields without those that say what to load, and without private ones, which begin with an underscore.

    Raises PlannerError for more layers than any model has, which would take hours to build.
    """
    if str(fields.get("model_type", "")).startswith("timm") or fields.get("use_timm_backbone") is True:
        # It hands fields on to timm's own functions, which load files.
        raise PlannerError("the configuration is of a model that timm builds", "package.module:function plans a module")
    return {name: _checked(name, value) for name, value in fields.items() if not _loads(name)}


def _checked(name: str, value: Any) -> Any:
    if isinstance(value, Mapping):
        return checked(value)
    if isinstance(value, list):
        numbers = [item for item in value if isinstance(item, int)]
        if len(value) > MAX_LAYERS or (_counts_layers(name) and sum(numbers) > MAX_LAYERS):
            raise PlannerError(f"{name} is {shown(value)}", f"at most {MAX_LAYERS} entries, or layers, are built")
        return [_checked(name, item) for item in value]
    if isinstance(value, int) and value > (most := _most(name)):
        raise PlannerError(f"{name} is {shown(value)}", f"at most {most} are built")
    return value


def _most(name: str) -> float:
    """How large the whole number of a field may be."""
    if name == "num_labels":
        return MAX_LABELS
    if _counts_layers(name):
        return MAX_LAYERS
    return math.inf if set(name.split("_")) & _LARGE else MAX_NUMBER


def _loads(name: str) -> bool:
    return name.startswith("_") or name in _OF_LOADING


def _counts_layers(name: str) -> bool:
    parts = set(name.split("_"))
    return not parts.isdisjoint(_LAYERS) and parts.isdisjoint(_NO_COUNT)


@contextmanager
def offline() -> Iterator[None]:
    """Keeps the Hub's client from the network, which some configurations make a model ask for weights
    (`use_pretrained_backbone`)."""
    with patch.object(huggingface_hub.constants, "HF_HUB_OFFLINE", True):
        yield


@contextmanager
def few_modules() -> Iterator[None]:
    """Ends the building of a model that has more modules than any has."""
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
