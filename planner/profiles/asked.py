"""Names profiles: what each is of, and what it is kept under."""

from __future__ import annotations

from typing import NamedTuple

from planner.models.foreign import Foreign
from strategies import PLAIN, Strategy

Key = tuple[object, ...]
"""Everything that a record depends on."""


def setting_of(strategy: Strategy) -> Strategy:
    """Returns the strategy whose profile serves this one: the same with a plain optimizer and allocator.

    The bytes of optimizer states and the allocator's reserve are added to those of the profile.
    """
    return strategy._replace(optimizer=PLAIN.optimizer, allocator=PLAIN.allocator)


class Asked(NamedTuple):
    """Names a profile.

    Attributes:
        foreign: The model.
        strategy: The strategy; its optimizer and allocator are ignored.
        sequence_length: Tokens per sample.
        world_size: Number of ranks.
        has_flash: Whether the GPU has SDPA's flash kernel.
        evaluates: Whether an evaluation follows the step.
        target_length: Tokens of the decoder's sequence; None for as many as the source has.
    """

    foreign: Foreign
    strategy: Strategy
    sequence_length: int
    world_size: int
    has_flash: bool = True
    evaluates: bool = False
    target_length: int | None = None

    @property
    def ranks(self) -> int:
        """Returns the number of ranks that the replay is of: one of many that hold the same, or all of them."""
        return self.world_size if self.strategy.sharding.shards else 1

    @property
    def key(self) -> Key:
        """Returns what it is kept under."""
        setting = setting_of(self.strategy)
        key: Key = "profile", self.foreign.digest(), setting, self.sequence_length, self.ranks, self.has_flash
        key = (*key, "evaluates") if self.evaluates else key
        return key if self.target_length in (None, self.sequence_length) else (*key, "target", self.target_length)

    def __str__(self) -> str:
        """Spells the setting for the user who waits for its replay."""
        said = self.strategy.to_options()
        parts = (said["finetuning"], said["precision"], f"checkpointing {said['checkpointing']}", said["sharding"])
        return ", ".join(map(str, parts))
