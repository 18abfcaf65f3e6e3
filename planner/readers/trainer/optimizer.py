"""Says the optimizer of programs that pass `optim`, `optim_args` and `optim_target_modules` to transformers' Trainer.

Source: transformers 5.24, trainer_optimizer.py.
"""

from __future__ import annotations

from typing import Any

from planner.readers.documents.keys import Keys
from planner.readers.trainer.shared import read_optimizer
from strategies import Optimizer, Update

_OWN_ARGUMENTS: dict[tuple[str, str], dict[str, Any]] = {
    ("sgd", "momentum=0.9"): {"optimizer": Optimizer.SGD_MOMENTUM},
    ("apollo_adamw", "rank=1,scale_type=tensor"): {"optimizer": Optimizer.APOLLO_MINI},
    ("apollo_adamw_layerwise", "rank=1,scale_type=tensor"): {
        "optimizer": Optimizer.APOLLO_MINI,
        "update": Update.IN_BACKWARD,
    },
}
_LOW_RANK = (Optimizer.GALORE, Optimizer.APOLLO)


def read_trainer_optimizer(keys: Keys, name: str = "optim", program: str = "Trainer") -> None:
    """Says what the optimizer means with its arguments: the rank of a projection, or momentum; others are refused.

    Args:
        keys: The keys, whose table has `optim_args` and `optim_target_modules`.
        name: Key of the optimizer's name.
        program: Whose default it is where nothing says it.
    """
    reading = keys.reading
    arguments, place = _arguments(keys), keys.place("optim_args")
    own = _OWN_ARGUMENTS.get((keys.word(name) or "", arguments))
    if own is not None:
        reading.say_all(own, keys.place(name))
        return
    read_optimizer(keys, name, program=program)
    if reading.value("optimizer") not in _LOW_RANK:
        if arguments:
            reading.refuse("arguments of the optimizer", place)
        if keys.entry("optim_target_modules"):
            reading.refuse("an optimizer of some modules alone", keys.place("optim_target_modules"))
        return
    argument, _, value = arguments.partition("=")
    if argument == "rank" and value.isdecimal():
        reading.say("optimizer_rank", int(value), place)
    elif arguments:
        reading.refuse("arguments of the optimizer", place)


def _arguments(keys: Keys) -> str:
    """Returns `optim_args` as `name=value,name=value`, which axolotl makes of a mapping as well."""
    found = keys.entry("optim_args")
    if found is not None and isinstance(found.value, dict):
        return ",".join(f"{name}={value}" for name, value in found.value.items())
    return (keys.word("optim_args") or "").replace(" ", "")
