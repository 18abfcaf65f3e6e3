"""A model that was introduced by its own code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from planner.extras import Progress
from planner.models.foreign import Foreign
from planner.profiles.measure import introduce
from planner.profiles.records import Introduction
from strategies import Attention, Choice, Kernels, Loss


@dataclass(frozen=True)
class ProfiledModel:
    """To questions what a model of the registry is to them."""

    foreign: Foreign
    introduction: Introduction
    progress: Progress
    damaged: set[Path]
    """Files of the cache that were not as they had been written."""

    @classmethod
    def of(cls, foreign: Foreign, progress: Progress) -> ProfiledModel:
        damaged: set[Path] = set()
        return cls(foreign, introduce(foreign, progress, damaged.add), progress, damaged)

    @property
    def name(self) -> str:
        return self.foreign.name

    @property
    def source(self) -> Mapping[str, Any] | str:
        return self.foreign.source

    @property
    def num_parameters(self) -> int:
        return self.introduction.num_parameters

    @property
    def target_names(self) -> tuple[str, ...]:
        return self.introduction.target_names

    @property
    def max_positions(self) -> int | None:
        return self.introduction.max_positions

    @property
    def supports_sdpa(self) -> bool:
        """Where a model does not, its replays run eager attention."""
        return True

    def unsupported(self, choice: Choice) -> str | None:
        """Its replays run what every model of transformers can be given."""
        if choice in (Attention.EAGER, Attention.SDPA, Loss.FULL, Kernels.EAGER):
            return None
        return f"{self.name} is planned by replays of its code, and {choice} is known for the registry's families only"

    @property
    def adapter_notes(self) -> tuple[str, ...]:
        return ()

    @property
    def groups_heads(self) -> bool | None:
        return None

    @property
    def tokens_per_sample(self) -> int | None:
        return self.introduction.tokens_per_sample

    @property
    def usual_length(self) -> int | None:
        return self.introduction.max_positions

    @property
    def has_learned_positions(self) -> bool:
        """Taken so: of a position beyond the last nothing is known."""
        return self.introduction.max_positions is not None

    @property
    def notes(self) -> tuple[str, ...]:
        kind = "its own code" if isinstance(self.source, str) else "transformers' code"
        notes = [*self.foreign.notes, f"{self.name} is planned by replays of {kind}: the first answer takes minutes."]
        if self.damaged:
            folder = next(iter(self.damaged)).parent
            notes.append(f"{len(self.damaged)} kept profiles in {folder} were damaged, and were measured again.")
        return tuple(notes)
