"""Says which values of options are searched where a user names none: by GPU, method and training framework."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hardware import GPU, Cluster
from strategies.checkpointing import Checkpointing
from strategies.finetuning.methods import AdapterDtype, Finetuning
from strategies.finetuning.quantization import Quantization, UnquantizedDtype
from strategies.framework import Framework
from strategies.optimizer import Optimizer
from strategies.precision import Precision
from strategies.sharding import BACKENDS, Replicated, Sharding, ShardingBackend

UNQUANTIZED = {
    "fp32": UnquantizedDtype.FP32,
    "tf32": UnquantizedDtype.FP32,
    "bf16": UnquantizedDtype.BF16,
    "fp16": UnquantizedDtype.FP16,
}
"""Dtype of weights as they are loaded, by the dtype of the computation."""


USUAL_OPTIMIZERS = {
    Finetuning.FULL: (Optimizer.ADAMW, Optimizer.ADAMW_8BIT, Optimizer.ADAFACTOR),
    Finetuning.LORA: (Optimizer.ADAMW,),
    Finetuning.QLORA: (Optimizer.ADAMW,),
    Finetuning.FREEZE: (Optimizer.ADAMW, Optimizer.ADAMW_8BIT, Optimizer.ADAFACTOR),
    Finetuning.BITFIT: (Optimizer.ADAMW,),
}
"""Optimizers that are searched unless others are given. Adapters and biases are so small that replacing AdamW to save
its states is not worthwhile."""


def usual_shardings(cluster: Cluster) -> tuple[Sharding, ...]:
    """Returns the shardings to search; hybrid only on several nodes, where gathering within one is faster."""
    if cluster.world_size == 1:
        return (Sharding.NO_SHARD,)
    hybrid = (Sharding.HYBRID_SHARD,) if cluster.nodes > 1 and cluster.gpus_per_node > 1 else ()
    return (Sharding.NO_SHARD, Sharding.SHARD_GRAD_OP, Sharding.FULL_SHARD, *hybrid)


def dividing(shardings: Sequence[Sharding], backends: Sequence[ShardingBackend]) -> tuple[ShardingBackend, ...]:
    """Returns those of the backends that divide a model under any of the shardings."""
    found = (b for b in backends if any(BACKENDS.get((s, b), Replicated) is not Replicated for s in shardings))
    return tuple(dict.fromkeys(found))


def usual_precisions(
    gpu: GPU,
    method: Finetuning,
    framework: Framework = Framework.TRANSFORMERS,
    backends: Sequence[ShardingBackend] = (),
) -> tuple[Precision, ...]:
    """Returns the precisions to search unless others are given.

    All methods get mixed precision: bf16 where the GPU supports it, else fp16 with loss scaling. Only full fine-tuning
    also gets bf16-true, where supported, and TF32, or fp32 on GPUs without it. With a frozen base, fp32 takes twice the
    memory without benefit; in bf16-true, without autocast, PEFT's fp32 adapters multiply in fp32, with an fp32 copy of
    every input. GPUs without bf16 and fp16 get TF32 or fp32 for all methods. A framework that trains weights as they
    are loaded has no bf16-mixed for full fine-tuning, unless one of the backends that divide the model raises them.
    """
    mixed = Precision.BF16_MIXED if gpu.supports_bf16 else Precision.FP16_MIXED if gpu.supports_fp16 else None
    whole = Precision.TF32 if gpu.supports_tf32 else Precision.FP32
    if method is not Finetuning.FULL:
        return (mixed or whole,)
    if mixed is None:
        return (whole,)
    if not gpu.supports_bf16:
        return (mixed, whole)
    half = (Precision.BF16_TRUE, whole)
    raised = any(backend in framework.facts.raised_by for backend in backends)
    return half if framework.facts.trains_as_loaded and not raised else (mixed, *half)


def usual_checkpointing(framework: Framework, backends: Sequence[ShardingBackend]) -> Checkpointing:
    """Returns what checkpointing is in a framework, given the backends that divide the model."""
    facts = framework.facts
    under = (facts.checkpoints_under[backend] for backend in backends if backend in facts.checkpoints_under)
    return next(under, facts.checkpoints)


def usual_adapter_dtypes(
    method: Finetuning, precisions: Sequence[Precision], framework: Framework
) -> tuple[AdapterDtype, ...]:
    """Returns the dtypes of adapters to search unless others are given.

    A framework may cast adapters over a quantized base to bf16, which is the dtype of the base only where that computes
    in bf16.
    """
    halves = method is Finetuning.QLORA and framework.facts.halves_adapters
    in_bf16 = all(precision.facts.matmul_dtype == "bf16" for precision in precisions)
    return (AdapterDtype.WEIGHTS if halves and in_bf16 else AdapterDtype.FP32,)


def usual_unquantized_dtypes(
    precisions: Sequence[Precision], quantizations: Sequence[Quantization], framework: Framework
) -> tuple[UnquantizedDtype, ...]:
    """Returns the dtypes of what a quantized base leaves unquantized to search unless others are given.

    It is fp32, as PEFT prepares it, or half precision, as it is loaded. A GPTQ model has no such choice: there `fp32`
    stands for what PEFT leaves as it is.
    """
    loaded = (UNQUANTIZED[precision.facts.matmul_dtype] for precision in precisions)
    both = framework.facts.prepares or any(quantization.is_gptq for quantization in quantizations)
    return tuple(dict.fromkeys((UnquantizedDtype.FP32, *loaded) if both else loaded))


def usual_values(
    gpu: GPU,
    method: Finetuning,
    framework: Framework,
    precisions: Sequence[Precision],
    quantizations: Sequence[Quantization],
    backends: Sequence[ShardingBackend],
) -> dict[str, tuple[Any, ...]]:
    """Returns the values of those options whose usual ones depend on the method, by the option's name.

    Args:
        gpu: The GPU.
        method: The method of fine-tuning.
        framework: The framework whose defaults hold.
        precisions: Precisions that are asked for; empty for the usual ones.
        quantizations: Quantizations that are searched.
        backends: Backends that divide the model.
    """
    chosen = tuple(precisions) or usual_precisions(gpu, method, framework, backends)
    return {
        "precision": chosen,
        "optimizer": USUAL_OPTIMIZERS[method],
        "adapter_dtype": usual_adapter_dtypes(method, chosen, framework),
        "unquantized_dtype": usual_unquantized_dtypes(chosen, quantizations, framework),
        "checkpointing": (Checkpointing.NONE, usual_checkpointing(framework, backends)),
    }
