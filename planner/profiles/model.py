"""Represents a model that is known only by running its own code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from planner.extras import Progress
from planner.libraries import cut_cross_entropy
from planner.models.foreign import Foreign
from planner.profiles.measure import introduce
from planner.profiles.records import Introduction
from strategies import Attention, Choice, Kernels, Loss

_OF_EVERY_MODEL = (Attention.EAGER, Attention.SDPA, Loss.FULL, Kernels.EAGER)
"""Choices that transformers has for every model; where there is no SDPA, replays run eager attention."""


@dataclass(frozen=True)
class ProfiledModel:
    """Offers what `planner.models.model.Model` does, for a model outside the registry's families."""

    foreign: Foreign
    introduction: Introduction
    """What a replay found out about the model."""
    progress: Progress
    """Told what takes long."""
    damaged: set[Path]
    """Files of the cache that are not as they were written; replays add to it."""

    @classmethod
    def of(cls, foreign: Foreign, progress: Progress) -> ProfiledModel:
        """Introduces a model: reads what is known of it from disk, or builds it to find out.

        Raises:
            PlannerError: The model cannot be built.
        """
        damaged: set[Path] = set()
        return cls(foreign, introduce(foreign, progress, damaged.add), progress, damaged)

    @property
    def name(self) -> str:
        """Name by which the model is found again."""
        return self.foreign.name

    @property
    def source(self) -> Mapping[str, Any] | str:
        """Fields of the model's config.json, or `package.module:function`."""
        return self.foreign.source

    @property
    def num_parameters(self) -> int:
        """Number of elements of all parameters; tied weights count once."""
        return self.introduction.num_parameters

    @property
    def target_names(self) -> tuple[str, ...]:
        """Names of the linear layers that LoRA can adapt."""
        return self.introduction.target_names

    @property
    def max_positions(self) -> int | None:
        """Largest number of positions that the configuration allows; None if it does not say."""
        return self.introduction.max_positions

    @property
    def supports_sdpa(self) -> bool:
        """Whether SDPA can be asked for: always, because replays of a model without it run eager attention."""
        return True

    def unsupported(self, choice: Choice) -> str | None:
        """Returns why the model cannot have this choice, or None."""
        if choice in _OF_EVERY_MODEL:
            return None
        if choice in (Attention.FLASH_2, Attention.FLASH_3):
            return None if self.introduction.supports_flash else f"transformers runs {self.name} without flash-attn"
        if choice is Loss.CUT_CROSS_ENTROPY and self.introduction.model_type in cut_cross_entropy.FAMILIES:
            return None
        if choice in (Loss.CHUNKED, Loss.LIGER_FUSED_LINEAR):
            # Between two replayed micro-batches bytes are taken to lie on a line; tiles have a size of their own.
            linear = f"{self.name} is planned by replays, which take bytes to be linear in the micro-batch"
            return f"{linear}; those of {choice}, which computes tile by tile, are not"
        return f"{self.name} is planned by replays of its code, and {choice} is known for the registry's families only"

    @property
    def adapter_notes(self) -> tuple[str, ...]:
        """What a user should know about adapting the model, where kernels read a layer's weight past its adapter."""
        if not self.introduction.unadapted:
            return ()
        layers = " and ".join(self.introduction.unadapted)
        return (
            f"PEFT adapts no {layers} of {self.name}: name the others as target_modules. Over a quantized base,"
            f" transformers' own loop is planned, because kernels would read {layers} as if it were not quantized.",
        )

    @property
    def groups_heads(self) -> bool | None:
        """Whether several heads of queries share keys and values; None, because it is not known."""
        return None

    @property
    def tokens_per_sample(self) -> int | None:
        """Tokens per sample of a model whose samples are images of one size; None for other models."""
        return self.introduction.tokens_per_sample

    @property
    def is_encoder_decoder(self) -> bool:
        """Whether a sample is a source and a target, which can have a length of its own."""
        return self.introduction.is_encoder_decoder

    @property
    def usual_length(self) -> int | None:
        """Tokens beyond which positions are missing or unusual; None if no limit is known."""
        return self.introduction.max_positions

    @property
    def has_learned_positions(self) -> bool:
        """Whether there is no position beyond the last; assumed if a last one is known, as nothing else is."""
        return self.introduction.max_positions is not None

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know about how the model is planned."""
        kind = "its own code" if isinstance(self.source, str) else "transformers' code"
        notes = [*self.foreign.notes, f"{self.name} is planned by replays of {kind}: the first answer takes longer."]
        notes += [
            f"Kernels of {package} are planned, with which transformers trains it once `pip install {package}` has"
            " run; its own loop in PyTorch takes several times the time and memory."
            for package in self.introduction.packages
        ]
        if self.damaged:
            folder = next(iter(self.damaged)).parent
            notes.append(f"{len(self.damaged)} kept profiles in {folder} were damaged, and were measured again.")
        return tuple(notes)
