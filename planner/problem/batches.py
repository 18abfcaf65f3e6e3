"""Checks which models take samples of different lengths, padded or packed, and writes the notes on them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from planner.models import Model
from planner.models.decoder import Decoder
from planner.records.asked.request import Workload
from strategies import Allocator, Attention, Batching, ContradictionError, Strategy

USUAL = "--batching full"
"""Way out of an error about batching, as the command line spells it."""


def check_batching(request: Workload, model: object) -> None:
    """Checks that the model and the mean length go with the batching.

    Args:
        request: The request.
        model: The model, a `Model` if the registry has its family.

    Raises:
        ContradictionError: A mean length is given for full sequences or is longer than they are, or the planner does
            not know how the model treats padded or packed samples.
    """
    batching, mean = request.batching, request.mean_length
    if batching is Batching.FULL:
        if mean is not None:
            raise ContradictionError(
                f"mean_length={mean} is given, but every sequence is full", "add --batching padded, or packed"
            )
        return
    if mean is not None and mean > request.sequence_length:
        raise ContradictionError(
            f"mean_length={mean} is longer than sequences of {request.sequence_length} tokens",
            f"--sequence-length {mean} or more: no sample is longer than that",
        )
    if not isinstance(model, Model):
        raise ContradictionError(
            f"batching={batching}, but of {request.model} only steps with full sequences are known", USUAL
        )
    architecture = model.architecture
    if not isinstance(architecture, Decoder) or architecture.masking != "causal":
        raise ContradictionError(
            f"batching={batching}, but the masks of {model.name} are its own, and known for full sequences alone", USUAL
        )
    if batching is Batching.PACKED and not architecture.packs:
        raise ContradictionError(
            f"{model.name} does not keep packed samples apart: transformers makes its mask without their positions",
            f"--batching padded, or {USUAL}",
        )


def notes_on_batching(request: Workload, strategies: Sequence[Strategy]) -> Iterator[str]:
    """Yields notes on what padded or packed samples mean for kernels and for tokens per second."""
    batching, length, mean = request.batching, request.sequence_length, request.mean_length
    if batching is Batching.FULL:
        return
    if any(s.attention is Attention.SDPA for s in strategies):
        yield (
            f"{batching} samples bring a mask, which flash attention does not take: sdpa runs the memory-efficient "
            f"kernel, and every layer makes {length} x {length} biases for each sequence."
        )
    if batching is Batching.PADDED and mean is None:
        yield "tokens/s counts padding too: --mean-length N says how many tokens of a sample are real."
    if batching is Batching.PADDED and mean is not None:
        yield f"{mean / length:.0%} of the tokens are real, {mean} of {length}; tokens/s counts no others."
    if batching is Batching.PADDED and any(s.allocator is Allocator.NATIVE for s in strategies):
        yield (
            "batches padded to their longest sample differ in length, and native segments of one length fit another "
            "badly: reserved_bytes is of full sequences, and no promise. Drawn lengths needed up to 17% more than is "
            "allocated, and reserved up to 2.8 times as much where there was room (ms-swift 1.5 measured 1.07 to "
            "1.82 times), unless the longest batch came first, as group_by_length makes it. --allocator expandable "
            "needs no more than the longest."
        )
    if batching is Batching.PACKED and mean is not None:
        samples = 100 * length // mean
        yield f"samples have {mean} tokens on average: an effective batch of 100 sequences holds {samples} of them."
