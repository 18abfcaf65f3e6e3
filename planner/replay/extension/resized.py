"""Rewrites the trace of a large prime number of samples into that of any other number.

The size of a tensor is a product, and its number of samples one of the factors or none. So with a prime that divides
nothing else, the sizes that it divides are those that grow with the samples, in proportion to them.
"""

from __future__ import annotations

from planner.libraries.allocator import allocated
from planner.replay.recording.trace import Event, Section, Trace, Work

PRIMES = (1009, 1013, 1019)
"""Numbers of samples to replay, the first one that divides no parameter."""


def is_distinct(trace: Trace, samples: int) -> bool:
    """Returns whether the number of samples divides no parameter of the model, whose sizes do not depend on it."""
    made = (event for event in trace.events() if event.size > 0)
    return all(e.size % samples for e in made if trace.labels[e.storage].category == "parameters")


def resized(trace: Trace, samples: int, size: int) -> Trace:
    """Returns the trace of another number of samples, with the sizes that the allocator rounds them up to.

    Args:
        trace: A trace with exact sizes, in bytes.
        samples: The prime number of samples of a micro-batch that it was recorded with.
        size: Samples of a micro-batch of the trace to return.
    """

    def of(event: Event) -> Event:
        rounded = allocated(_scaled(abs(event.size), samples, size))
        return event._replace(size=rounded if event.size > 0 else -rounded)

    sections = [Section(phase, step, list(map(of, events))) for phase, step, events in trace.sections]
    work = {place: _resized(found, samples, size) for place, found in trace.work.items()}
    return trace._replace(sections=sections, work=work)


def _scaled(number: int, samples: int, size: int) -> int:
    """Returns what a number of bytes is with another number of samples."""
    return number if number % samples else number // samples * size


def _resized(work: Work, samples: int, size: int) -> Work:
    """Returns the work of another number of samples; FLOPs of what has no samples are not counted."""
    moved = (work.num_bytes - work.fixed_bytes) // samples * size
    return Work(
        half_flops=work.half_flops // samples * size,
        fp32_flops=work.fp32_flops // samples * size,
        num_bytes=moved + work.fixed_bytes,
        fixed_bytes=work.fixed_bytes,
        again_half_flops=work.again_half_flops // samples * size,
        again_fp32_flops=work.again_fp32_flops // samples * size,
        kernels=work.kernels,
    )
