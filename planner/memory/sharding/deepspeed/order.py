"""Knows the order in which the modules of a micro-batch are entered, and which parameters each of them uses.

Source: deepspeed/runtime/zero/partitioned_param_coordinator.py, DeepSpeed 0.19.8.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import accumulate

from planner.libraries.deepspeed import GATHERED_WHOLE
from planner.memory.autograd.marks import WITHOUT_PARAMETERS
from planner.memory.sharding.deepspeed.flat import Flat, Owned

Module = tuple[int, str]
"""Part and name of a module that has parameters."""


class Order:
    """Holds the order of the modules of one micro-batch.

    Args:
        flat: The parameters.
        modules: Every module in the order in which it is entered, in forward and backward.
        read: The parameters of others that the forward of a module reads, by its name.

    Attributes:
        parameters_in_order: Each use of a parameter, with the place of its module in the order.
    """

    def __init__(self, flat: Flat, modules: Sequence[Module], read: Mapping[str, Sequence[Owned]]) -> None:
        self.modules = modules
        self._originals, self._read = flat.originals, read
        self._entered = frozenset(modules)
        self._of_module: dict[Module, list[Owned]] = defaultdict(list)
        for parameter in flat.parameters:
            if flat.runs(parameter):
                self._of_module[self.home(parameter)].append(parameter)
        used = [self.parameters(module) for module in modules]
        self.parameters_in_order = [(p, step) for step, found in enumerate(used) for p in found]
        self._traversed = [*accumulate((sum(p.num_elements for p in found) for found in used), initial=0)]
        """Elements of all parameters that are used before each place in the order."""
        self._uses: dict[int, list[int]] = defaultdict(list)
        """Places in the order where a parameter is used, by its number."""
        for p, step in self.parameters_in_order:
            self._uses[p.number].append(step)

    def has(self, module: Module, step: int) -> bool:
        """Returns whether a module is the one that is entered at a place in the order."""
        return step < len(self.modules) and self.modules[step] == module

    def home(self, parameter: Owned) -> Module:
        """Returns the module with which a parameter is gathered: its own, or the nearest around it that is entered."""
        name = parameter.module
        while name and (parameter.part, name) not in self._entered:
            name = name.rpartition(".")[0]
        return parameter.part, name or parameter.module

    def is_within(self, parameter: Owned) -> bool:
        """Returns whether a parameter is in a module that is gathered whole."""
        return self.home(parameter)[1] in GATHERED_WHOLE.values()

    def parameters(self, module: Module) -> Sequence[Owned]:
        """Returns the parameters of a module; a tied head has that of the stem."""
        if module[1] in self._read:
            return self._read[module[1]]
        if module[1].startswith(WITHOUT_PARAMETERS):
            return []
        original = self._originals.get(f"{module[1]}.weight")
        return self._of_module.get(module) or ([original] if original else self._of_module[0, module[1]])

    def distance(self, parameter: Owned, step: int) -> int | None:
        """Returns the elements of all parameters used from a place in the order until the next use of one.

        None stands for a parameter that is not used again.
        """
        uses = self._uses[parameter.number]
        later = bisect_left(uses, step)
        return None if later == len(uses) else self._traversed[uses[later]] - self._traversed[step]
