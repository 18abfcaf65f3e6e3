"""Says among how many GPUs axolotl's FSDP divides one copy of the model.

Source: axolotl 0.19, utils/distributed.py, `_get_parallel_config_kwargs`.
"""

from __future__ import annotations

from planner.readers.documents.keys import Keys
from planner.readers.documents.ranks import say_ranks
from planner.readers.tables.axolotl import COPIES, SHARDS
from strategies import Sharding, ShardingBackend


def read_mesh(keys: Keys, ranks: int | None) -> None:
    """Says the GPUs that share a copy; a copy for each of several such groups is FSDP's hybrid sharding.

    Args:
        keys: The keys; sharding and its backend have been said.
        ranks: GPUs of all nodes, where the command line says them; otherwise the mesh says them.
    """
    reading, place = keys.reading, keys.place(SHARDS, COPIES)
    shards, copies = max(1, keys.whole(SHARDS) or 1), max(1, keys.whole(COPIES) or 1)
    if place is None or shards * copies == 1:
        return
    if reading.value("sharding_backend") is not ShardingBackend.FSDP2:
        if shards > 1:
            reading.refuse("a mesh of data-parallel sizes without FSDP2, which accelerate refuses", place)
        elif reading.value("sharding") is not Sharding.NO_SHARD:
            reading.refuse("copies of a model that FSDP2 does not divide", place)
        return
    if ranks is None and shards == 1:
        reading.refuse(f"{copies} copies of the model on a number of GPUs that nothing says: --gpus N says it", place)
        return
    if ranks is None:
        ranks = shards * copies
        say_ranks(keys, ranks, keys.place(SHARDS), "product of the mesh's sizes")
    if shards == 1:  # each copy has the GPUs that are left
        shards = max(1, ranks // copies)
    elif copies == 1:
        copies = max(1, ranks // shards)
    if shards * copies != ranks:
        reading.refuse(f"{copies} copies on {shards} GPUs each, where there are {ranks} GPUs", place)
    elif copies > 1:
        reading.say("sharding", Sharding.HYBRID_SHARD, place, f"{copies} copies of the model")
        reading.say("shard_size", shards, place)
