"""Which parameters of each part of a model train under a fine-tuning method."""

from __future__ import annotations

from typing import NamedTuple

from strategies import BitFit, Freeze, Full, Lora, Method, TrainedModules


class Trainable(NamedTuple):
    """Which of a part's own parameters train; adapters do wherever they are."""

    weights: bool = False
    """All."""
    biases: bool = False
    embedding: bool = False
    """The table of input embeddings: itself, or with a LoRA a copy."""
    head: bool = False
    """The language-model head, likewise."""


def trained_at_ends(method: Method, *, tied: bool) -> Trainable:
    """Of stem and head. What is tied trains as one, but PEFT trains a copy for each."""
    if isinstance(method, Full):
        return Trainable(weights=True, embedding=True, head=True)
    modules = getattr(method, "trained_modules", TrainedModules.NONE)
    embedding, head = modules.embeddings, modules.head
    if tied and not isinstance(method, Lora):
        embedding = head = embedding or head
    return Trainable(biases=isinstance(method, BitFit), embedding=embedding, head=head)


def trained_in_blocks(method: Method, num_blocks: int) -> tuple[Trainable, ...]:
    """Of each block."""
    first = num_blocks - method.trained_blocks if isinstance(method, Freeze) else 0
    own = Trainable(weights=isinstance(method, Full | Freeze), biases=isinstance(method, BitFit))
    return tuple(own if i >= first else Trainable() for i in range(num_blocks))


def copies_modules(method: Method) -> bool:
    """Whether PEFT trains copies of embedding or head, which are tied to nothing."""
    return isinstance(method, Lora) and method.trained_modules is not TrainedModules.NONE
