"""The axis of when parameters are updated: all at once after backward, or each as soon as its gradient is there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hardware import Cluster
from strategies.axis import Choice, axis_of
from strategies.optimizer import Offloaded

if TYPE_CHECKING:  # a strategy has an update
    from strategies.strategy import Strategy


class Update(Choice):
    """`in-backward`: an optimizer of its own for each parameter, which a hook steps and whose gradient it frees
    (`register_post_accumulate_grad_hook`; torch's tutorial "optimizer step in backward", torchtune's
    `optimizer_in_bwd`, Trainer's `*_layerwise`). Nothing can clip or accumulate gradients then."""

    AFTER_BACKWARD = "after-backward", "one step when all gradients are there"
    IN_BACKWARD = "in-backward", "each parameter when its gradient is there, which is then freed"

    @property
    def accumulates(self) -> bool:
        """Whether a step can have several micro-batches."""
        return self is Update.AFTER_BACKWARD


AXIS = axis_of(Update, phrase="update {}", quiet=Update.AFTER_BACKWARD)


def obstacle(strategy: Strategy, cluster: Cluster) -> str | None:
    """Why a strategy cannot update so, or None."""
    s = strategy
    if s.update is Update.AFTER_BACKWARD:
        return None
    if cluster.world_size > 1 and not s.sharding.shards:
        # the hook runs when the gradient is accumulated, DDP's reduction afterwards (torch/csrc/autograd/
        # accumulate_grad.h: post-accumulate hooks are the tensor's, DDP's are the node's)
        return "an update in backward would not wait for DDP to reduce the gradient"
    if s.precision.facts.matmul_dtype == "fp16" and s.precision.facts.autocast_bytes is not None:
        # torch/amp/grad_scaler.py, `step`: it skips the step where any gradient has overflowed
        return "GradScaler decides on all gradients at once, which an update in backward frees one by one"
    if isinstance(s.optimizer.choice.facts, Offloaded):
        return "CPUOffloadOptimizer has hooks of its own, and steps after backward"
    return None
