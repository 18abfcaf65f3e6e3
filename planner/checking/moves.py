"""Lists the single changes that make a run smaller or faster, in the planner's words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from strategies import (
    Attention,
    Checkpointing,
    Finetuning,
    Kernels,
    Loss,
    Offload,
    Optimizer,
    Quantization,
    Sharding,
)


class Move(NamedTuple):
    """Describes a change of one technique.

    Attributes:
        what: The change in words.
        says: What the run does then; of several values for a word, the first that the framework can say is meant.
        of: What it has to do before, by word; values that are not listed are left alone.
        alters: Whether the result of training is another: a method, an optimizer or a length.
    """

    what: str
    says: Mapping[str, tuple[Any, ...]]
    of: Mapping[str, tuple[Any, ...]] = {}
    alters: bool = False

    def applies(self, does: Mapping[str, Any]) -> bool:
        """Returns whether a run that does such things can be changed so."""
        if any(does.get(word) in wanted for word, wanted in self.says.items()):
            return False
        return all(does.get(word) in values for word, values in self.of.items())


RECOMPUTED = (Checkpointing.FULL, Checkpointing.FULL_REENTRANT)
_FLASH = tuple(attention for attention in Attention if attention.is_flash)
_SHARDED_LESS = (Sharding.SHARD_GRAD_OP, Sharding.ZERO1)
_ADAMS = (Optimizer.ADAMW, Optimizer.ADAMW_FOREACH, Optimizer.PAGED_ADAMW_32BIT)
_WHOLE_LOGITS = (Loss.FULL, Loss.LIGER_CROSS_ENTROPY)
_ADAPTERS = (Finetuning.LORA,)

SMALLER: tuple[Move, ...] = (
    Move("blocks are recomputed in backward", {"checkpointing": RECOMPUTED}, {"checkpointing": (Checkpointing.NONE,)}),
    Move("the loss is made in chunks, without logits", {"loss": (Loss.LIGER_FUSED_LINEAR,)}, {"loss": _WHOLE_LOGITS}),
    Move("attention without a matrix of scores", {"attention": (Attention.SDPA,)}, {"attention": (Attention.EAGER,)}),
    Move("attention that this GPU has", {"attention": (Attention.SDPA,)}, {"attention": _FLASH}),
    Move("parameters are sharded as well", {"sharding": (Sharding.FULL_SHARD,)}, {"sharding": _SHARDED_LESS}),
    Move("optimizer states are on the host", {"offload": (Offload.OPTIMIZER,)}, {"offload": (Offload.NONE, None)}),
    Move(
        "shards and optimizer states are on the host",
        {"offload": (Offload.CPU,)},
        {"offload": (Offload.NONE, Offload.OPTIMIZER, None)},
    ),
    Move("optimizer states in 8 bits", {"optimizer": (Optimizer.ADAMW_8BIT,)}, {"optimizer": _ADAMS}, alters=True),
    Move(
        "a base in 4 bits under the adapters",
        {"quantization": (Quantization.NF4_DOUBLE, Quantization.NF4)},
        {"finetuning": _ADAPTERS, "quantization": (Quantization.NONE, None)},
        alters=True,
    ),
    Move("LoRA", {"finetuning": (Finetuning.LORA,)}, {"finetuning": (Finetuning.FULL,)}, alters=True),
    Move("QLoRA", {"finetuning": (Finetuning.QLORA,)}, {"finetuning": (Finetuning.FULL,)}, alters=True),
)
"""Changes that take less memory, those that cost the least first."""

FASTER: tuple[Move, ...] = (
    Move("nothing is recomputed", {"checkpointing": (Checkpointing.NONE,)}, {"checkpointing": RECOMPUTED}),
    Move("the loss is made in chunks, without logits", {"loss": (Loss.LIGER_FUSED_LINEAR,)}, {"loss": _WHOLE_LOGITS}),
    Move("Liger's kernels", {"kernels": (Kernels.LIGER,)}, {"kernels": (Kernels.EAGER,)}),
    Move("attention without a matrix of scores", {"attention": (Attention.SDPA,)}, {"attention": (Attention.EAGER,)}),
    Move("nothing is on the host", {"offload": (Offload.NONE,)}, {"offload": (Offload.CPU, Offload.OPTIMIZER)}),
    Move("AdamW's fused step", {"optimizer": (Optimizer.ADAMW,)}, {"optimizer": (Optimizer.ADAMW_FOREACH,)}),
)
"""Changes that make a step faster, if there is memory for them."""
