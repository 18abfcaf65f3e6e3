"""The options of techniques as type checkers and editors see them.

Written by `python docs/generate.py`: edit the code, not this file.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypedDict

from strategies import (
    AdapterDtype,
    Allocator,
    Attention,
    Checkpointing,
    ExpertQuantization,
    Finetuning,
    Framework,
    GradientBuckets,
    GradientSync,
    Kernels,
    LoraVariant,
    Loss,
    Offload,
    Optimizer,
    OverlapComm,
    Precision,
    Quantization,
    Sharding,
    ShardingBackend,
    TrainedModules,
    UnquantizedDtype,
    Update,
    Wrapping,
)

PrecisionName = (
    Precision | Literal["fp32", "tf32", "fp16-mixed", "bf16-mixed", "bf16-true", "fp16-true", "fp8-mixed", "all"]
)
OptimizerName = (
    Optimizer
    | Literal[
        "adamw",
        "adamw-foreach",
        "adamw-fp32-master",
        "adamw-8bit",
        "paged-adamw-8bit",
        "paged-adamw-32bit",
        "adamw-8bit-torchao",
        "adamw-4bit",
        "adamw-offload",
        "adafactor",
        "lion",
        "lion-8bit",
        "muon",
        "adam-mini",
        "galore",
        "apollo",
        "apollo-mini",
        "sgd",
        "sgd-momentum",
        "all",
    ]
)
FinetuningName = Finetuning | Literal["full", "lora", "qlora", "freeze", "bitfit", "all"]
QuantizationName = (
    Quantization | Literal["none", "nf4", "nf4-double", "int8", "gptq-4bit", "gptq-4bit-triton", "awq-4bit", "all"]
)
LoraVariantName = LoraVariant | Literal["lora", "rslora", "dora", "all"]
AdapterDtypeName = AdapterDtype | Literal["fp32", "weights", "all"]
UnquantizedDtypeName = UnquantizedDtype | Literal["fp32", "bf16", "fp16", "all"]
ExpertQuantizationName = ExpertQuantization | Literal["none", "same", "all"]
TrainedModulesName = TrainedModules | Literal["none", "embeddings", "head", "embeddings-and-head", "all"]
CheckpointingName = (
    Checkpointing
    | Literal["none", "full", "full-reentrant", "selective-matmuls", "selective-every-second-matmul", "offload", "all"]
)
ShardingName = Sharding | Literal["no_shard", "zero1", "shard_grad_op", "full_shard", "hybrid_shard", "all"]
ShardingBackendName = ShardingBackend | Literal["fsdp2", "fsdp1", "deepspeed", "all"]
GradientBucketsName = GradientBuckets | Literal["copies", "views", "all"]
OffloadName = Offload | Literal["none", "cpu", "optimizer", "all"]
GradientSyncName = GradientSync | Literal["last", "each", "all"]
WrappingName = Wrapping | Literal["today", "torch-2.7", "all"]
OverlapCommName = OverlapComm | Literal["auto", "yes", "no", "all"]
AttentionName = (
    Attention | Literal["eager", "sdpa", "sdpa-efficient", "flash-attention-2", "flash-attention-3", "flex", "all"]
)
LossName = (
    Loss
    | Literal[
        "full",
        "transformers-4.48",
        "transformers-4.45",
        "liger-cross-entropy",
        "flash-cross-entropy",
        "compiled",
        "liger-fused-linear",
        "chunked",
        "cut-cross-entropy",
        "all",
    ]
)
KernelsName = Kernels | Literal["eager", "liger", "compile", "all"]
FrameworkName = Framework | Literal["transformers", "trl", "axolotl", "llama-factory", "all"]
AllocatorName = Allocator | Literal["expandable", "native", "all"]
UpdateName = Update | Literal["after-backward", "in-backward", "all"]


class Options(TypedDict, total=False):
    """What a caller may say of each technique: a value, several, or for whole numbers a range."""

    precision: PrecisionName | Sequence[PrecisionName] | None
    optimizer: OptimizerName | Sequence[OptimizerName] | None
    optimizer_rank: int | str | Sequence[int | str] | None
    finetuning: FinetuningName | Sequence[FinetuningName] | None
    lora_rank: int | str | Sequence[int | str] | None
    lora_targets: str | tuple[str, ...] | Sequence[str | tuple[str, ...]] | None
    quantization: QuantizationName | Sequence[QuantizationName] | None
    lora_variant: LoraVariantName | Sequence[LoraVariantName] | None
    lora_dropout: float | Sequence[float] | None
    adapter_dtype: AdapterDtypeName | Sequence[AdapterDtypeName] | None
    unquantized_dtype: UnquantizedDtypeName | Sequence[UnquantizedDtypeName] | None
    expert_quantization: ExpertQuantizationName | Sequence[ExpertQuantizationName] | None
    trained_blocks: int | str | Sequence[int | str] | None
    trained_modules: TrainedModulesName | Sequence[TrainedModulesName] | None
    checkpointing: CheckpointingName | Sequence[CheckpointingName] | None
    checkpoint_every: int | str | Sequence[int | str] | None
    sharding: ShardingName | Sequence[ShardingName] | None
    sharding_backend: ShardingBackendName | Sequence[ShardingBackendName] | None
    gradient_buckets: GradientBucketsName | Sequence[GradientBucketsName] | None
    reshard_size: int | str | Sequence[int | str] | None
    shard_size: int | str | Sequence[int | str] | None
    offload: OffloadName | Sequence[OffloadName] | None
    gradient_sync: GradientSyncName | Sequence[GradientSyncName] | None
    wrapping: WrappingName | Sequence[WrappingName] | None
    reduce_bucket: int | str | Sequence[int | str] | None
    overlap_comm: OverlapCommName | Sequence[OverlapCommName] | None
    prefetch_bucket: int | str | Sequence[int | str] | None
    persistence_threshold: int | str | Sequence[int | str] | None
    max_live_parameters: int | str | Sequence[int | str] | None
    max_reuse_distance: int | str | Sequence[int | str] | None
    sub_group_size: int | str | Sequence[int | str] | None
    attention: AttentionName | Sequence[AttentionName] | None
    loss: LossName | Sequence[LossName] | None
    kernels: KernelsName | Sequence[KernelsName] | None
    framework: FrameworkName | Sequence[FrameworkName] | None
    allocator: AllocatorName | Sequence[AllocatorName] | None
    update: UpdateName | Sequence[UpdateName] | None
