"""Architectures: the forward passes of model families, the registry, and what can be read off them."""

from planner.models.decoder import Decoder
from planner.models.inventory import Inventory, Linear, Parameters, ParameterTensor

__all__ = ["Decoder", "Inventory", "Linear", "ParameterTensor", "Parameters"]
