"""Says the engine of programs that take it from transformers' TrainingArguments or from accelerate's launcher."""

from __future__ import annotations

from planner.readers.documents.keys import Keys
from planner.readers.run import Run
from planner.readers.trainer.fsdp import FSDP_STRATEGIES, read_fsdp
from planner.readers.trainer.shared import SYNC
from strategies import GradientSync, Offload, Sharding, ShardingBackend

_FSDP_WHY = "transformers/training_args.py: version 2 since 5.10"
_FSDP_EARLIER = "transformers 4, training_args.py: version 1"


def read_engine(keys: Keys, run: Run, *, earlier: bool = False) -> None:
    """Says sharding by `deepspeed`, `fsdp` and `fsdp_config`; a launcher's file has said it otherwise.

    Args:
        keys: The keys.
        run: The files.
        earlier: Whether transformers 4 reads them, whose FSDP is of version 1 unless a key says it.
    """
    reading = keys.reading
    deepspeed = keys.entry("deepspeed")
    if deepspeed is not None:
        if isinstance(deepspeed.value, str):
            run.refer(deepspeed.value, deepspeed.place)
        else:
            reading.refuse("a DeepSpeed configuration within the file: give it as a JSON of its own", deepspeed.place)
        return
    fsdp = keys.entry("fsdp")
    if fsdp is not None and fsdp.value not in (False, "", []):
        place = fsdp.place
        names = ("full_shard",) if fsdp.value is True or str(fsdp.value).lower() == "true" else keys.names("fsdp") or ()
        for name in names:
            if name.lower() in FSDP_STRATEGIES:
                reading.say("sharding", FSDP_STRATEGIES[name.lower()], place)
            elif name.lower() not in ("auto_wrap", "offload"):
                reading.refuse(f"FSDP's {name}", place)
        if (path := keys.path_of("fsdp_config")) is not None:
            reading.refuse(f"{path.value} is not here, which says how FSDP divides the model", path.place)
        version, why = (1, _FSDP_EARLIER) if earlier else (2, _FSDP_WHY)
        read_fsdp(keys, "fsdp_config", place, version=version, why=why)
        if "offload" in names:
            reading.say("offload", Offload.CPU, place)
    elif reading.value("sharding") is None:
        reading.say("sharding", Sharding.NO_SHARD, why="no fsdp, no deepspeed and no launcher that divides the model")
    read_sync(keys)


def read_sync(keys: Keys) -> None:
    """Says when FSDP reduces gradients, which is after the last micro-batch of a step unless a key says otherwise."""
    reading = keys.reading
    if keys.flag(SYNC) and reading.value("sharding_backend") in (ShardingBackend.FSDP1, ShardingBackend.FSDP2):
        reading.say("gradient_sync", GradientSync.EACH, keys.place(SYNC))
