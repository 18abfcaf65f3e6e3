"""Defines a run that others measured: the request that asks the planner the same, and what else its libraries did."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from enum import StrEnum
from typing import Any, NamedTuple

from published.libraries.contexts import Contexts

from hardware import GPU, load_catalog
from planner.memory import Moment
from planner.memory.requests.fsdp1_recorded import Wraps
from planner.models import Model, find_model


class Engine(StrEnum):
    ONE_GPU = "one GPU"
    FSDP1 = "FSDP1"


class Term(NamedTuple):
    """Bytes that a run's libraries held at moments of a step and those that the planner describes do not.

    Such a difference is no choice: no option of the planner says it, since today's libraries do not do it.

    Attributes:
        reason: What held them, with the version and file that say so.
        per_token: Bytes for each token of a micro-batch, by moment; negative where less was held.
        fixed: Bytes that do not depend on the tokens, by moment.
    """

    reason: str
    per_token: Mapping[Moment, int]
    fixed: Mapping[Moment, int]

    def bytes_of(self, tokens: int) -> dict[Moment, int]:
        """Returns the bytes of a micro-batch of so many tokens, by moment."""
        moments = {**self.per_token, **self.fixed}
        return {m: self.per_token.get(m, 0) * tokens + self.fixed.get(m, 0) for m in moments}


class Run(NamedTuple):
    """A measured run.

    Attributes:
        source: The set of measurements.
        name: Its name within the set.
        model: Name of the model, as the planner knows it.
        engine: What distributes the run.
        method: How it trains, with the quantization.
        kernels: What computes norms, rotary embeddings and the loss.
        tokens: Tokens of a micro-batch on one GPU.
        request: Arguments of `planner.estimate`.
        nearest: What the request says by the nearest choice, because the planner has no word for it.
        unsaid: Why the planner cannot be asked at all, or None.
        ran: Whether it ran; otherwise it was out of memory.
        allocated_bytes: Peak of torch's allocated bytes, or None.
        device_bytes: Peak of the bytes that the driver says are used, or None.
        driver_bytes: Bytes of `device_bytes` that are the driver's own.
        then: What the run's libraries held that today's do not.
        foak: Whether kernels of fms-acceleration's plug-in compute norms and rotary embeddings.
        loss: The version of transformers whose loss on all logits it computes, if that is known.
        triton: Whether the Triton cross-entropy is part of that loss.
        wraps: How FSDP1 wrapped its units, where the request does not say all of it.
        hybrid: Whether FSDP1 had groups of replicas, of one rank each.
        of_all: Whether `device_bytes` are the mean of the GPUs; otherwise they are the largest.
        managed: Whether optimizer states are in managed memory, which is on the GPU while there is room.
        left: What is known of the driver's bytes that neither the planner nor the terms say; None where nothing is.
        contexts: The CUDA contexts that each GPU holds.
        added_words: Words that the run's script adds to the model's vocabulary before it trains.
    """

    source: str
    name: str
    model: str
    engine: Engine
    method: str
    kernels: str
    tokens: int
    request: Mapping[str, Any]
    nearest: tuple[str, ...] = ()
    unsaid: str | None = None
    ran: bool = True
    allocated_bytes: int | None = None
    device_bytes: int | None = None
    driver_bytes: int = 0
    then: tuple[Term, ...] = ()
    foak: bool = False
    loss: str | None = None
    triton: bool = False
    wraps: Wraps | None = None
    hybrid: bool = False
    of_all: bool = False
    managed: bool = False
    left: str | None = None
    contexts: Contexts = Contexts()
    added_words: int = 0

    @property
    def gpu(self) -> GPU:
        """Returns the GPU with the bytes of a context that it had, as a catalog of one's own says them."""
        gpu = load_catalog().get(self.request["gpu"])
        return gpu.model_copy(update={"context_bytes": gpu.context_bytes + self.contexts.kernels_bytes})

    @property
    def shape(self) -> Model:
        """Returns the model as it was trained, with the words that were added."""
        model = find_model(self.model)
        if not self.added_words:
            return model
        words = model.architecture.vocab_size + self.added_words
        return replace(model, architecture=model.architecture.model_copy(update={"vocab_size": words}))
