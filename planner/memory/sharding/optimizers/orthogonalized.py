"""Counts states and temporaries of Muon."""

from __future__ import annotations

from planner.libraries.allocator import BLOCK_BYTES, allocated
from planner.memory.settings.dtypes import HALF
from planner.memory.sharding.account import TrainedTensor
from planner.memory.sharding.optimizers.locals import Locals
from planner.memory.sharding.optimizers.rule import OptimizerRule
from strategies import Orthogonalized

NEWTON_SCHULZ_STEPS = 5
"""Iterations of Newton-Schulz in a step (torch/optim/_muon.py, `DEFAULT_NS_STEPS`)."""


class OrthogonalizedStates(OptimizerRule[Orthogonalized]):
    """Computes the momentum of torch.optim.Muon, in the gradient's shape and dtype, and AdamW's states for the rest.

    Source: torch/optim/_muon.py, `_single_tensor_muon`. Tensors other than the matrices in blocks have a fused AdamW,
    as torch's documentation of Muon says. Every rank has the whole product of a sharded matrix and its transpose.
    """

    passes = (lambda t: t.is_hidden,)

    def states(self, tensor: TrainedTensor) -> int:
        """Returns the bytes of the momentum of a matrix in a block, or of both AdamW states of another tensor."""
        return (1 if tensor.is_hidden else 2) * allocated(tensor.num_elements * tensor.itemsize)

    def counts(self, tensor: TrainedTensor) -> int:
        """Returns the bytes of AdamW's step counter."""
        return 0 if tensor.is_hidden else BLOCK_BYTES

    def flops(self, tensor: TrainedTensor) -> int:
        """Returns the FLOPs of the Newton-Schulz iterations.

        Each is `4 s^2 l + 2 s^3` for a matrix with the shorter side `s` and the longer side `l`.
        """
        if not tensor.is_hidden:
            return 0
        small, large = sorted(tensor.shape)
        return NEWTON_SCHULZ_STEPS * (4 * small * small * large + 2 * small**3)

    def step(self, tensor: TrainedTensor, names: Locals) -> None:
        """Follows the assignments of Muon's step for one matrix; the fused AdamW allocates nothing."""
        if not tensor.is_hidden:
            return
        half, square = tensor.num_elements * HALF, min(tensor.shape) ** 2 * HALF
        names.let("update", tensor.num_elements * tensor.itemsize)
        names.let("ortho_grad", half if tensor.itemsize > HALF else 0)  # `.bfloat16()` of bf16 is the tensor itself
        for _ in range(2):  # all iterations after the first are alike
            names.let("gram_matrix", square, whole=True)
            names.let("gram_update", square, whole=True)
            names.let("ortho_grad", half)
        names.let("gram_matrix", 0)
        names.let("gram_update", 0)
        names.let("update", 0)
        names.rename("ortho_grad", "update")
