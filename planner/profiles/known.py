"""Finds the profiles of one model: foreseen, kept on disk, or replayed when they are asked for."""

from __future__ import annotations

from collections.abc import Iterable

from planner.memory.memoized import memoized
from planner.profiles.ahead import in_processes
from planner.profiles.asked import Asked, Key, setting_of
from planner.profiles.measure import kept, profile
from planner.profiles.model import ProfiledModel
from planner.profiles.records import Profile, Refusal
from strategies import PLAIN, Strategy


class Profiles:
    """Finds the profile of each setting of a model, on ranks of one kind.

    Args:
        model: The model.
        sequence_length: Tokens per sample.
        world_size: Number of ranks.
        has_flash: Whether the GPU has SDPA's flash kernel.
        replays: Whether what is not kept on disk is replayed; if not, it is refused.
        evaluates: Whether an evaluation follows the step.
        target_length: Tokens of the decoder's sequence; None for as many as the source has.
    """

    def __init__(
        self,
        model: ProfiledModel,
        sequence_length: int,
        world_size: int,
        *,
        has_flash: bool,
        replays: bool,
        evaluates: bool,
        target_length: int | None,
    ) -> None:
        self._model, self._replays = model, replays
        self._plain = Asked(model.foreign, PLAIN, sequence_length, world_size, has_flash, evaluates, target_length)
        self._foreseen: dict[Key, Profile | Refusal] = {}

    def of(self, strategy: Strategy) -> Profile | Refusal:
        """Returns the profile of a strategy's setting, or the refusal of a model that it cannot train."""
        return self._of(setting_of(strategy))

    def foresee(self, strategies: Iterable[Strategy]) -> None:
        """Replays in several processes what will be asked about these strategies, where nothing is kept."""
        if not self._replays:
            return
        settings = dict.fromkeys(map(setting_of, strategies))
        unknown = [asked for asked in map(self._asked, settings) if kept(asked, self._model.damaged.add) is None]
        self._foreseen.update(in_processes(unknown, self._model.progress))

    @memoized
    def _of(self, setting: Strategy) -> Profile | Refusal:
        asked = self._asked(setting)
        if (found := self._foreseen.get(asked.key)) is not None:
            return found
        if not self._replays:
            return kept(asked, self._model.damaged.add) or Refusal(reason="no replay of it is kept")
        return profile(asked, self._model.progress, self._model.damaged.add)

    def _asked(self, setting: Strategy) -> Asked:
        return self._plain._replace(strategy=setting)
