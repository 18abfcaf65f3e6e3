"""Says which choices cannot run with DeepSpeed, and why."""

from __future__ import annotations

from hardware import Cluster
from strategies.finetuning import quantization_of
from strategies.kernels import Kernels
from strategies.loss import Loss
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
from strategies.quantization import Quantization
from strategies.sharding import Offload, Sharding, Zero
from strategies.strategy import Strategy
from strategies.update import Update


def deepspeed(s: Strategy, _: Cluster) -> str | None:
    """Returns why a strategy cannot run with DeepSpeed, or None; other backends have no objection here."""
    if not isinstance(s.sharding, Zero):
        return None
    precision = s.precision.facts
    if s.sharding.on_host and s.sharding.choice is not Sharding.FULL_SHARD:
        # DeepSpeedZeroConfig.offload_param: "Valid only with stage 3"
        return "DeepSpeed offloads parameters in full_shard (ZeRO-3) alone: offload optimizer"
    if precision.matmul_dtype == "fp16":
        return "DeepSpeed's loss scaling in fp16 is not derived"
    if precision.linear_dtype == "fp8":
        return "fp8-mixed is not derived for DeepSpeed"
    if s.kernels is not Kernels.EAGER:
        return f"kernels {s.kernels} are not derived for DeepSpeed, whose hooks run at modules and gradients"
    if s.loss is not Loss.FULL:
        return f"loss {s.loss} is not derived for DeepSpeed, whose hooks run at modules and gradients"
    if quantization_of(s.finetuning) is not Quantization.NONE:
        return "a quantized base is not derived for DeepSpeed, which casts and divides its parameters"
    return _flat_optimizer(s)


def _flat_optimizer(s: Strategy) -> str | None:
    """Returns why an optimizer does not step the flat tensors into which DeepSpeed puts all parameters, or None."""
    name = s.optimizer.choice
    if name is Optimizer.ADAMW_FP32_MASTER:
        return "DeepSpeed keeps fp32 copies of the weights itself: adamw with bf16-mixed"
    if s.update is Update.IN_BACKWARD:
        return "DeepSpeed takes each gradient as soon as it is there: an update in backward finds none"
    if s.sharding.to_options()["offload"] is not Offload.NONE and name is not Optimizer.ADAMW:
        # accelerate/utils/deepspeed.py, `map_pytorch_optim_to_deepspeed`, makes DeepSpeedCPUAdam of torch's AdamW
        return f"DeepSpeed's optimizer on the host is an AdamW: {name} has no such counterpart"
    return _ON_FLAT[type(name.facts)]


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
