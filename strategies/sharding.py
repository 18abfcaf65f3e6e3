"""Defines the axis of sharding: what each rank of a data-parallel group stores."""

from __future__ import annotations

from typing import Any, NamedTuple

from strategies.axis import Axis, Choice, ContradictionError, Option, Values, WholeNumbers, given


class Sharding(Choice):
    """Says how the model is distributed over the ranks.

    `no_shard` on several GPUs is DDP. `shard_grad_op` and `full_shard` are FSDP2 with `reshard_after_forward` False and
    True; `hybrid_shard` is True on a mesh of replicas x shards.
    """

    NO_SHARD = "no_shard", "whole model on each GPU; DDP on several"
    ZERO1 = "zero1", "DDP, each rank keeps the states of its parameters alone (torch's ZeroRedundancyOptimizer)"
    SHARD_GRAD_OP = "shard_grad_op", "FSDP2, parameters stay gathered from forward to backward (ZeRO-2)"
    FULL_SHARD = "full_shard", "FSDP2, parameters gathered block by block (ZeRO-3)"
    HYBRID_SHARD = "hybrid_shard", "full_shard within each group of ranks, gradients reduced over the groups (HSDP)"


ALL_RANKS = 0
"""Size of a group of ranks that stands for all ranks."""
MOST_RANKS = 2**16
"""Largest size of a group of ranks that can be asked for."""


class GradientBuckets(Choice):
    """Says whether DDP reduces copies of the gradients, or gradients that are views of its buckets.

    Trainer has no option for views; accelerate has one (`DistributedDataParallelKwargs`).
    """

    COPIES = "copies", "buckets in addition to the gradients, as large as they are (Trainer's default)"
    VIEWS = "views", "gradients are views of the buckets (DDP's gradient_as_bucket_view=True)"


class Offload(Choice):
    """Says where FSDP2 keeps a rank's shard of the model between steps."""

    NONE = "none", "on the GPU"
    CPU = "cpu", "parameters, gradients and states in the host's memory; the optimizer runs there (CPUOffloadPolicy)"


class Replicated(NamedTuple):
    """Keeps the whole model on every rank; with `zero1`, each optimizer state is on one rank only."""

    choice: Sharding = Sharding.NO_SHARD
    gradient_buckets: GradientBuckets = GradientBuckets.COPIES

    @property
    def shards(self) -> bool:
        """Returns False: every rank keeps all parameters and gradients."""
        return False

    @property
    def on_host(self) -> bool:
        """Returns False: the model and the optimizer step stay on the GPU."""
        return False

    @property
    def divides_states(self) -> bool:
        """Returns whether optimizer states are divided while parameters stay whole, as with `zero1`."""
        return self.choice is Sharding.ZERO1

    def ranks(self, world_size: int) -> int:
        """Returns the number of ranks that parameters and gradients are divided over, which is 1."""
        return 1


class Sharded(NamedTuple):
    """Shards parameters, gradients and optimizer states over ranks with FSDP2."""

    choice: Sharding = Sharding.FULL_SHARD
    reshard_size: int = ALL_RANKS
    """Number of ranks that parameters are sharded over between forward and backward."""
    shard_size: int = ALL_RANKS
    """Number of ranks that one copy of the model is divided over; the ranks hold `world_size / shard_size` copies."""
    offload: Offload = Offload.NONE

    @property
    def shards(self) -> bool:
        """Returns whether parameters and gradients are sharded, which they are."""
        return True

    @property
    def divides_states(self) -> bool:
        """Returns whether optimizer states are divided while parameters stay whole, which is not the case."""
        return False

    def ranks(self, world_size: int) -> int:
        """Returns the number of ranks that parameters, gradients and optimizer states are divided over."""
        return self.shard_size or world_size

    def replicas(self, world_size: int) -> int:
        """Returns the number of copies of the model that the ranks hold together."""
        return world_size // self.ranks(world_size)

    @property
    def reshards(self) -> bool:
        """Returns whether parameters are resharded after forward, and gathered a second time in backward."""
        return self.choice is not Sharding.SHARD_GRAD_OP

    @property
    def on_host(self) -> bool:
        """Returns whether persistent state is in host memory, where the optimizer also runs."""
        return self.offload is Offload.CPU


DataParallel = Replicated | Sharded
"""Value of the sharding axis in a strategy."""


def indivisible(sharding: DataParallel, world_size: int) -> str | None:
    """Returns why `world_size` ranks cannot divide a model with this sharding, or None.

    The text does not name the size that was asked for, so that all impossible sizes of a range have the same reason.
    """
    if isinstance(sharding, Replicated):
        if sharding.divides_states and world_size == 1:
            return "one GPU has nobody to divide its optimizer's states with"
        return None
    if world_size == 1:
        return "one GPU has nothing to shard over"
    # torch/distributed/fsdp/_fully_shard/_fsdp_init.py, `_get_post_forward_mesh_info`
    if sharding.choice is Sharding.HYBRID_SHARD and not _divides(sharding.shard_size, world_size):
        return f"{world_size} GPUs make replicas of a smaller number of shards that divides {world_size}"
    if sharding.reshard_size and not _divides(sharding.reshard_size, world_size):
        return f"parameters of {world_size} shards are resharded to a smaller number that divides {world_size}"
    return None


def _divides(part: int, world_size: int) -> bool:
    return 0 < part < world_size and world_size % part == 0


_REPLICATED = (Sharding.NO_SHARD, Sharding.ZERO1)
_SHARDED = (Sharding.SHARD_GRAD_OP, Sharding.FULL_SHARD, Sharding.HYBRID_SHARD)


def _join(values: Values) -> DataParallel:
    choice = values["sharding"]
    if choice not in (*_REPLICATED, *_SHARDED):
        raise ContradictionError(
            f"nothing says who keeps what under sharding {choice}", "it needs a class like `Sharded`"
        )
    if choice in _REPLICATED:
        return Replicated(choice, given(values, "gradient_buckets", GradientBuckets.COPIES))
    return Sharded(
        choice,
        given(values, "reshard_size", ALL_RANKS),
        given(values, "shard_size", ALL_RANKS),
        given(values, "offload", Offload.NONE),
    )


def _split(value: DataParallel) -> Values:
    if isinstance(value, Replicated):
        return {"sharding": value.choice, "gradient_buckets": value.gradient_buckets}
    said: dict[str, Any] = {"sharding": value.choice, "offload": value.offload}
    if value.choice is Sharding.FULL_SHARD:
        said["reshard_size"] = value.reshard_size
    if value.choice is Sharding.HYBRID_SHARD:
        said["shard_size"] = value.shard_size
    return said


AXIS = Axis(
    Option("sharding", Sharding),
    (
        Option(
            "gradient_buckets",
            GradientBuckets,
            phrase="bucket {}",
            hidden_default=GradientBuckets.COPIES,
            belongs_to=_REPLICATED,
        ),
        Option(
            "reshard_size",
            WholeNumbers(ALL_RANKS, MOST_RANKS, 8),
            "Ranks that keep a shard of each block from forward to backward; all (0) unless given.",
            "resharded to {}",
            ALL_RANKS,
            (Sharding.FULL_SHARD,),
        ),
        Option(
            "shard_size",
            WholeNumbers(2, MOST_RANKS, 8),
            "Ranks over which hybrid_shard divides the model, the GPUs of a node unless given.",
            "groups of {}",
            None,
            (Sharding.HYBRID_SHARD,),
        ),
        Option(
            "offload",
            Offload,
            phrase="offload to {}",
            hidden_default=Offload.NONE,
            belongs_to=_SHARDED,
        ),
    ),
    _join,
    _split,
)
