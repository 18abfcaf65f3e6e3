"""Implements operations on symbolic tensors together with the parameters of layers."""

from __future__ import annotations

from collections.abc import Callable

from planner.memory.autograd.ops import Ops
from planner.memory.autograd.tape import Tape, Tensor, Variable
from planner.memory.settings.dtypes import Dtypes
from planner.memory.settings.trainable import Trainable


def _none(name: str) -> bool:
    return False


class Parameters(Ops):
    """Adds parameters, by their names, to the operations on one tape."""

    def __init__(self, tape: Tape, *, dtypes: Dtypes, trained: Trainable, sequence_length: int) -> None:
        super().__init__(tape, autocast=dtypes.autocast, sequence_length=sequence_length)
        self.dtypes, self.trained, self.trains_base = dtypes, trained, trained.weights
        self.parameters: dict[str, Variable] = {}
        self.gathered: Callable[[str], bool] = _none
        """Whether the adapter of a layer, by its name, is gathered already before its forward begins."""

    def parameter(self, name: str, elements: int, itemsize: int, *, trains: bool) -> Tensor:
        """Returns a parameter, without storage since its bytes are persistent; trained ones gather a gradient.

        Args:
            name: Name as in transformers and PEFT.
            elements: Number of elements.
            itemsize: Bytes per element; a bias that trains under BitFit has the trained dtype instead.
            trains: Whether it trains; a bias also does under BitFit.
        """
        if self.trained.biases and name.endswith(".bias"):
            trains, itemsize = True, self.dtypes.trained
        variable = None
        if trains:
            variable = self.parameters.setdefault(name, Variable(True, self.tape.steps.get(name), name))
        parameter = Tensor(None, elements, 0, elements, itemsize, variable)
        parameter.module, parameter.name = module_of(name), name
        return parameter


def module_of(name: str) -> str:
    """Returns the name of the module that has a parameter; each matrix of an adapter is a module of its own."""
    return name if ".lora_" in name else name.rpartition(".")[0]
