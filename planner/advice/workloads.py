"""Lists the changes of a workload that save memory: batches, lengths, loops, and the host's memory."""

from __future__ import annotations

from collections.abc import Iterator

from planner.advice.changes import Change
from planner.advice.variants import Variants
from planner.records.advice import Cost
from strategies import Loading, Outputs

SHORTEST_SUGGESTED_SEQUENCE = 256
"""Tokens of the shortest sequence that is suggested."""
MOST_PARTS = 4
"""A sequence is shortened to one part in this many, at least, where other things change as well."""


def workload_changes(variants: Variants) -> Iterator[Change]:
    """Yields changes of the workload that cost no tokens."""
    request = variants.problem.request
    size, steps = min(request.micro_batch_size, default=1), request.gradient_accumulation_steps
    total = size * (steps or 1)
    while size > 1:
        if steps is None:
            size = -(-size // 2)
            yield Change({"micro_batch_size": size}, f"micro-batches of {size}")
            continue
        size = next(half for half in range(size // 2, 0, -1) if total % half == 0)
        options = {"micro_batch_size": size, "gradient_accumulation_steps": total // size}
        yield Change(options, f"micro-batches of {size}, {total // size} of which make the same batch")
    evaluated = request.evaluation_batch_size or 1
    while evaluated > 1:
        evaluated = -(-evaluated // 2)
        yield Change({"evaluation_batch_size": evaluated}, f"{evaluated} samples evaluated at once")
    if request.outputs is not Outputs.RELEASED:
        yield Change({"outputs": Outputs.RELEASED}, "the model's outputs released by the loop")
    if request.loading is Loading.EVERY_RANK and variants.problem.cluster.gpus_per_node > 1:
        yield Change({"loading": Loading.RANK_0}, "one rank of a node that loads the model for all")


def shorter(variants: Variants) -> Iterator[Change]:
    """Yields shorter sequences, each half of the one before; none shorter than the mean of the samples."""
    request = variants.problem.request
    if variants.problem.model.tokens_per_sample is not None:
        return
    length = request.sequence_length // 2
    while length >= max(SHORTEST_SUGGESTED_SEQUENCE, request.mean_length or 0):
        yield of_length(length, request.sequence_length)
        length //= 2


def of_length(length: int, before: int) -> Change:
    """Returns the change to sequences of a length in tokens."""
    words, but = f"sequences of {length:,} tokens", f"{length / before:.0%} of each sequence"
    return Change({"sequence_length": length}, words, Cost.TOKENS, but=but, alone=length < before // MOST_PARTS)


def host_memory(needed_bytes: int) -> Change:
    """Returns the change to nodes with as much host memory, in whole gigabytes."""
    size = -(-needed_bytes // 10**9)
    return Change({"host_memory_bytes": size * 10**9}, f"nodes with {size:,} GB of host memory", Cost.MONEY)
