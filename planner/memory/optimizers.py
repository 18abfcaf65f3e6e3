"""What optimizers keep of each trained tensor, and what their step allocates at its peak: one rule for each kind."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from math import prod
from typing import Any, ClassVar, Generic, TypeVar

from planner.memory.locals import Locals
from planner.memory.numerics import FP32, HALF
from planner.memory.state import ALLOCATION_BYTES, TrainedTensor, allocated
from strategies import (
    AnyOptimizer,
    Blockwise,
    Factored,
    LowRank,
    Offloaded,
    Orthogonalized,
    Packed,
    Rowwise,
    Whole,
)

F = TypeVar("F")
Groups = Sequence[tuple[Sequence[TrainedTensor], int]]
"""Tensors of equal parts, in the model's order, and how many such parts there are."""


class Kept(Generic[F]):
    """What an optimizer with such facts keeps and allocates; this one does neither."""

    passes: ClassVar[tuple[Callable[[TrainedTensor], bool], ...]] = (lambda t: True,)
    """Which tensors are in each of its parameter groups, in the order in which it steps them."""

    def __init__(self, facts: F) -> None:
        self.facts = facts

    def states(self, tensor: TrainedTensor) -> int:
        """Bytes of a tensor's states on the GPU, which are divided where the tensor is sharded."""
        return 0

    def counts(self, tensor: TrainedTensor) -> int:
        """Bytes beside them that every rank keeps whole."""
        return 0

    def tables(self, tensors: Iterable[TrainedTensor]) -> int:
        """Bytes that all tensors share."""
        return 0

    def host(self, tensor: TrainedTensor) -> int:
        """Bytes that a step moves between GPU and host."""
        return 0

    def flops(self, tensor: TrainedTensor) -> int:
        """Of matrix products in half precision."""
        return 0

    def step(self, tensor: TrainedTensor, names: Locals) -> None:
        """What the step of one tensor assigns to its local variables."""

    def resident(self, groups: Groups, ranks: int) -> int:
        """Bytes of all states on one of the ranks that share them."""
        states = sum(n * sum(map(self.states, tensors)) for tensors, n in groups)
        counts = sum(n * sum(map(self.counts, tensors)) for tensors, n in groups)
        return -(-states // ranks) + counts + self.tables(t for tensors, _ in groups for t in tensors)

    def moved(self, groups: Groups, ranks: int) -> tuple[int, int]:
        """Bytes between one of the ranks and its host in a step, and its FLOPs."""
        host = sum(n * sum(map(self.host, tensors)) for tensors, n in groups)
        flops = sum(n * sum(map(self.flops, tensors)) for tensors, n in groups)
        return host // ranks, flops // ranks

    def temporaries(self, groups: Groups, ranks: int) -> int:
        """Bytes at the peak of a whole step, on one of the ranks that share the tensors. Local variables live on from tensor to tensor: of equal parts two tell
        what the others do."""
        names = Locals(ranks)
        for is_stepped in self.passes:
            for tensors, count in groups:
                for _ in range(min(count, 2)):
                    for tensor in filter(is_stepped, tensors):
                        self.step(tensor, names)
        return names.peak

    def temporaries_of(self, tensor: TrainedTensor, ranks: int = 1) -> int:
        """Bytes at the peak of a step of that tensor alone."""
        names = Locals(ranks)
        self.step(tensor, names)
        return names.peak


class WholeStates(Kept[Whole]):
    def states(self, tensor: TrainedTensor) -> int:
        return self.facts.states * self._one(tensor)

    def counts(self, tensor: TrainedTensor) -> int:
        """An fp32 scalar."""
        return ALLOCATION_BYTES if self.facts.counts_on_gpu else 0

    def temporaries(self, groups: Groups, ranks: int) -> int:
        copies = self.facts.foreach_copies
        return copies and -(-copies * sum(n * sum(map(self._one, tensors)) for tensors, n in groups) // ranks)

    def temporaries_of(self, tensor: TrainedTensor, ranks: int = 1) -> int:
        return -(-self.facts.foreach_copies * self._one(tensor) // ranks)

    def _one(self, tensor: TrainedTensor) -> int:
        return allocated(tensor.num_elements * (self.facts.itemsize or tensor.itemsize))


BNB_BLOCK = 256
"""Elements per scale of bitsandbytes' blockwise 8-bit states (bitsandbytes/optim/optimizer.py, `init_state`)."""
BNB_SMALLEST = 4096
"""Tensors with fewer elements keep 32-bit states (`min_8bit_size`)."""
BNB_PAGED = 100_000
"""States of as many elements are paged (`get_state_buffer`)."""
BNB_TABLE = 256 * FP32
"""The values of 8 bits, signed for the first and unsigned for the second state (`fill_qmap`)."""


class BlockwiseStates(Kept[Blockwise]):
    """8-bit: a byte per element and an fp32 scale per block of 256; small tensors keep fp32 states, and so do
    embeddings, for which Trainer registers 32-bit states (trainer.py, `register_module_override`). Managed memory
    (cudaMallocManaged) does not come from torch's allocator: the driver moves its pages to the host where the GPU is
    full. Kernels work in place (bitsandbytes/backends/cuda/ops.py, `_optimizer_update_8bit_blockwise_impl`)."""

    def states(self, tensor: TrainedTensor) -> int:
        elements, size = tensor.num_elements, 0
        if not self._is_paged(tensor):
            size += allocated(elements if self._is_8bit(tensor) else elements * FP32)
        if self._is_8bit(tensor):
            size += allocated(-(-elements // BNB_BLOCK) * FP32)
        return self.facts.states * size

    def tables(self, tensors: Iterable[TrainedTensor]) -> int:
        return self.facts.states * BNB_TABLE if any(map(self._is_8bit, tensors)) else 0

    def host(self, tensor: TrainedTensor) -> int:
        """On a full GPU all pages come, and all leave."""
        size = tensor.num_elements * (1 if self._is_8bit(tensor) else FP32)
        return 2 * self.facts.states * size if self._is_paged(tensor) else 0

    def _is_8bit(self, tensor: TrainedTensor) -> bool:
        return self.facts.bits == 8 and tensor.num_elements >= BNB_SMALLEST and not tensor.is_embedding

    def _is_paged(self, tensor: TrainedTensor) -> bool:
        return self.facts.paged and tensor.num_elements >= BNB_PAGED


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


class FactoredStates(Kept[Factored]):
    """fp32 means over rows and over columns of a matrix, a whole fp32 state for a vector (transformers/optimization.py,
    `Adafactor.step`)."""

    def states(self, tensor: TrainedTensor) -> int:
        *outer, last = tensor.shape
        if not outer:
            return allocated(last * FP32)
        return allocated(prod(outer) * FP32) + allocated(prod(outer[:-1]) * last * FP32)

    def step(self, tensor: TrainedTensor, names: Locals) -> None:
        whole = tensor.num_elements * FP32
        below_fp32 = tensor.itemsize < FP32
        names.let("grad", 0)
        names.let("grad", whole if below_fp32 else 0)
        names.let("p_data_fp32", 0)
        names.let("p_data_fp32", whole if below_fp32 else 0)
        names.let("grad**2", whole)
        names.let("update", whole)
        names.let("grad**2", 0)
        names.let("update", whole)
        names.passing(whole)  # -update


class OffloadedStates(Kept[Offloaded]):
    """torchao/optim/cpu_offload.py: gradients are copied to the host as they come, and stay on the GPU until
    `zero_grad`; parameters come back. Small tensors have a fused AdamW of their own on the GPU."""

    def states(self, tensor: TrainedTensor) -> int:
        return 2 * allocated(tensor.num_elements * tensor.itemsize) if self._stays(tensor) else 0

    def counts(self, tensor: TrainedTensor) -> int:
        return ALLOCATION_BYTES if self._stays(tensor) else 0

    def host(self, tensor: TrainedTensor) -> int:
        return 0 if self._stays(tensor) else 2 * tensor.num_elements * tensor.itemsize

    def _stays(self, tensor: TrainedTensor) -> bool:
        return tensor.num_elements < self.facts.smallest


NEWTON_SCHULZ_STEPS = 5
"""torch/optim/_muon.py, `DEFAULT_NS_STEPS`."""


class OrthogonalizedStates(Kept[Orthogonalized]):
    """torch.optim.Muon (torch/optim/_muon.py, `_single_tensor_muon`): a momentum like the gradient. All that is no
    matrix in a block has a fused AdamW, as torch's documentation of Muon says. Of sharded matrices every rank has the
    whole product with their transpose."""

    passes = (lambda t: t.is_hidden,)

    def states(self, tensor: TrainedTensor) -> int:
        return (1 if tensor.is_hidden else 2) * allocated(tensor.num_elements * tensor.itemsize)

    def counts(self, tensor: TrainedTensor) -> int:
        return 0 if tensor.is_hidden else ALLOCATION_BYTES

    def flops(self, tensor: TrainedTensor) -> int:
        if not tensor.is_hidden:
            return 0
        small, large = sorted(tensor.shape)
        return NEWTON_SCHULZ_STEPS * (4 * small * small * large + 2 * small**3)

    def step(self, tensor: TrainedTensor, names: Locals) -> None:
        if not tensor.is_hidden:
            return
        half, square = tensor.num_elements * HALF, min(tensor.shape) ** 2 * HALF
        names.let("update", tensor.num_elements * tensor.itemsize)
        names.let("ortho_grad", half if tensor.itemsize > HALF else 0)  # `.bfloat16()` of bf16 is the tensor itself
        for _ in range(2):  # from the second on, all are alike
            names.let("gram_matrix", square, whole=True)
            names.let("gram_update", square, whole=True)
            names.let("ortho_grad", half)
        names.let("gram_matrix", 0)
        names.let("gram_update", 0)
        names.let("update", 0)
        names.rename("ortho_grad", "update")


class LowRankStates(Kept[LowRank]):
    """galore_torch/adamw.py, `AdamW.step`, and apollo_torch/apollo.py, at the steps that project anew, every 200th: for
    these are the largest. cuSOLVER's workspace for the decomposition, of which nothing is documented, is left out."""

    passes = (lambda t: not t.is_linear, lambda t: t.is_linear)

    def states(self, tensor: TrainedTensor) -> int:
        """Two moments of the projected gradient, and the projection. In fp32 GaLore's is a view of the decomposition,
        which it keeps whole."""
        if not tensor.is_linear:
            return 2 * allocated(tensor.num_elements * tensor.itemsize)
        rows, columns = tensor.shape
        kept = self._rank(tensor)
        if not self.facts.scales and tensor.itemsize == FP32:
            kept = min(rows, columns)
        size = 2 * allocated(self._projected(tensor)) + allocated(min(rows, columns) * kept * tensor.itemsize)
        return size

    def counts(self, tensor: TrainedTensor) -> int:
        """APOLLO keeps the norm of the gradient that it scaled last."""
        return ALLOCATION_BYTES if tensor.is_linear and self.facts.scales else 0

    def step(self, tensor: TrainedTensor, names: Locals) -> None:
        whole = tensor.num_elements * tensor.itemsize
        names.let("grad", 0)
        if not tensor.is_linear:
            names.let("denom", whole)
            names.let("norm_grad", whole)
            return
        low = self._projected(tensor)
        self._project(tensor, names)
        names.let("grad", low)
        names.let("denom", low)
        names.let("norm_grad", low)
        if self.facts.scales:
            names.let("scaled_grad", whole)
            names.let("scaled_grad", whole)  # by the limiter of its growth
            names.let("norm_grad", 0)  # the same tensor
        else:
            names.let("full_rank_grad", whole)
            names.let("norm_grad", whole)
            names.let("full_rank_grad", 0)

    def _project(self, tensor: TrainedTensor, names: Locals) -> None:
        elements, small, rank = tensor.num_elements, min(tensor.shape), self._rank(tensor)
        names.let("matrix", elements * FP32 if tensor.itemsize < FP32 else 0)
        if self.facts.scales:
            names.let("random", small * rank * FP32)
            names.let("random", small * rank * FP32)  # divided by the root of the rank
        else:
            names.let("copy", elements * FP32)
            for name, size in (("U or Vh", elements), ("the other", small * small), ("s", small)):
                names.let(name, size * FP32)
            names.let("copy", 0)
            names.let("A or B", max(tensor.shape) * rank * FP32)
            if tensor.itemsize == FP32:
                names.let("the other", 0)  # is the projection
        for name in ("random", "U or Vh", "s", "A or B"):
            names.let(name, 0)
        names.let("matrix", 0)
        names.let("the other", 0)

    def _rank(self, tensor: TrainedTensor) -> int:
        """GaLore's is cut to the shorter side by slicing; APOLLO draws as many random vectors as it is told."""
        return self.facts.rank if self.facts.scales else min(self.facts.rank, *tensor.shape)

    def _projected(self, tensor: TrainedTensor) -> int:
        return max(tensor.shape) * self._rank(tensor) * tensor.itemsize


class RowwiseStates(Kept[Rowwise]):
    """adam_mini/adam_mini.py: a momentum, and a second moment per row of a matrix, of a whole norm, or of every element
    of a bias. (Queries and keys have one per head, which is at most 0.03% of their momentum less.)"""

    def states(self, tensor: TrainedTensor) -> int:
        size = allocated(tensor.num_elements * tensor.itemsize)
        if len(tensor.shape) > 1:
            return size + allocated(tensor.shape[0] * tensor.itemsize)
        return 2 * size if self._is_bias(tensor) else size

    def counts(self, tensor: TrainedTensor) -> int:
        return ALLOCATION_BYTES if len(tensor.shape) == 1 and not self._is_bias(tensor) else 0

    def step(self, tensor: TrainedTensor, names: Locals) -> None:
        whole = tensor.num_elements * tensor.itemsize
        if self._is_bias(tensor):
            names.let("square root", whole)
            names.let("h", whole)
            names.let("square root", 0)
            return
        names.let("grad * grad", whole)
        names.let("grad * grad", 0)
        names.let("update", whole)
        names.passing(whole)  # -update

    @staticmethod
    def _is_bias(tensor: TrainedTensor) -> bool:
        return tensor.name.endswith("bias")


RULES: dict[type, type[Kept[Any]]] = {
    Whole: WholeStates,
    Blockwise: BlockwiseStates,
    Packed: PackedStates,
    Factored: FactoredStates,
    Offloaded: OffloadedStates,
    Orthogonalized: OrthogonalizedStates,
    LowRank: LowRankStates,
    Rowwise: RowwiseStates,
}
"""By the kind of an optimizer's facts. A plug-in with a kind of its own adds its rule here."""


def rule_of(optimizer: AnyOptimizer) -> Kept[Any]:
    return RULES[type(optimizer.facts)](optimizer.facts)
