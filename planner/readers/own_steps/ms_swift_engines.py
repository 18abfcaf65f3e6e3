"""Says what the DeepSpeed JSONs hold that ms-swift has under a name.

Source: ms-swift 3602360, swift/config/*.json; of ms-swift 2: v2.6.1, swift/llm/ds_config/*.json. A name stands for
ms-swift's own file, whatever files of that name are here: sft_args.py, `_init_deepspeed`.
"""

from __future__ import annotations

from planner.readers.documents.keys import Keys
from planner.readers.frameworks import deepspeed
from planner.readers.own_steps import ms_swift_2
from planner.readers.run import Run
from strategies import OverlapComm, Sharding

_BUILT_IN = {
    "zero1": (1, "none", "none"),
    "zero2": (2, "none", "none"),
    "zero2_offload": (2, "cpu", "none"),
    "zero3": (3, "none", "none"),
    "zero3_offload": (3, "cpu", "cpu"),
}
"""Stage, and devices of optimizer and parameters."""

_REDUCE_BUCKET = 200_000_000
"""Elements of the bucket of stages 1 and 2; stage 3 has "auto"."""


def read_engine(keys: Keys, run: Run) -> None:
    """Says how DeepSpeed shards, by the JSON that is named or by the one that is built in under the name."""
    reading, name, place = keys.reading, keys.word("deepspeed"), keys.place("deepspeed")
    named_as_in_2 = name in ms_swift_2.ENGINES
    name = ms_swift_2.ENGINES.get(name or "", name)
    if name is None:
        if reading.value("sharding") is None:
            reading.say("sharding", Sharding.NO_SHARD, why="no deepspeed")
    elif name not in _BUILT_IN:
        run.refer(name, place)
    elif not run.refers(f"{name}.json", place):
        stage, states, parameters = _BUILT_IN[name]
        deepspeed.read_stage(reading, stage, place)
        devices = {"offload_optimizer": states, "offload_param": parameters}
        deepspeed.read_offload(reading, devices, dict.fromkeys(devices, place))
        if stage < 3:
            reading.say("reduce_bucket", _REDUCE_BUCKET, place)
        reading.say("overlap_comm", OverlapComm.YES if named_as_in_2 else OverlapComm.NO, place)
