"""Spells what is sharded and offloaded in the file that says who divides the model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from strategies import Offload, Sharding
from strategies.sharding.deepspeed import STAGES

ENGINE_WORDS = ("sharding", "offload")
_ZERO, _INLINE, _FSDP = "zero_optimization.", "deepspeed_config.", "fsdp_config."


def engine_keys(word: str, value: Any, there: Mapping[str, Any]) -> dict[str, Any] | None:
    """Returns the keys of DeepSpeed's JSON, or of `deepspeed_config` or `fsdp_config`, whichever the run has.

    Args:
        word: `sharding` or `offload`.
        value: Its choice.
        there: Keys and values of the run's files.
    """
    spellings = {_ZERO: _json_keys, _INLINE: _inline_keys, _FSDP: _fsdp_keys}
    for section, spell in spellings.items():
        if any(key.startswith(section) for key in there):
            return spell(word, value, there)
    return None


def _json_keys(word: str, value: Any, there: Mapping[str, Any]) -> dict[str, Any] | None:
    if word == "sharding":
        return {f"{_ZERO}stage": STAGES[value]} if value in STAGES else None
    return {
        key: device
        for name, device in _devices(value).items()
        if device != "none" or f"{_ZERO}{name}.device" in there
        for key in (f"{_ZERO}{name}.device",)
    }


def _inline_keys(word: str, value: Any, there: Mapping[str, Any]) -> dict[str, Any] | None:
    if word == "sharding":
        return {f"{_INLINE}zero_stage": STAGES[value]} if value in STAGES else None
    return {f"{_INLINE}{name}_device": device for name, device in _devices(value).items()}


def _fsdp_keys(word: str, value: Any, there: Mapping[str, Any]) -> dict[str, Any] | None:
    if word == "offload":
        if value not in (Offload.CPU, Offload.NONE):
            return None
        return {_named("offload_params", there): value is Offload.CPU}
    reshards = _named("reshard_after_forward", there)
    if reshards in there and value in (Sharding.FULL_SHARD, Sharding.SHARD_GRAD_OP):
        old = there[reshards]
        full = value is Sharding.FULL_SHARD
        return {reshards: full if isinstance(old, bool) else value.value.upper()}
    return {_named("sharding_strategy", there): value.value.upper()}


def _named(key: str, there: Mapping[str, Any]) -> str:
    """Returns a key of `fsdp_config` with the prefix `fsdp_`, or without it where the file leaves it out."""
    names = (f"{_FSDP}fsdp_{key}", f"{_FSDP}{key}")
    bare = any(name.startswith(_FSDP) and not name.startswith(f"{_FSDP}fsdp_") for name in there)
    return next((name for name in names if name in there), names[bare])


def _devices(offload: Offload) -> dict[str, str]:
    states, parameters = offload in (Offload.OPTIMIZER, Offload.CPU), offload is Offload.CPU
    return {"offload_optimizer": "cpu" if states else "none", "offload_param": "cpu" if parameters else "none"}
