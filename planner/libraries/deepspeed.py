"""Holds facts of DeepSpeed 0.19.8, and of how transformers sets it up, that the memory model and the replay share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from strategies import Zero
from strategies.sharding.deepspeed import LIVE_PARAMETERS, REUSE_DISTANCE, SUB_GROUP_SIZE

NOT_DECAYED = r"bias|layernorm|rmsnorm|(?:^|\.)norm(?:$|\.)|_norm(?:$|\.)"
"""Names of parameters without weight decay, in lower case, which Trainer puts into a group of their own, as it does
those of `nn.LayerNorm` (transformers/trainer.py, `get_decay_parameter_names`)."""

CLIPPING = 1.0
"""Trainer's `max_grad_norm`, which it fills in for "auto" (transformers/training_args.py)."""

ALIGNMENT = 2
"""Elements per rank to whose multiple a group's flat weights are padded (stage_1_and_2.py,
`nccl_start_alignment_factor`)."""


GATHERED_WHOLE = {"mixtral": "mlp", "qwen2_moe": "mlp", "qwen3_moe": "mlp"}
"""Module of a block, by model type, that ZeRO-3 gathers at once with all that it consists of: a "leaf".

Source: deepspeed/runtime/zero/leaf_module_config.py, `DEFAULT_LEAF_MODULE_CLASSES`.
"""


def filled_in(sharding: Zero, hidden_size: int) -> Zero:
    """Returns a sharding with the sizes that transformers fills in for "auto", or that DeepSpeed has as defaults.

    Source: transformers/integrations/deepspeed.py, `trainer_config_finalize`.
    """
    return sharding._replace(
        reduce_bucket=sharding.reduce_bucket or hidden_size * hidden_size,
        prefetch_bucket=sharding.prefetch_bucket or int(0.9 * hidden_size * hidden_size),
        persistence_threshold=sharding.persistence_threshold or 10 * hidden_size,
        max_live_parameters=sharding.max_live_parameters or LIVE_PARAMETERS,
        max_reuse_distance=sharding.max_reuse_distance or REUSE_DISTANCE,
        sub_group_size=sharding.sub_group_size or SUB_GROUP_SIZE,
    )


def partition_size(numels: Sequence[int], ranks: int) -> int:
    """Returns the elements of one rank's share of a group's flat weights, padding included.

    Args:
        numels: Elements of each parameter of the group.
        ranks: The number of ranks.
    """
    aligned = ALIGNMENT * ranks
    return -(-sum(numels) // aligned) * ALIGNMENT


class Piece(NamedTuple):
    """The part of a parameter that lies in one rank's share."""

    number: int
    """Number of the parameter in its group."""
    elements: int


def pieces(numels: Sequence[int], ranks: int, rank: int) -> Iterator[Piece]:
    """Yields the parameters that lie at least partly in a rank's share (stage_1_and_2.py, `get_partition_info`)."""
    size = partition_size(numels, ranks)
    first, last, offset = rank * size, (rank + 1) * size, 0
    for number, numel in enumerate(numels):
        inside = min(offset + numel, last) - max(offset, first)
        if inside > 0:
            yield Piece(number, inside)
        offset += numel


def largest_ranks(groups: Sequence[Sequence[int]], ranks: int) -> list[int]:
    """Returns the ranks of stages 1 and 2 that can need the most memory.

    A rank keeps whole gradients of all parameters that its share touches. The one that keeps the most of them is one
    candidate; the last rank is the other, since backward begins with its share.

    Args:
        groups: Elements of the parameters of each group.
        ranks: The number of ranks.
    """
    held = [0] * ranks
    for numels in groups:
        size, offset = partition_size(numels, ranks), 0
        for numel in numels:
            for rank in range(offset // size, min(ranks - 1, (offset + numel - 1) // size) + 1):
                held[rank] += numel
            offset += numel
    most = max(range(ranks), key=lambda rank: (held[rank], rank))
    return sorted({most, ranks - 1})
