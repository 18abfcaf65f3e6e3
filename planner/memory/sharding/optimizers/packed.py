"""torchao's optimizers of few bits."""

from __future__ import annotations

from planner.memory.settings.dtypes import FP32
from planner.memory.sharding.optimizers.locals import Locals
from planner.memory.sharding.optimizers.rule import Kept
from planner.memory.sharding.state import TrainedTensor, allocated
from strategies import Packed

AO_BLOCK = 256
"""Elements per scale (transformers/trainer_optimizer.py, `_get_torchao_optimizer`)."""
AO_SMALLEST = 4096
"""Smaller tensors, and those that blocks do not divide, keep states in their own dtype (torchao/optim/adam.py,
`_new_buffer`)."""


class PackedStates(Kept[Packed]):
    """Codes, an fp32 scale per block and a table of the codes' values with each state (torchao/optim/subclass_8bit.py,
    subclass_4bit.py). The step is compiled, so what it allocates is what torch's inductor leaves unfused: here all that
    its code for a CPU allocates, an upper bound for a GPU."""

    def states(self, tensor: TrainedTensor) -> int:
        elements, facts = tensor.num_elements, self.facts
        if not self._is_packed(tensor):
            return facts.states * allocated(elements * tensor.itemsize)
        return facts.states * (allocated(elements * facts.bits // 8) + allocated(elements // AO_BLOCK * FP32))

    def counts(self, tensor: TrainedTensor) -> int:
        return self.facts.states * allocated(2**self.facts.bits * FP32) if self._is_packed(tensor) else 0

    def step(self, tensor: TrainedTensor, names: Locals) -> None:
        """Each state divided by its scales, in fp32; of 4 bits also its codes unpacked in bytes, and new ones in
        int64."""
        if self._is_packed(tensor):
            elements = tensor.num_elements
            scaled = (elements * FP32, elements // AO_BLOCK * FP32)
            names.passing(*self.facts.states * (scaled if self.facts.bits == 8 else (*scaled, elements, elements * 8)))

    def _is_packed(self, tensor: TrainedTensor) -> bool:
        return tensor.num_elements >= AO_SMALLEST and tensor.num_elements % AO_BLOCK == 0
