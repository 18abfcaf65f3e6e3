"""Says which methods of fine-tuning, quantized bases and precisions cannot run together, and why."""

from __future__ import annotations

from hardware import Cluster
from strategies.finetuning.methods import AdapterDtype, Full, Lora, LoraVariant, TrainedModules, quantization_of
from strategies.finetuning.quantization import Quantization, UnquantizedDtype
from strategies.precision import Precision
from strategies.sharding import Fsdp2, Zero
from strategies.strategy import Strategy, raises_trained


def quantized_base(s: Strategy, cluster: Cluster) -> str | None:
    """Returns why a quantized base cannot be sharded or does not run on the GPU, or None."""
    quantization, gpu = quantization_of(s.finetuning), cluster.gpu
    if quantization is not Quantization.NONE and isinstance(s.sharding, Fsdp2) and not quantization.shards:
        # accelerate's fsdp2_prepare_model leaves uint8 Params4bit out of sharding and warns of corruption; MatMul8bitLt
        # multiplies `state.CB` and not the parameter; GPTQModel's packed weights are buffers
        return f"{_kind(quantization)} weights cannot be sharded by FSDP2"
    if quantization.by_bitsandbytes and not gpu.supports_bitsandbytes:
        return f"bitsandbytes does not run on {gpu.name}"
    if quantization.from_checkpoint and gpu.vendor != "nvidia":
        return f"GPTQModel's Triton kernels are for CUDA, not for {gpu.name}"  # their SUPPORTS_DEVICES
    if quantization is Quantization.GPTQ_TRITON and s.precision.facts.matmul_dtype != "fp16":
        # triton_utils/dequant.py, `dequant248`: `dtype=torch.float16`, which only fp16 inputs are multiplied by
        return "AutoGPTQ's Triton kernel multiplies in fp16: it needs a precision in fp16"
    return None


def adapters(s: Strategy, _: Cluster) -> str | None:
    """Returns why adapters, or what their base leaves unquantized, cannot have their dtypes, or None."""
    method = s.finetuning
    if not isinstance(method, Lora):
        return None
    if reason := _unquantized(method, s.precision):
        return reason
    if method.variant is LoraVariant.DORA and method.quantization.from_checkpoint:
        return f"PEFT has no DoRA over {_kind(method.quantization)}"  # peft/tuners/lora/gptq.py, awq.py
    if s.precision.facts.matmul_dtype != "fp16" or isinstance(s.sharding, Zero):  # DeepSpeed scales its fp32 copies
        return None
    if raises_trained(s.precision, method, s.sharding):  # before the optimizer is made
        return None
    # torch/amp/grad_scaler.py, `_unscale_grads_`: "Attempting to unscale FP16 gradients."
    if method.adapter_dtype is AdapterDtype.WEIGHTS:
        return "gradient scaling refuses adapters in fp16"
    if method.trained_modules is not TrainedModules.NONE and not method.is_prepared:
        return "gradient scaling refuses trained modules in fp16, which PEFT leaves them in"
    return None


def _unquantized(method: Lora, precision: Precision) -> str | None:
    """Says why what a quantized base leaves unquantized cannot have its dtype."""
    dtype = method.unquantized_dtype
    if method.quantization is Quantization.NONE or dtype is UnquantizedDtype.FP32:
        return None
    if method.quantization.is_gptq:
        return "PEFT prepares no GPTQ model: what it leaves unquantized stays as it is loaded"
    if dtype.value != precision.facts.matmul_dtype:
        return f"weights in {dtype} that are not quantized go with a precision that computes in {dtype}"
    return None


def _kind(quantization: Quantization) -> str:
    return quantization.partition("-")[0].upper()


def precision(s: Strategy, _: Cluster) -> str | None:
    """Returns why a precision does not go with what trains or with FSDP2, or None."""
    if s.precision is Precision.FP16_TRUE and not isinstance(s.finetuning, Lora):
        # torch/amp/grad_scaler.py, `_unscale_grads_`: "Attempting to unscale FP16 gradients."
        return "fp16 weights cannot train: GradScaler does not unscale fp16 gradients"
    if s.precision.facts.linear_dtype != "fp8":
        return None
    if isinstance(s.finetuning, Lora):
        # accelerate/utils/ao.py converts every torch.nn.Linear, those of adapters among them
        return "fp8-mixed is for whole weights: accelerate would convert the adapters' layers as well"
    if not isinstance(s.finetuning, Full):
        return "fp8-mixed is not derived for layers whose weights are frozen"
    if isinstance(s.sharding, Fsdp2):
        # AORecipeKwargs: enable_fsdp_float8_all_gather=True, WeightWithDynamicFloat8CastTensor
        return "fp8-mixed is not derived for FSDP2, which gathers weights in fp8 then"
    return None
