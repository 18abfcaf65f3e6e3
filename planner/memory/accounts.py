"""Which choices the memory model has an account of."""

from __future__ import annotations

from planner.memory.attention.attention import KERNELS
from planner.memory.linear.quantized import KINDS
from planner.memory.losses.fused import FUSED
from planner.memory.losses.loss import LOSSES
from planner.memory.step.tracer import LAYERS
from strategies import (
    Accounts,
    AdapterDtype,
    Allocator,
    Attention,
    Finetuning,
    Framework,
    GradientBuckets,
    Kernels,
    LoraVariant,
    Loss,
    Offload,
    Quantization,
    Sharding,
    TrainedModules,
    Update,
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
        Offload: ((Offload.NONE, Offload.CPU),),
        Framework: ((Framework.TRANSFORMERS,),),
        Allocator: ((Allocator.NATIVE, Allocator.EXPANDABLE),),
        Update: ((Update.AFTER_BACKWARD, Update.IN_BACKWARD),),
    },
)
"""Members are named one by one where code compares with them: a new one is refused until its account is written, and
then named here."""
