"""The axis of precision: the dtype of the stored weights and the dtype of the computation."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from hardware import GPU, Cluster, Dtype
from strategies.axis import Choice, axis_of
from strategies.finetuning import Full, Lora

if TYPE_CHECKING:  # a strategy has a precision
    from strategies.strategy import Strategy


class PrecisionFacts(NamedTuple):
    """Bytes per element. `frozen_bytes`: weights that are not trained, which nobody needs in fp32: with a LoRA,
    Trainer's `bf16=True` keeps the base model as it was loaded, in bf16."""

    trained_bytes: int
    frozen_bytes: int
    autocast_bytes: int | None
    matmul_dtype: Dtype
    linear_dtype: Dtype | None = None
    """Of the products of most linear layers, where it is another."""


class Precision(Choice):
    """Named as in Lightning: `-true` stores in the low dtype, `-mixed` stores in fp32 and computes in the low dtype."""

    facts: PrecisionFacts

    FP32 = "fp32", "everything in fp32", PrecisionFacts(4, 4, None, "fp32")
    TF32 = "tf32", "fp32 storage, matrix products on TF32 tensor cores", PrecisionFacts(4, 4, None, "tf32")
    FP16_MIXED = "fp16-mixed", "fp32 weights, autocast to fp16, loss scaling", PrecisionFacts(4, 2, 2, "fp16")
    BF16_MIXED = "bf16-mixed", "fp32 weights, autocast to bf16", PrecisionFacts(4, 2, 2, "bf16")
    BF16_TRUE = "bf16-true", "bf16 weights, gradients and states", PrecisionFacts(2, 2, None, "bf16")
    FP16_TRUE = "fp16-true", "fp16 weights, for frozen ones only", PrecisionFacts(2, 2, None, "fp16")
    FP8_MIXED = (
        "fp8-mixed",
        "bf16-mixed, and linear layers multiply in fp8 (torchao float8, tensorwise scales, as accelerate runs it)",
        PrecisionFacts(4, 2, 2, "bf16", "fp8"),
    )

    def missing_on(self, gpu: GPU) -> str | None:
        """What the GPU lacks for this choice, or None."""
        supported = {
            "bf16": gpu.supports_bf16,
            "fp16": gpu.supports_fp16,
            "fp8": gpu.supports_fp8,
            "tf32": gpu.supports_tf32,
            "fp32": True,
        }
        needed = (self.facts.matmul_dtype, self.facts.linear_dtype or "fp32")
        return next((dtype for dtype in needed if not supported[dtype]), None)


AXIS = axis_of(Precision)


def obstacle(strategy: Strategy, _: Cluster) -> str | None:
    """Why a strategy's precision cannot be that of its other choices, or None."""
    precision, method = strategy.precision, strategy.finetuning
    if precision is Precision.FP16_TRUE and not isinstance(method, Lora):
        # torch/amp/grad_scaler.py, `_unscale_grads_`: "Attempting to unscale FP16 gradients."
        return "fp16 weights cannot train: GradScaler does not unscale fp16 gradients"
    if precision is Precision.FP8_MIXED and isinstance(method, Lora):
        # accelerate/utils/ao.py converts every torch.nn.Linear, those of adapters among them
        return "fp8-mixed is for whole weights: accelerate would convert the adapters' layers as well"
    if precision is Precision.FP8_MIXED and not isinstance(method, Full):
        return "fp8-mixed is not derived for layers whose weights are frozen"
    if precision is Precision.FP8_MIXED and strategy.sharding.shards:
        # AORecipeKwargs: enable_fsdp_float8_all_gather=True, WeightWithDynamicFloat8CastTensor
        return "fp8-mixed is not derived for FSDP2, which gathers weights in fp8 then"
    return None
