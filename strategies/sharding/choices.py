"""Names the choices of the sharding axis and of the options that refine it."""

from __future__ import annotations

from collections.abc import Mapping

from strategies.choice import Choice


class Sharding(Choice):
    """Says what each rank of a data-parallel group stores.

    `no_shard` on several GPUs is DDP. In FSDP2 `shard_grad_op` and `full_shard` are `reshard_after_forward` False and
    True, and `hybrid_shard` is True on a mesh of replicas x shards.
    """

    NO_SHARD = "no_shard", "whole model on each GPU; DDP on several"
    ZERO1 = "zero1", "each rank keeps the states of its parameters alone (ZeRO-1)"
    SHARD_GRAD_OP = "shard_grad_op", "parameters stay gathered from forward to backward (ZeRO-2)"
    FULL_SHARD = "full_shard", "parameters gathered block by block (ZeRO-3)"
    HYBRID_SHARD = "hybrid_shard", "full_shard within each group of ranks, gradients reduced over the groups (HSDP)"

    @classmethod
    def aliases(cls) -> Mapping[str, str]:
        """Returns the names that say a backend as well, and what each means."""
        return {name: " by ".join(meant.values()) for name, meant in ALIASES.items()}

    @classmethod
    def mistaken(cls) -> Mapping[str, str]:
        """Returns the nearest choices of other names.

        They are libraries and wrappers that are named in place of how they divide the model, and kinds of parallelism
        that are not planned.
        """
        whole = dict.fromkeys(("ddp", "dp", "none", "no"), cls.NO_SHARD)
        fsdp = {"fsdp": "fsdp2 or fsdp1"}
        zero = dict.fromkeys(("deepspeed", "zero"), "zero2 or zero3")
        split = dict.fromkeys(("tp", "tensor", "pp", "pipeline", "cp", "ep"), "full_shard, for no matrix is split")
        return {**whole, **fsdp, **zero, **split}


class ShardingBackend(Choice):
    """Names the library that divides the model among the ranks."""

    FSDP2 = "fsdp2", "torch's fully_shard; with zero1 torch's ZeroRedundancyOptimizer"
    FSDP1 = "fsdp1", "torch's FullyShardedDataParallel (accelerate's fsdp_version: 1)"
    DEEPSPEED = "deepspeed", "DeepSpeed's ZeRO"


ALIASES: Mapping[str, Mapping[str, Choice]] = {
    "fsdp1": {"sharding": Sharding.FULL_SHARD, "sharding_backend": ShardingBackend.FSDP1},
    "fsdp2": {"sharding": Sharding.FULL_SHARD, "sharding_backend": ShardingBackend.FSDP2},
    "zero2": {"sharding": Sharding.SHARD_GRAD_OP, "sharding_backend": ShardingBackend.DEEPSPEED},
    "zero3": {"sharding": Sharding.FULL_SHARD, "sharding_backend": ShardingBackend.DEEPSPEED},
}
"""Names that stand for a sharding and its backend, as users of FSDP and DeepSpeed say them."""


class GradientSync(Choice):
    """Says in which micro-batches of an accumulated step gradients are reduced over the ranks.

    accelerate reduces them in the last one alone unless `sync_each_batch` is set (accelerator.py, `no_sync`).
    """

    LAST = "last", "in the last micro-batch; whole gradients accumulate on every GPU until then (no_sync)"
    EACH = "each", "in every micro-batch, so that each GPU keeps its share alone (sync_each_batch)"


class Wrapping(Choice):
    """Says whether what FSDP1 broadcasts while it wraps a model serves nobody before the GPU has passed it.

    Until torch 2.8 a broadcast recorded its stream on its tensor (ProcessGroupNCCL.cpp, `collective`; pytorch pull
    request 148590 ended it), unless TORCH_NCCL_AVOID_RECORD_STREAMS was set, which makes earlier ones like `today`.
    """

    TODAY = "today", "as torch since 2.8: what was broadcast is free as soon as it was copied"
    TORCH_2_7 = "torch-2.7", "as torch up to 2.7: what was broadcast is free when the GPU has passed it"


class GradientBuckets(Choice):
    """Says whether DDP reduces copies of the gradients, or gradients that are views of its buckets.

    Trainer has no option for views; accelerate has one (`DistributedDataParallelKwargs`).
    """

    COPIES = "copies", "buckets in addition to the gradients, as large as they are (Trainer's default)"
    VIEWS = "views", "gradients are views of the buckets (DDP's gradient_as_bucket_view=True)"


class Offload(Choice):
    """Says where a sharding backend keeps a rank's shard of the model between steps."""

    NONE = "none", "on the GPU"
    CPU = "cpu", "parameters, gradients and states in the host's memory; the optimizer runs there"
    OPTIMIZER = "optimizer", "fp32 weights and states in the host's memory, where the optimizer runs (DeepSpeed)"


class OverlapComm(Choice):
    """Says whether DeepSpeed reduces gradients while backward goes on, for which stages 1 and 2 have two buckets."""

    AUTO = "auto", "as DeepSpeed chooses: yes in stage 3, no in stages 1 and 2"
    YES = "yes", "two buckets in stages 1 and 2, one of which fills up while the other is reduced"
    NO = "no", "backward waits while a bucket is reduced"


ALL_RANKS = 0
"""Size of a group of ranks that stands for all ranks."""
MOST_RANKS = 2**16
"""Largest size of a group of ranks that can be asked for."""

REPLICATED = (Sharding.NO_SHARD, Sharding.ZERO1)
"""Shardings in which every rank keeps all parameters; with DeepSpeed, `no_shard` alone."""
SHARDED = (Sharding.SHARD_GRAD_OP, Sharding.FULL_SHARD, Sharding.HYBRID_SHARD)
"""Shardings in which gradients, at least, are divided among the ranks."""


MOST_ELEMENTS = 10**12
"""Largest number of elements that an option takes."""


def divides(part: int, world_size: int) -> bool:
    """Returns whether groups of `part` ranks divide `world_size` ranks into several equal groups."""
    return 0 < part < world_size and world_size % part == 0
