"""The axis of sharding: what each rank of a data-parallel group keeps."""

from __future__ import annotations

from dataclasses import dataclass

from strategies.axis import Axis, Choice, Option, Values


class Sharding(Choice):
    """`no_shard` on several GPUs is DDP; the others are FSDP2's `reshard_after_forward` False and True."""

    NO_SHARD = "no_shard", "whole model on each GPU; DDP on several"
    SHARD_GRAD_OP = "shard_grad_op", "FSDP2, parameters stay gathered from forward to backward (ZeRO-2)"
    FULL_SHARD = "full_shard", "FSDP2, parameters gathered block by block (ZeRO-3)"


class GradientBuckets(Choice):
    """What DDP's all-reduce works on (`ddp_bucket_view` in Trainer... )."""

    COPIES = "copies", "buckets beside the gradients, as large as they are (Trainer's default)"
    VIEWS = "views", "gradients are views of the buckets (DDP's gradient_as_bucket_view=True)"

    @classmethod
    def axis_name(cls) -> str:
        return "gradient_buckets"


@dataclass(frozen=True, slots=True)
class Replicated:
    """The whole model on every rank."""

    gradient_buckets: GradientBuckets = GradientBuckets.COPIES

    choice = Sharding.NO_SHARD
    shards = False

    def ranks(self, world_size: int) -> int:
        """Over how many ranks parameters and gradients are divided."""
        return 1


@dataclass(frozen=True, slots=True)
class Sharded:
    """FSDP2: every rank keeps its share of parameters, gradients and states."""

    choice: Sharding = Sharding.FULL_SHARD

    shards = True

    def ranks(self, world_size: int) -> int:
        """Over how many ranks parameters, gradients and states are divided."""
        return world_size

    @property
    def reshards(self) -> bool:
        """Parameters are sharded again after forward, and gathered a second time in backward."""
        return self.choice is not Sharding.SHARD_GRAD_OP


DataParallel = Replicated | Sharded


def _join(values: Values) -> DataParallel:
    choice = values["sharding"]
    if choice is Sharding.NO_SHARD:
        return Replicated(values.get("gradient_buckets") or GradientBuckets.COPIES)
    return Sharded(choice)


def _split(value: DataParallel) -> Values:
    if isinstance(value, Replicated):
        return {"sharding": value.choice, "gradient_buckets": value.gradient_buckets}
    return {"sharding": value.choice}


AXIS = Axis(
    Option("sharding", Sharding),
    (
        Option(
            "gradient_buckets",
            GradientBuckets,
            phrase="bucket {}",
            quiet=GradientBuckets.COPIES,
            belongs_to=(Sharding.NO_SHARD,),
        ),
    ),
    _join,
    _split,
)
