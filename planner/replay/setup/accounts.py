"""Lists the choices that a replay runs: others are refused, not replayed as another choice."""

from __future__ import annotations

from planner.allocator.kinds import KINDS
from planner.replay.stand_ins import flash
from planner.replay.stand_ins.losses import fused as fused_loss
from planner.replay.stand_ins.quantized import linear as quantized
from strategies import (
    Accounts,
    AdapterDtype,
    Allocator,
    Attention,
    ContradictionError,
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
    Strategy,
    TrainedModules,
    UnquantizedDtype,
    Update,
    Wrapping,
)

ACCOUNTS = Accounts(
    "the replay",
    {
        Attention: (flash.IMPLEMENTATIONS, (Attention.EAGER, Attention.SDPA, Attention.SDPA_EFFICIENT)),
        Kernels: ((Kernels.EAGER, Kernels.LIGER, Kernels.COMPILE),),
        Loss: (fused_loss.FUSED, fused_loss.OF_LOGITS, (Loss.FULL,)),
        Quantization: (quantized.STAND_INS, (Quantization.NONE,)),
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
        Wrapping: ((Wrapping.TODAY,),),
        Offload: ((Offload.NONE, Offload.CPU, Offload.OPTIMIZER),),
        OverlapComm: ((OverlapComm.AUTO, OverlapComm.YES, OverlapComm.NO),),
        Framework: ((Framework.TRANSFORMERS, Framework.TRL, Framework.AXOLOTL, Framework.LLAMA_FACTORY),),
        Allocator: (KINDS,),
        UnquantizedDtype: ((UnquantizedDtype.FP32, UnquantizedDtype.BF16, UnquantizedDtype.FP16),),
        ExpertQuantization: ((ExpertQuantization.NONE, ExpertQuantization.SAME),),
        Update: ((Update.AFTER_BACKWARD, Update.IN_BACKWARD),),
    },
)
"""Choices of each axis that a replay runs, either as a table of stand-ins or one by one.

As in `planner.memory.accounts`, a new choice is refused until it is named here. Optimizers are not listed: their
builders are looked up when one is made."""


def check(strategy: Strategy) -> None:
    """Raises ContradictionError if no replay runs a choice of a strategy."""
    if reason := ACCOUNTS.lacking(strategy):
        raise ContradictionError(f"this configuration cannot be replayed: {reason}", "estimate needs no replay")
