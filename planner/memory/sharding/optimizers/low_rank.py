"""Counts states and temporaries of GaLore and APOLLO."""

from __future__ import annotations

from planner.libraries.allocator import BLOCK_BYTES, allocated
from planner.memory.settings.dtypes import FP32
from planner.memory.sharding.account import TrainedTensor
from planner.memory.sharding.optimizers.locals import Locals
from planner.memory.sharding.optimizers.rule import OptimizerRule
from strategies import LowRank


class LowRankStates(OptimizerRule[LowRank]):
    """Computes states of projected gradients, and the steps that make a new projection.

    Sources: galore_torch/adamw.py, `AdamW.step`, and apollo_torch/apollo.py. Every 200th step makes a new projection;
    these steps are the largest, so they are the ones modelled. cuSOLVER's workspace for the decomposition, which is not
    documented, is left out.
    """

    passes = (lambda t: not t.is_linear, lambda t: t.is_linear)

    def states(self, tensor: TrainedTensor) -> int:
        """Returns the bytes of two moments of the projected gradient and of the projection.

        In fp32, GaLore's projection is a view that keeps the whole factor of the decomposition alive. Tensors other
        than the weights of linear layers have two moments of their own shape.
        """
        if not tensor.is_linear:
            return 2 * allocated(tensor.num_elements * tensor.itemsize)
        rows, columns = tensor.shape
        kept = self._rank(tensor)
        if not self.facts.scales and tensor.itemsize == FP32:
            kept = min(rows, columns)
        return 2 * allocated(self._projected(tensor)) + allocated(min(rows, columns) * kept * tensor.itemsize)

    def counts(self, tensor: TrainedTensor) -> int:
        """Returns the bytes of the norm of the gradient that APOLLO scaled last, which it keeps for each tensor."""
        return BLOCK_BYTES if tensor.is_linear and self.facts.scales else 0

    def step(self, tensor: TrainedTensor, names: Locals) -> None:
        """Follows the assignments of a step of one tensor that makes a new projection."""
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
            names.let("scaled_grad", whole)  # scaled again by the limiter of the norm's growth
            names.let("norm_grad", 0)  # it is the same tensor as `scaled_grad`
        else:
            names.let("full_rank_grad", whole)
            names.let("norm_grad", whole)
            names.let("full_rank_grad", 0)

    def _project(self, tensor: TrainedTensor, names: Locals) -> None:
        """Follows the assignments that make a new projection: random vectors with APOLLO, an SVD with GaLore."""
        elements, small, rank = tensor.num_elements, min(tensor.shape), self._rank(tensor)
        names.let("matrix", elements * FP32 if tensor.itemsize < FP32 else 0)
        if self.facts.scales:
            names.let("random", small * rank * FP32)
            names.let("random", small * rank * FP32)  # divided by the square root of the rank
        else:
            names.let("copy", elements * FP32)
            for name, size in (("U or Vh", elements), ("the other", small * small), ("s", small)):
                names.let(name, size * FP32)
            names.let("copy", 0)
            names.let("A or B", max(tensor.shape) * rank * FP32)
            if tensor.itemsize == FP32:
                names.let("the other", 0)  # it is the projection, which `states` counts
        for name in ("random", "U or Vh", "s", "A or B"):
            names.let(name, 0)
        names.let("matrix", 0)
        names.let("the other", 0)

    def _rank(self, tensor: TrainedTensor) -> int:
        """Returns the rank of a projection.

        GaLore's is at most the shorter side, since it slices; APOLLO draws as many random vectors as it is told.
        """
        return self.facts.rank if self.facts.scales else min(self.facts.rank, *tensor.shape)

    def _projected(self, tensor: TrainedTensor) -> int:
        """Returns the bytes of a projected gradient: the longer side times the rank."""
        return max(tensor.shape) * self._rank(tensor) * tensor.itemsize
