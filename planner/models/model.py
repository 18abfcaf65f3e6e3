"""Describes a model to plan for, which a family of the registry describes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from planner.models.architecture import Architecture
from planner.models.reading.inventory import Inventory
from planner.models.support import unsupported
from strategies import Choice


@dataclass(frozen=True)
class Model:
    """Describes a model to plan for."""

    name: str
    """The name that finds it again."""
    architecture: Architecture
    hf: str | None = None
    """Its id on the Hugging Face Hub, or None."""
    aliases: tuple[str, ...] = ()
    """Other names that find it."""
    approximate: bool = False
    """Whether the architecture is a stand-in, because only a size was asked for."""
    notes: tuple[str, ...] = ()
    """Notes for users on how the model was read."""

    @cached_property
    def inventory(self) -> Inventory:
        """Returns all its parameters."""
        return Inventory(self.architecture)

    @property
    def source(self) -> dict[str, Any]:
        """Returns the fields of its config.json."""
        return self.architecture.config()

    @property
    def target_names(self) -> tuple[str, ...]:
        """Returns the names of linear layers that LoRA can adapt."""
        return self.inventory.target_names

    @property
    def max_positions(self) -> int | None:
        """Returns the longest sequence, in tokens, that it was trained with, or None where there is no limit."""
        return self.architecture.num_positions

    @property
    def supports_sdpa(self) -> bool:
        """Returns whether transformers runs it with SDPA."""
        return self.architecture.supports_sdpa

    @property
    def groups_heads(self) -> bool | None:
        """Returns whether several query heads share keys and values; None if that is not known."""
        return self.inventory.heads.grouped

    def unsupported(self, choice: Choice) -> str | None:
        """Returns why no library has that kernel for the model, or None if one has."""
        return unsupported(self.name, self.inventory, choice)

    @property
    def adapter_notes(self) -> tuple[str, ...]:
        """Returns notes for users on training it with LoRA."""
        return self.architecture.adapter_notes

    @property
    def tokens_per_sample(self) -> int | None:
        """Returns the tokens of a sample where all samples have one length, or None."""
        return self.architecture.tokens_per_sample

    @property
    def is_encoder_decoder(self) -> bool:
        """Returns whether a sample is a source and a target, which can have a length of its own."""
        return self.architecture.is_encoder_decoder

    @property
    def usual_length(self) -> int | None:
        """Returns the length of sequences, in tokens, beyond which positions are missing or unusual, or None."""
        return None if self.architecture.positions in ("rotary", "alibi") else self.max_positions

    @property
    def has_learned_positions(self) -> bool:
        """Returns whether there is no position beyond the last one."""
        return self.architecture.positions == "learned"

    @property
    def num_parameters(self) -> int:
        """Returns the exact number of parameters, with tied weights counted once."""
        return self.inventory.num_parameters
