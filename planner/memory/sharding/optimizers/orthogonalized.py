"""Muon."""

from __future__ import annotations

from planner.memory.settings.dtypes import HALF
from planner.memory.sharding.optimizers.locals import Locals
from planner.memory.sharding.optimizers.rule import Kept
from planner.memory.sharding.state import ALLOCATION_BYTES, TrainedTensor, allocated
from strategies import Orthogonalized

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
