"""Replays a model to find out what it is, and what memory and work a setting of it takes."""

from __future__ import annotations

from hardware import PlannerError
from planner.extras import Progress, needed_for
from planner.models.foreign import Foreign
from planner.profiles import store
from planner.profiles.asked import Asked, setting_of
from planner.profiles.records import Introduction, Profile, Refusal
from planner.profiles.store import Damaged
from strategies import PLAIN

FEATURE = "a model that replays plan"
"""What needs the `verify` extra, as an error about a missing package calls it."""


def introduce(foreign: Foreign, progress: Progress, damaged: Damaged) -> Introduction:
    """Finds out what a model is, or reads what was found out before.

    Args:
        foreign: The model.
        progress: Told what takes long.
        damaged: Called with the file of a kept record that is not as it was written; the record is made again.

    Raises:
        PlannerError: The model cannot be built.
    """
    key = ("introduction", foreign.digest())
    if (known := store.read(Introduction, *key, damaged=damaged)) is not None:
        return known
    progress(f"building {foreign.name}")
    with needed_for(FEATURE, "verify"):
        from planner.replay.inspect import facts_of
        from planner.replay.structure.model_code import failure
    try:
        introduction = Introduction(**facts_of(foreign.source, PLAIN)._asdict())
    except PlannerError:
        raise
    except Exception as error:  # anything that transformers objects to in a configuration
        raise failure(foreign.name, error) from error
    store.keep(introduction, *key)
    return introduction


def kept(asked: Asked, damaged: Damaged) -> Profile | Refusal | None:
    """Returns the profile that is kept on disk, or the kept refusal; None if there is neither."""
    key = asked.key
    return store.read(Profile, *key, damaged=damaged) or store.read(Refusal, *key, damaged=damaged)


def profile(asked: Asked, progress: Progress, damaged: Damaged) -> Profile | Refusal:
    """Returns the profile of a strategy's setting, read from disk or replayed now.

    Args:
        asked: What the profile is of.
        progress: Told what takes long.
        damaged: Called with the file of a kept record that is not as it was written; the record is made again.

    Returns:
        The profile; or a refusal that says why the model cannot be trained under this setting.

    Raises:
        PlannerError: The model's own code fails (`ModelCodeError`), or the `verify` extra is not installed.
    """
    if known := kept(asked, damaged):
        return known
    progress(f"{asked.foreign.name}, {asked}")
    return measured(asked)


def measured(asked: Asked) -> Profile | Refusal:
    """Replays a setting, and keeps what is found on disk.

    Raises:
        PlannerError: The model's own code fails (`ModelCodeError`), or the `verify` extra is not installed.
    """
    with needed_for(FEATURE, "verify"):
        from planner.profiles.replayed import replayed
        from planner.replay.structure.model_code import ModelCodeError
    setting = setting_of(asked.strategy)
    found: Profile | Refusal
    try:
        found = replayed(asked)
    except ModelCodeError:
        raise
    except PlannerError as error:
        found = Refusal(reason=str(error))
    except Exception as error:  # anything that transformers, PEFT or the model itself objects to
        found = Refusal(reason=f"{setting.finetuning.method} fails with {' '.join(str(error).split())[:160]}")
    store.keep(found, *asked.key)
    return found
