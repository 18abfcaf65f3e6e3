"""Lists the choices that the memory model computes."""

from __future__ import annotations

from planner.memory.attention.attention import KERNELS
from planner.memory.linear.quantized import KINDS
from planner.memory.losses.fused import FUSED
from planner.memory.losses.loss import LOSSES
from planner.memory.tracing.implementations import LAYERS
from strategies import (
    Accounts,
    AdapterDtype,
    Allocator,
    Attention,
    ExpertQuantization,
    Finetuning,
    Framework,
    GradientBuckets,
    GradientSync,
    Kernels,
    LoraVariant,
    Loss,
    Offload,
    OverlapComm,
    Quantization,
    Sharding,
    ShardingBackend,
    TrainedModules,
    UnquantizedDtype,
    Update,
    Wrapping,
)

ACCOUNTS = Accounts(
    "the memory model",
    {
        Attention: (KERNELS,),
        Kernels: (LAYERS,),
        Loss: (LOSSES, FUSED),
        Quantization: (KINDS, (Quantization.NONE,)),
        Finetuning: ((Finetuning.FULL, Finetuning.LORA, Finetuning.QLORA, Finetuning.FREEZE, Finetuning.BITFIT),),
        LoraVariant: ((LoraVariant.LORA, LoraVariant.RSLORA, LoraVariant.DORA),),
        AdapterDtype: ((AdapterDtype.FP32, AdapterDtype.WEIGHTS),),
        TrainedModules: (
            (
                TrainedModules.NONE,
                TrainedModules.EMBEDDINGS,
                TrainedModules.HEAD,
                TrainedModules.EMBEDDINGS_AND_HEAD,
            ),
        ),
        Sharding: (
            (
                Sharding.NO_SHARD,
                Sharding.ZERO1,
                Sharding.SHARD_GRAD_OP,
                Sharding.FULL_SHARD,
                Sharding.HYBRID_SHARD,
            ),
        ),
        GradientBuckets: ((GradientBuckets.COPIES, GradientBuckets.VIEWS),),
        ShardingBackend: ((ShardingBackend.FSDP1, ShardingBackend.FSDP2, ShardingBackend.DEEPSPEED),),
        GradientSync: ((GradientSync.LAST, GradientSync.EACH),),
        Wrapping: ((Wrapping.TODAY, Wrapping.TORCH_2_7),),
        Offload: ((Offload.NONE, Offload.CPU, Offload.OPTIMIZER),),
        OverlapComm: ((OverlapComm.AUTO, OverlapComm.YES, OverlapComm.NO),),
        Framework: ((Framework.TRANSFORMERS, Framework.TRL, Framework.AXOLOTL, Framework.LLAMA_FACTORY),),
        Allocator: ((Allocator.NATIVE, Allocator.EXPANDABLE),),
        UnquantizedDtype: ((UnquantizedDtype.FP32, UnquantizedDtype.BF16, UnquantizedDtype.FP16),),
        ExpertQuantization: ((ExpertQuantization.NONE, ExpertQuantization.SAME),),
        Update: ((Update.AFTER_BACKWARD, Update.IN_BACKWARD),),
    },
)
"""The choices of each axis that the memory model computes; a strategy with any other is refused.

Members are named one by one where code compares with them. So a new member is refused until somebody has written the
code that computes it and named it here."""
