"""Divides a model among ranks with DeepSpeed's ZeRO."""

from typing import Any, NamedTuple

from strategies.axis import Values, given
from strategies.sharding.choices import Offload, OverlapComm, Sharding, ShardingBackend

AUTO = 0
"""Value of a size that transformers fills in for "auto", or that DeepSpeed has as its default."""

LIVE_PARAMETERS = 1_000_000_000
REUSE_DISTANCE = 1_000_000_000
SUB_GROUP_SIZE = 1_000_000_000
"""DeepSpeed's defaults (deepspeed/runtime/zero/config.py, `DeepSpeedZeroConfig`), in elements."""

STAGES = {Sharding.ZERO1: 1, Sharding.SHARD_GRAD_OP: 2, Sharding.FULL_SHARD: 3}
"""DeepSpeed's number of each sharding that it has."""


class Zero(NamedTuple):
    """Divides optimizer states, gradients (stage 2) and parameters (stage 3) over all ranks with DeepSpeed.

    Sizes count elements, not bytes, as in DeepSpeed's file.
    """

    choice: Sharding = Sharding.FULL_SHARD
    offload: Offload = Offload.NONE
    reduce_bucket: int = AUTO
    """`reduce_bucket_size`: the largest number of gradients' elements that are reduced at a time."""
    overlap_comm: OverlapComm = OverlapComm.AUTO
    prefetch_bucket: int = AUTO
    """`stage3_prefetch_bucket_size`: about as many elements are gathered ahead when a module is entered."""
    persistence_threshold: int = AUTO
    """`stage3_param_persistence_threshold`: parameters with at most this many elements stay gathered."""
    max_live_parameters: int = AUTO
    """`stage3_max_live_parameters`: nothing is gathered ahead beyond this many gathered elements."""
    max_reuse_distance: int = AUTO
    """`stage3_max_reuse_distance`: what is used again within this many elements stays gathered."""
    sub_group_size: int = AUTO
    """`sub_group_size`: elements of a rank's share that the optimizer steps at a time."""

    @classmethod
    def of(cls, values: Values) -> "Zero":
        """Returns the value that options make."""
        return cls(
            values["sharding"],
            given(values, "offload", Offload.NONE),
            given(values, "reduce_bucket", AUTO),
            given(values, "overlap_comm", OverlapComm.AUTO),
            *(given(values, name, AUTO) for name in OF_STAGE_3),
        )

    def to_options(self) -> Values:
        """Returns the options that make the value."""
        said: dict[str, Any] = {
            "sharding": self.choice,
            "sharding_backend": self.backend,
            "offload": self.offload,
            "reduce_bucket": self.reduce_bucket,
            "overlap_comm": self.overlap_comm,
        }
        return {**said, **{name: getattr(self, name) for name in OF_STAGE_3}} if self.stage == 3 else said

    @property
    def backend(self) -> ShardingBackend:
        """Returns `deepspeed`."""
        return ShardingBackend.DEEPSPEED

    @property
    def stage(self) -> int:
        """Returns DeepSpeed's number of the sharding, from 1 to 3."""
        return STAGES[self.choice]

    @property
    def shards(self) -> bool:
        """Returns whether parameters are sharded, as in stage 3."""
        return self.stage == 3

    @property
    def divides_states(self) -> bool:
        """Returns False: no rank has whole parameters' states, since what is divided is one flat tensor."""
        return False

    @property
    def on_host(self) -> bool:
        """Returns whether parameters, too, are in the host's memory."""
        return self.offload is Offload.CPU

    @property
    def steps_on_host(self) -> bool:
        """Returns whether fp32 weights and states are in the host's memory, where the optimizer also runs."""
        return self.offload is not Offload.NONE

    @property
    def buckets(self) -> int:
        """Returns the number of buckets for gradients: with `overlap_comm`, one is filled while the other is reduced.

        Stage 3 has one in any case (deepspeed/runtime/zero/stage3.py, `_setup_for_real_optimizer`).
        """
        return 2 if self.stage < 3 and self.overlap_comm is OverlapComm.YES else 1

    def ranks(self, world_size: int) -> int:
        """Returns the number of ranks that states are divided over: all of them."""
        return world_size

    def indivisible(self, world_size: int) -> str | None:
        """Returns None, since any number of ranks can run it; one alone divides nothing, and has all else."""
        return None


OF_STAGE_3 = (
    "prefetch_bucket",
    "persistence_threshold",
    "max_live_parameters",
    "max_reuse_distance",
    "sub_group_size",
)
"""Options of stage 3 alone, in the order of the fields."""
