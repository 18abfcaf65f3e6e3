"""Operations on symbolic tensors, and the parameters that layers have."""

from __future__ import annotations

from planner.memory.autograd.ops import Ops
from planner.memory.autograd.tape import Tape, Tensor, Variable
from planner.memory.settings.dtypes import Dtypes
from planner.memory.settings.trainable import Trainable


class Parameters(Ops):
    """Operations, and parameters by their names."""

    def __init__(self, tape: Tape, *, dtypes: Dtypes, trained: Trainable, sequence_length: int) -> None:
        super().__init__(tape, autocast=dtypes.autocast, sequence_length=sequence_length)
        self.dtypes, self.trained, self.trains_base = dtypes, trained, trained.weights
        self.parameters: dict[str, Variable] = {}

    def parameter(self, name: str, elements: int, itemsize: int, *, trains: bool) -> Tensor:
        """A parameter: persistent, so it has no storage of its own here; trained ones gather a gradient."""
        if self.trained.biases and name.endswith(".bias"):
            trains, itemsize = True, self.dtypes.trained
        variable = None
        if trains:
            variable = self.parameters.setdefault(name, Variable(True, self.tape.steps.get(name)))
        return Tensor(None, elements, 0, elements, itemsize, variable)
