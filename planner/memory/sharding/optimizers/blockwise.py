"""Counts states and temporaries of the optimizers of bitsandbytes."""

from __future__ import annotations

from collections.abc import Iterable

from planner.libraries.allocator import allocated
from planner.memory.settings.dtypes import FP32
from planner.memory.sharding.account import TrainedTensor
from planner.memory.sharding.optimizers.rule import OptimizerRule
from strategies import Blockwise

BNB_BLOCK = 256
"""Elements that share a scale in blockwise 8-bit states (bitsandbytes/optim/optimizer.py, `init_state`)."""
BNB_SMALLEST = 4096
"""Elements of the smallest tensor with 8-bit states; smaller ones keep 32-bit states (`min_8bit_size`)."""
BNB_PAGED = 100_000
"""Elements of the smallest tensor whose states are paged (`get_state_buffer`)."""
BNB_TABLE = 256 * FP32
"""Bytes of the table of values of 8-bit codes: a signed one for the first state, an unsigned one for the second
(`fill_qmap`)."""


class BlockwiseStates(OptimizerRule[Blockwise]):
    """Computes 8-bit or fp32 states, paged or not.

    An 8-bit state takes a byte per element and an fp32 scale per block of 256. Small tensors keep fp32 states, and so
    do embeddings, for which Trainer registers 32-bit states (trainer.py, `register_module_override`).

    Paged states are in managed memory (cudaMallocManaged), which does not come from torch's allocator: the driver moves
    its pages to the host when the GPU is full. Kernels work in place, so a step allocates nothing
    (bitsandbytes/backends/cuda/ops.py, `_optimizer_update_8bit_blockwise_impl`).
    """

    def states(self, tensor: TrainedTensor) -> int:
        """Returns the bytes of a tensor's states and scales from torch's allocator, so without paged states."""
        elements, size = tensor.num_elements, 0
        if not self._is_paged(tensor):
            size += allocated(elements if self._is_8bit(tensor) else elements * FP32)
        if self._is_8bit(tensor):
            size += allocated(-(-elements // BNB_BLOCK) * FP32)
        return self.facts.states * size

    def tables(self, tensors: Iterable[TrainedTensor]) -> int:
        """Returns the bytes of the tables of 8-bit values, one for each state, if any tensor has 8-bit states."""
        return self.facts.states * BNB_TABLE if any(map(self._is_8bit, tensors)) else 0

    def host(self, tensor: TrainedTensor) -> int:
        """Returns the bytes of paged states, twice: on a full GPU all pages come from the host and go back."""
        size = tensor.num_elements * (1 if self._is_8bit(tensor) else FP32)
        return 2 * self.facts.states * size if self._is_paged(tensor) else 0

    def _is_8bit(self, tensor: TrainedTensor) -> bool:
        return self.facts.bits == 8 and tensor.num_elements >= BNB_SMALLEST and not tensor.is_embedding

    def _is_paged(self, tensor: TrainedTensor) -> bool:
        return self.facts.paged and tensor.num_elements >= BNB_PAGED
