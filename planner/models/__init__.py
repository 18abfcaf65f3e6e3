"""Describes models: forward passes of model families, a registry, and what can be read off them."""

from planner.models.architecture import Architecture
from planner.models.decoder import Decoder
from planner.models.entries import RegistryModel
from planner.models.families import add_family, supported_model_types
from planner.models.foreign import Foreign
from planner.models.model import Model
from planner.models.reading.inventory import Inventory
from planner.models.reading.parameters import Linear, Parameters, ParameterTensor
from planner.models.registered import registry_models, replayed_models
from planner.models.registry import (
    add_model,
    find_model,
    recognize,
    sized_model,
)

__all__ = [
    "Architecture",
    "Decoder",
    "Foreign",
    "Inventory",
    "Linear",
    "Model",
    "ParameterTensor",
    "Parameters",
    "RegistryModel",
    "add_family",
    "add_model",
    "find_model",
    "recognize",
    "registry_models",
    "replayed_models",
    "sized_model",
    "supported_model_types",
]
