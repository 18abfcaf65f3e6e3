"""What earlier libraries asked of the allocator, in the runs that others published."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from published.libraries.contexts import AT_START, BY_PRODUCTS, Contexts
from published.libraries.losses import triton
from published.libraries.sampled import sampled
from published.sets import fms

from hardware import MIB, load_catalog
from planner.memory.autograd.ops import Ops
from planner.memory.autograd.tape import Snapshot, Tape, Tensor, Variable
from planner.memory.losses.earlier import shifted_logits
from planner.memory.requests.requests import Requests
from planner.models.architecture import Objective

TOKENS, WORDS = 1000, 500


@pytest.mark.parametrize(
    ("itemsize", "loss_of", "at_end", "at_start"),
    [(2, shifted_logits, 14, 12), (4, shifted_logits, 12, 12), (2, triton, 10, 8), (4, triton, 8, 8)],
)
def test_earlier_losses_hold_so_many_bytes_per_word(
    itemsize: int, loss_of: Callable[[Ops, Tensor, Objective], Tensor], at_end: int, at_start: int
) -> None:
    f = Ops(Tape(), autocast=None, sequence_length=TOKENS)
    elements = TOKENS * WORDS
    logits = Tensor(f.tape.storage(0, elements * itemsize), 0, elements, WORDS, itemsize, Variable())
    loss = loss_of(f, logits, "next_token")
    forward = max(instant.per_sample for instant in map(Snapshot._make, f.tape.meter.mark()))
    variable = loss.variable
    assert variable is not None
    del loss, logits
    f.tape.backward(variable, f.tape.storage(0, 4))
    backward = max(instant.per_sample for instant in map(Snapshot._make, f.tape.meter.mark()))
    # without the last token's logits, and with labels: a part in a thousand
    assert (forward / elements, backward / elements) == pytest.approx((at_end, at_start), rel=0.01)


def test_the_backward_of_a_shifted_loss_fills_zeros_for_each_of_two_slices() -> None:
    f = Ops(Tape(logs=True), autocast=None, sequence_length=TOKENS)
    elements = TOKENS * WORDS
    logits = Tensor(f.tape.storage(0, elements * 4), 0, elements, WORDS, 4, Variable())
    variable = triton(f, logits, "next_token").variable
    log = f.tape.meter.log
    assert variable is not None
    assert log is not None
    before = len(log)
    f.tape.backward(variable, f.tape.storage(0, 4))
    made = [per_sample for number, _, per_sample in log[before:] if number > 0 and per_sample > WORDS * 4]
    assert made == [(elements - WORDS) * 4, elements * 4]


def test_a_full_gpu_is_read_after_its_cache_was_given_back() -> None:
    requests = Requests()
    for size in (30, 40, 20):  # MiB; the last one does not fit beside the cached 40
        requests.release(requests.allocate(size * MIB))
    requests.allocate(50 * MIB)
    assert sampled(requests, 100 * MIB) == 50 * MIB
    assert sampled(requests, 120 * MIB) == 120 * MIB
    assert sampled(requests, 40 * MIB) is None


def test_all_kernels_are_in_each_context_and_those_of_products_where_any_is_computed() -> None:
    at_start, by_products = sum(AT_START.values()), sum(BY_PRODUCTS.values())
    assert (Contexts().kernels_bytes, Contexts().of_others(500)) == (0, 0)
    assert (Contexts(others=3).kernels_bytes, Contexts(others=3).of_others(500)) == (0, 3 * 500)
    eager = Contexts(others=1, eager=True)
    assert (eager.kernels_bytes, eager.of_others(500)) == (at_start + by_products, 500 + at_start)


def test_a_machine_of_its_own_is_asked_with_the_context_that_its_gpus_had() -> None:
    runs = {run.name: run for run in fms.runs()}
    eager = next(run for run in runs.values() if run.contexts.eager)
    later = next(run for run in runs.values() if not run.contexts.eager)
    assert later.gpu == load_catalog().get(later.request["gpu"])
    assert eager.gpu.context_bytes - later.gpu.context_bytes == eager.contexts.kernels_bytes
