"""Says which choices cannot run together or on a cluster, and why: all rules that need no model.

Rules about what a model is made of are in `planner/memory/rules.py`.
"""

from __future__ import annotations

from collections.abc import Callable

from hardware import GPU, Cluster
from strategies.allocator import Allocator
from strategies.attention import Attention
from strategies.checkpointing import Checkpointing
from strategies.finetuning import (
    AdapterDtype,
    Freeze,
    Full,
    Lora,
    LoraVariant,
    Method,
    TrainedModules,
    quantization_of,
)
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
from strategies.precision import Precision
from strategies.quantization import Quantization, UnquantizedDtype
from strategies.rules_fsdp1 import fsdp1
from strategies.sharding import Fsdp2, Offload, Sharding, ShardingBackend, indivisible
from strategies.strategy import Strategy
from strategies.update import Update

Rule = Callable[[Strategy, Cluster], str | None]
"""Returns why a strategy cannot run on a cluster, or None."""


def violation(strategy: Strategy, cluster: Cluster) -> str | None:
    """Returns why a strategy cannot run on a cluster, or None."""
    return indivisible(strategy.sharding, cluster.world_size) or exclusion(strategy, cluster)


def exclusion(strategy: Strategy, cluster: Cluster) -> str | None:
    """Returns the first reason in `RULES` why a strategy cannot run, or None; `indivisible` is not asked."""
    return next((reason for rule in RULES if (reason := rule(strategy, cluster))), None)


# --- what a GPU lacks ---


def _dtype_on_gpu(s: Strategy, cluster: Cluster) -> str | None:
    gpu, facts = cluster.gpu, s.precision.facts
    supported = {
        "bf16": gpu.supports_bf16,
        "fp16": gpu.supports_fp16,
        "fp8": gpu.supports_fp8,
        "tf32": gpu.supports_tf32,
        "fp32": True,
    }
    needed = (facts.matmul_dtype, facts.linear_dtype or "fp32")
    missing = next((dtype for dtype in needed if not supported[dtype]), None)
    return f"{gpu.name} has no {missing}" if missing else None


def _attention_on_gpu(s: Strategy, cluster: Cluster) -> str | None:
    gpu, (half_only, capability) = cluster.gpu, s.attention.facts
    if half_only and s.precision.facts.matmul_dtype not in ("fp16", "bf16"):
        return f"{s.attention} computes in half precision only"
    if capability is not None:
        first, last = capability
        if gpu.vendor != "nvidia" or not first <= float(gpu.compute_capability) <= last:
            return f"{s.attention} has no CUDA kernels for {gpu.name}"
    return None


def _triton_on_gpu(s: Strategy, cluster: Cluster) -> str | None:
    if cluster.gpu.supports_triton or not _uses_triton(s):
        return None
    return f"{cluster.gpu.name} has no Triton, which liger-kernel, flex_attention and torch.compile need"


def _uses_triton(s: Strategy) -> bool:
    liger = s.kernels is not Kernels.EAGER or s.loss in (Loss.LIGER_FUSED_LINEAR, Loss.LIGER_CROSS_ENTROPY)
    return liger or s.attention is Attention.FLEX


def allocator_runs_on(allocator: Allocator, gpu: GPU) -> bool:
    """Returns whether a GPU has the allocator."""
    # expandable segments need CUDA's virtual memory management (c10/cuda/CUDACachingAllocator.cpp)
    return allocator is Allocator.NATIVE or gpu.vendor == "nvidia"


def _allocator_on_gpu(s: Strategy, cluster: Cluster) -> str | None:
    return None if allocator_runs_on(s.allocator, cluster.gpu) else f"{cluster.gpu.name} has no expandable segments"


# --- what a backend lacks ---


def _backend(s: Strategy, _: Cluster) -> str | None:
    """Returns what the library that divides the model does not run, or None."""
    backend = s.sharding.backend
    if backend is not ShardingBackend.DEEPSPEED:
        if backend is ShardingBackend.FSDP2 and s.sharding.to_options()["offload"] is Offload.OPTIMIZER:
            return "FSDP2 offloads parameters along with the optimizer: offload cpu"
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


# --- compiled blocks ---


def _compilation(s: Strategy, cluster: Cluster) -> str | None:
    """Returns which choice is not modelled for compiled blocks, or None."""
    if s.kernels is not Kernels.COMPILE:
        return None
    flash = cluster.gpu.supports_flash_attention and s.precision.facts.matmul_dtype in ("fp16", "bf16")
    if s.attention is not Attention.SDPA or not flash:
        return "compiled blocks have an account for SDPA's flash kernel alone: half precision, newer GPUs"
    if s.precision.facts.linear_dtype == "fp8":
        return "compiled blocks have no account of products in fp8"
    if s.checkpointing.choice not in (Checkpointing.NONE, Checkpointing.FULL) or s.checkpointing.every > 1:
        return "compiled blocks have an account for checkpointing of all blocks as a whole, or of none"
    if s.update is Update.IN_BACKWARD:
        return "compiled blocks have no account of updates in backward: a block's gradients are there together"
    return _compiled_method(s.finetuning)


def _compiled_method(method: Method) -> str | None:
    if not isinstance(method, Full | Lora):
        return f"compiled blocks have no account of {method.method}, where parts of a block train"
    if isinstance(method, Full):
        return None
    if method.quantization is not Quantization.NONE:
        by = "bitsandbytes' layers" if method.quantization.by_bitsandbytes else "GPTQModel's layers"
        return f"compiled blocks have no account of {by}"
    if method.variant is not LoraVariant.LORA or method.dropout > 0:
        return "compiled blocks have an account for plain LoRA without dropout"
    return None


# --- fine-tuning ---


def _quantized_base(s: Strategy, cluster: Cluster) -> str | None:
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


def _adapters(s: Strategy, _: Cluster) -> str | None:
    method = s.finetuning
    if not isinstance(method, Lora):
        return None
    if reason := _unquantized(method, s.precision):
        return reason
    if method.variant is LoraVariant.DORA and method.quantization.from_checkpoint:
        return f"PEFT has no DoRA over {_kind(method.quantization)}"  # peft/tuners/lora/gptq.py, awq.py
    if s.precision.facts.matmul_dtype != "fp16":
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


# --- precision ---


def _precision(s: Strategy, _: Cluster) -> str | None:
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


# --- optimizers ---


def _optimizer(s: Strategy, cluster: Cluster) -> str | None:
    name = s.optimizer.choice
    facts = name.facts  # not `s.optimizer.facts`: an own rank does not change the kind
    if isinstance(facts, Blockwise) and not cluster.gpu.supports_bitsandbytes:
        return f"bitsandbytes does not run on {cluster.gpu.name}"
    if isinstance(s.sharding, Fsdp2) and (reason := _UNSHARDED[type(facts)]):
        return reason
    if isinstance(facts, Whole) and not facts.takes_shards and isinstance(s.sharding, Fsdp2):
        # multi_tensor_applier passes data pointers to a kernel (apex, csrc/multi_tensor_apply.cuh); a DTensor has none
        return f"{name} does not take parameters that FSDP2 has sharded: bf16-mixed keeps fp32 weights there"
    if name is Optimizer.ADAMW_FP32_MASTER and (isinstance(s.finetuning, Lora) or s.precision.facts.trained_bytes != 2):
        return "weights that train are fp32 already: adamw-fp32-master keeps copies of weights in half precision"
    if isinstance(facts, LowRank | Rowwise) and not isinstance(s.finetuning, Full | Freeze):
        # GaLore: an adapter has no more rows than the projection. Adam-mini views gradients of q_proj and k_proj by
        # heads (`m.view(-1, head_numel)`); it finds adapters by the same names, and they have too few elements.
        parts = "adapters" if isinstance(s.finetuning, Lora) else "biases"
        return f"{name} is made for whole weights, not for {parts}"
    if isinstance(facts, Offloaded) and cluster.world_size > 1:
        # "Offload optimizer to CPU for single-GPU training": its hook copies a gradient before DDP reduces it
        return "torchao's CPUOffloadOptimizer is for one GPU"
    return None


_UNSHARDED: dict[type, str | None] = {
    Whole: None,
    Packed: None,
    Offloaded: None,
    Orthogonalized: None,
    Rowwise: None,
    # transformers' Adafactor.step makes its row and column means with torch.zeros and adds DTensors to them:
    # "aten.add_.Tensor got mixed torch.Tensor and DTensor"
    Factored: "transformers' Adafactor does not run on parameters that FSDP2 has sharded",
    # github.com/bitsandbytes-foundation/bitsandbytes issue 1633: kernels get DTensors as if they were plain tensors
    Blockwise: "bitsandbytes' optimizers do not run on parameters that FSDP2 has sharded",
    # apollo_torch multiplies by random matrices that are plain tensors: "aten.mm.default got mixed torch.Tensor and
    # DTensor"; galore_torch would gather its decomposition on every rank, which its documentation does not mention
    LowRank: "GaLore and APOLLO do not project gradients that FSDP2 has sharded",
}
"""Why optimizers with such facts cannot step shards; None if they can, unless the facts themselves say otherwise."""


def _update(s: Strategy, cluster: Cluster) -> str | None:
    if s.update is Update.AFTER_BACKWARD:
        return None
    if cluster.world_size > 1 and not s.sharding.shards:
        # the hook runs when the gradient is accumulated, DDP's reduction afterwards (torch/csrc/autograd/
        # accumulate_grad.h: post-accumulate hooks belong to the tensor, DDP's hooks to the node)
        return "an update in backward would not wait for DDP to reduce the gradient"
    if s.precision.facts.matmul_dtype == "fp16" and s.precision.facts.autocast_bytes is not None:
        # torch/amp/grad_scaler.py, `step`: skips the step if any gradient has overflowed
        return "GradScaler decides on all gradients at once, which an update in backward frees one by one"
    if isinstance(s.optimizer.choice.facts, Offloaded):
        return "CPUOffloadOptimizer has hooks of its own, and steps after backward"
    return None


RULES: tuple[Rule, ...] = (
    _dtype_on_gpu,
    _attention_on_gpu,
    _triton_on_gpu,
    _backend,
    _compilation,
    _quantized_base,
    _adapters,
    _allocator_on_gpu,
    _precision,
    _optimizer,
    _update,
    fsdp1,
)
"""All rules but `indivisible`; the first that objects gives the reason that users see.

`strategies.spaces.counting` also calls each rule alone, on strategies with undecided options, to see which options it
reads. So a rule must not rely on the rules before it, and must read a strategy through the names of its fields."""
