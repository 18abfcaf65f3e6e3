"""The axis of sharding: what each rank of a data-parallel group keeps."""

from __future__ import annotations

from strategies.axis import Choice, axis_of


class Sharding(Choice):
    """`no_shard` on several GPUs is DDP; the others are FSDP2's `reshard_after_forward` False and True."""

    NO_SHARD = "no_shard", "whole model on each GPU; DDP on several"
    SHARD_GRAD_OP = "shard_grad_op", "FSDP2, parameters stay gathered from forward to backward (ZeRO-2)"
    FULL_SHARD = "full_shard", "FSDP2, parameters gathered block by block (ZeRO-3)"

    @property
    def shards(self) -> bool:
        return self is not Sharding.NO_SHARD


AXIS = axis_of(Sharding)
