"""Says which choices cannot run with DeepSpeed, and why."""

from __future__ import annotations

from hardware import Cluster
from strategies.finetuning.methods import quantization_of
from strategies.finetuning.quantization import Quantization
from strategies.kernels import Kernels
from strategies.optimizer import (
    Blockwise,
    Factored,
    LowRank,
    Offloaded,
    Optimizer,
    Orthogonalized,
    Packed,
    Rowwise,
    Whole,
)
from strategies.precision import Precision
from strategies.sharding import Offload, Sharding, Zero
from strategies.strategy import Strategy
from strategies.update import Update


def deepspeed(s: Strategy, _: Cluster) -> str | None:
    """Returns why a strategy cannot run with DeepSpeed, or None; other backends have no objection here."""
    if not isinstance(s.sharding, Zero):
        return None
    if s.sharding.on_host and s.sharding.choice is not Sharding.FULL_SHARD:
        # DeepSpeedZeroConfig.offload_param: "Valid only with stage 3"
        return "DeepSpeed offloads parameters in full_shard (ZeRO-3) alone: offload optimizer"
    if s.precision is Precision.FP16_TRUE:
        # deepspeed/runtime/base_optimizer.py, `_configure_master_weights`: others go with DeepSpeedCPUAdam alone
        return "DeepSpeed's fp16 keeps fp32 copies of the weights: fp16-mixed"
    if s.kernels is Kernels.COMPILE and s.sharding.choice is Sharding.FULL_SHARD:
        # parameter_offload.py disables its hooks for Dynamo: each module's forward is a graph of its own, of 1 to 28
        # operations, until Dynamo gives up at its limit of recompilations
        return (
            "ZeRO-3's hooks end torch.compile's graph at every module, which leaves almost nothing to fuse: "
            "kernels liger, or zero2"
        )
    quantization = quantization_of(s.finetuning)
    if s.sharding.shards and quantization is not Quantization.NONE and not quantization.shards:
        # partition_parameters.py, `Init`, divides parameters: MatMul8bitLt multiplies `state.CB` and not the parameter,
        # and GPTQModel's packed weights are buffers
        return f"{quantization} weights cannot be divided by ZeRO-3: zero2 keeps them whole"
    return _flat_optimizer(s)


def _flat_optimizer(s: Strategy) -> str | None:
    """Returns why an optimizer does not step the flat tensors into which DeepSpeed puts all parameters, or None."""
    name = s.optimizer.choice
    if name is Optimizer.ADAMW_FP32_MASTER:
        return "DeepSpeed keeps fp32 copies of the weights itself: adamw with bf16-mixed"
    if s.update is Update.IN_BACKWARD:
        return "DeepSpeed takes each gradient as soon as it is there: an update in backward finds none"
    if s.sharding.to_options()["offload"] is not Offload.NONE:
        if name not in ON_HOST:
            return f"DeepSpeed's optimizer on the host is an AdamW: {name} has no such counterpart"
        if s.precision.facts.trained_bytes < FP32:
            # accelerate's mapping leaves `fp32_optimizer_states` True, and deepspeed/runtime/base_optimizer.py,
            # `_configure_master_weights`, wants it False
            return "DeepSpeed's optimizer on the host keeps fp32 states, which bf16-true has none of: bf16-mixed"
    return _ON_FLAT[type(name.facts)]


FP32 = 4
"""Bytes per element."""

ON_HOST = Optimizer.ADAMW, Optimizer.ADAMW_FOREACH
"""Optimizers that accelerate replaces by DeepSpeedCPUAdam with decoupled weight decay where the optimizer is offloaded.

Source: accelerate/utils/deepspeed.py, `map_pytorch_optim_to_deepspeed`, which asks for torch's AdamW in any form. Of
others it makes an Adam or a Lion with states in fp32, whatever was asked for.
"""

_ON_FLAT: dict[type, str | None] = {
    Whole: None,
    Blockwise: None,
    Factored: None,
    Packed: "torchao's optimizers are not derived for DeepSpeed's flat tensors",
    Offloaded: "torchao's CPUOffloadOptimizer has hooks on parameters, and DeepSpeed gives it flat tensors",
    Orthogonalized: "Muon needs matrices, and DeepSpeed gives the optimizer flat tensors",
    LowRank: "GaLore and APOLLO need matrices, and DeepSpeed gives the optimizer flat tensors",
    Rowwise: "Adam-mini needs rows and heads, and DeepSpeed gives the optimizer flat tensors",
}
"""Why optimizers with such facts do not step flat tensors; None if they do."""
