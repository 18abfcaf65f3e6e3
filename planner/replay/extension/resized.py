"""Rewrites sizes of a replay with a large prime number of samples into those of any other number.

The size of a tensor is a product, and its number of samples one of the factors or none. So with a prime that divides
nothing else, the sizes that it divides are those that grow with the samples, in proportion to them.
"""

from __future__ import annotations

import numpy as np

from planner.libraries.allocator import BLOCK_BYTES
from planner.replay.extension.later import Ints
from planner.replay.recording.trace import Trace, Work

PRIMES = (1009, 1013, 1019)
"""Numbers of samples to replay, the first one that divides no parameter."""


def is_distinct(trace: Trace, samples: int) -> bool:
    """Returns whether the number of samples divides no parameter of the model, whose sizes do not depend on it."""
    made = (event for event in trace.events() if event.size > 0)
    return all(e.size % samples for e in made if trace.labels[e.storage].category == "parameters")


def resized(sizes: Ints, samples: int, size: int) -> Ints:
    """Returns the sizes of another number of samples, as the allocator rounds them up.

    Args:
        sizes: Exact signed bytes.
        samples: The prime number of samples of a micro-batch that they were recorded with.
        size: Samples of a micro-batch of the sizes to return.
    """
    scaled = np.where(sizes % samples, sizes, sizes // samples * size)
    rounded: Ints = np.sign(scaled) * (-(-np.abs(scaled) // BLOCK_BYTES) * BLOCK_BYTES)
    return rounded


def work_of(work: Work, samples: int, size: int) -> Work:
    """Returns the work of another number of samples; FLOPs of what has no samples are not counted.

    Args:
        work: The work of a replay.
        samples: The prime number of samples of its micro-batch.
        size: Samples of a micro-batch of the work to return.
    """
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
