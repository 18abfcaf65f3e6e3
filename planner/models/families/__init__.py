"""Holds one module per `model_type` of a Hugging Face config.json; each calls its class `Architecture`."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Final

from hardware.errors import PlannerError

if TYPE_CHECKING:
    from planner.models.architecture import Architecture

SPELLED_WITH_DASHES: Final = {"deberta_v2": "deberta-v2", "xlm_roberta": "xlm-roberta"}
"""Model types, by module, that are no names of Python modules themselves."""

_added: Final[dict[str, type[Architecture]]] = {}


@cache
def _built_in_model_types() -> tuple[str, ...]:
    import pkgutil  # only errors and lists need it

    modules = {module.name: module.name for module in pkgutil.iter_modules(__path__)}
    return tuple((modules | SPELLED_WITH_DASHES).values())


def supported_model_types() -> tuple[str, ...]:
    """Returns all values of `model_type` that can be planned for.

    They are the modules here and the families that plug-ins have added.
    """
    return tuple(sorted({*_built_in_model_types(), *_added}))


def family(model_type: str) -> type[Architecture]:
    """Returns the class of a supported `model_type`."""
    if model_type in _added:
        return _added[model_type]
    module = import_module(f"{__name__}.{model_type.replace('-', '_')}")
    architecture: type[Architecture] = module.Architecture
    return architecture


def add_family(model_type: str, architecture: type[Architecture]) -> None:
    """Adds a family of a plug-in, for as long as the process lives.

    Args:
        model_type: The `model_type` in a config.json.
        architecture: The class that describes its models.

    Raises:
        PlannerError: The registry has the family already.
    """
    if model_type in supported_model_types():
        raise PlannerError(f"the registry has the family {model_type!r} already", "give it another model_type")
    _added[model_type] = architecture
