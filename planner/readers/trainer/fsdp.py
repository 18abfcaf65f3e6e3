"""Says which engine divides the model among GPUs, as FSDP is configured by transformers, axolotl and accelerate."""

from __future__ import annotations

from planner.readers.documents.keys import Keys
from planner.readers.documents.reading import Place
from planner.readers.documents.table import words
from strategies import Checkpointing, Offload, Sharding, ShardingBackend

FSDP_STRATEGIES = {
    "full_shard": Sharding.FULL_SHARD,
    "shard_grad_op": Sharding.SHARD_GRAD_OP,
    "hybrid_shard": Sharding.HYBRID_SHARD,
    "no_shard": Sharding.NO_SHARD,
    "1": Sharding.FULL_SHARD,
    "2": Sharding.SHARD_GRAD_OP,
    "3": Sharding.NO_SHARD,
    "4": Sharding.HYBRID_SHARD,
}
"""torch's ShardingStrategy by the names and numbers that accelerate takes (utils/constants.py)."""

FSDP_KEYS = (
    "fsdp_version",
    "version",
    "sharding_strategy",
    "reshard_after_forward",
    "offload_params",
    "activation_checkpointing",
    "auto_wrap_policy",
)
"""Keys of `fsdp_config` that decide memory; each may have the prefix `fsdp_`."""

FSDP_IDLE = words(
    """
        limit_all_gathers cpu_offload_pin_memory
        sync_module_states cpu_ram_efficient_loading transformer_layer_cls_to_wrap
        state_dict_type final_state_dict_type backward_prefetch_policy min_num_params xla xla_fsdp_v2
        xla_fsdp_grad_ckpt
        """
)


def fsdp_decides(section: str) -> dict[str, str]:
    """Returns the keys of an `fsdp_config` that decide memory, and their words."""
    words = "sharding, sharding_backend, offload, checkpointing"
    names = [name for key in FSDP_KEYS for name in _spelled(key)]
    return {f"{section}.{name}": words for name in names}


def fsdp_idle(section: str) -> frozenset[str]:
    """Returns the keys of an `fsdp_config` that do not change the planner's account.

    `use_orig_params` and `backward_prefetch` are those of torch's FSDP1 as it is planned.
    """
    idle = (*FSDP_IDLE, "use_orig_params", "backward_prefetch")
    return frozenset(f"{section}.{name}" for key in idle for name in _spelled(key))


def fsdp_left_out(section: str) -> dict[str, str]:
    """Returns the keys of an `fsdp_config` whose effect the account lacks."""
    what = "the next block is gathered before forward of this one is over"
    return {f"{section}.{name}": what for name in _spelled("forward_prefetch")}


def _spelled(key: str) -> tuple[str, ...]:
    return (key,) if key.startswith("fsdp_") else (f"fsdp_{key}", key)


def read_fsdp(keys: Keys, section: str, place: Place | None, *, version: int, why: str) -> None:
    """Says sharding, backend, offload and FSDP's own checkpointing.

    Args:
        keys: The keys, whose table has those of `fsdp_decides`.
        section: Name of the mapping, such as `fsdp_config`.
        place: Key that switches FSDP on.
        version: FSDP's version where nothing says it.
        why: Source of that default.
    """

    def named(key: str) -> tuple[str, ...]:
        return tuple(f"{section}.{name}" for name in _spelled(key))

    reading = keys.reading
    said = keys.whole(f"{section}.fsdp_version", f"{section}.version")
    at = keys.place(f"{section}.fsdp_version", f"{section}.version")
    backend = ShardingBackend.FSDP2 if (version if said is None else said) == 2 else ShardingBackend.FSDP1
    reading.say("sharding_backend", backend, at, "" if said is not None else why)
    strategy = keys.word(*named("sharding_strategy"))
    at = keys.place(*named("sharding_strategy"))
    if strategy is None:
        # accelerate's files of version 1 may name the strategy here.
        strategy, at = keys.word(*named("reshard_after_forward")), keys.place(*named("reshard_after_forward"))
    known = {**FSDP_STRATEGIES, "true": Sharding.FULL_SHARD, "false": Sharding.SHARD_GRAD_OP}
    if strategy is None:
        if reading.value("sharding") is None:
            reading.say("sharding", Sharding.FULL_SHARD, place, "FSDP's FULL_SHARD, reshard_after_forward true")
    elif strategy.lower() in known:
        reading.say("sharding", known[strategy.lower()], at)
    else:
        reading.refuse(f"the FSDP strategy {strategy}", at)
    offloads = keys.flag(*named("offload_params"))
    reading.say("offload", Offload.CPU if offloads else Offload.NONE, keys.place(*named("offload_params")))
    if keys.flag(*named("activation_checkpointing")):
        reading.say("checkpointing", Checkpointing.FULL, keys.place(*named("activation_checkpointing")))
    wraps = keys.word(*named("auto_wrap_policy"))
    if wraps is not None and wraps.upper() not in ("TRANSFORMER_BASED_WRAP", "NONE"):
        reading.refuse(f"FSDP's {wraps}: groups that are not blocks", keys.place(*named("auto_wrap_policy")))
