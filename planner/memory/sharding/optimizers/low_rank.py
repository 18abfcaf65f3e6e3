"""GaLore and APOLLO."""

from __future__ import annotations

from planner.memory.settings.dtypes import FP32
from planner.memory.sharding.optimizers.locals import Locals
from planner.memory.sharding.optimizers.rule import Kept
from planner.memory.sharding.state import ALLOCATION_BYTES, TrainedTensor, allocated
from strategies import LowRank


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
        return 2 * allocated(self._projected(tensor)) + allocated(min(rows, columns) * kept * tensor.itemsize)

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
