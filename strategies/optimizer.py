"""The axis of optimizers: which states each keeps per parameter, and what its step allocates."""

from __future__ import annotations

from typing import NamedTuple

from strategies.axis import Choice, axis_of


class OptimizerFacts(NamedTuple):
    """Per trained tensor. `full_states`: states of the tensor's own shape and dtype. `quantized_states`: states of one
    byte per element. `factored`: fp32 row and column sums instead of a state. `foreach_copies`: copies of all tensors
    during the step, in the states' dtype. `counts_on_gpu`: a step counter of each tensor is kept beside its states."""

    full_states: int = 0
    quantized_states: int = 0
    factored: bool = False
    foreach_copies: int = 0
    counts_on_gpu: bool = False


# adamw: torch/optim/adam.py keeps exp_avg and exp_avg_sq as zeros_like(param): they follow the weights' dtype; `fused`
# allocates nothing, and keeps `step` on the parameter's device, where foreach keeps it on the CPU. foreach:
# `torch._foreach_sqrt(exp_avg_sqs)` is a whole copy. adamw-8bit: bitsandbytes optimizer.py. adafactor:
# transformers/optimization.py. sgd: torch/optim/sgd.py, foreach with weight decay 0 works in place.
class Optimizer(Choice):
    """Optimizers as Trainer builds them: weight decay 0, no first moment in Adafactor."""

    facts: OptimizerFacts

    ADAMW = (
        "adamw",
        "torch AdamW, fused (Trainer's adamw_torch_fused)",
        OptimizerFacts(full_states=2, counts_on_gpu=True),
    )
    ADAMW_FOREACH = (
        "adamw-foreach",
        "torch AdamW, foreach: a copy of one state during the step",
        OptimizerFacts(full_states=2, foreach_copies=1),
    )
    ADAMW_8BIT = (
        "adamw-8bit",
        "bitsandbytes AdamW with blockwise 8-bit states",
        OptimizerFacts(quantized_states=2),
    )
    ADAFACTOR = "adafactor", "transformers Adafactor: factored second moment", OptimizerFacts(factored=True)
    SGD = "sgd", "torch SGD without momentum: no states", OptimizerFacts()
    SGD_MOMENTUM = "sgd-momentum", "torch SGD with momentum: one state", OptimizerFacts(full_states=1)


AXIS = axis_of(Optimizer)
