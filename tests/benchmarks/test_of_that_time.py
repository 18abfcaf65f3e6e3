"""What earlier libraries asked of the allocator, in the runs that others published."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from published.libraries import wrapping
from published.libraries.contexts import AT_START, BY_PRODUCTS, Contexts
from published.libraries.losses import triton
from published.libraries.sampled import sampled
from published.libraries.wrapping import Recorded, Wraps

from hardware import MIB
from planner.memory.autograd.ops import Ops
from planner.memory.autograd.tape import Snapshot, Tape, Tensor, Variable
from planner.memory.losses.earlier import shifted_logits
from planner.memory.requests.requests import Requests
from planner.memory.sharding.account import Unit
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
    assert Contexts().more_bytes(500) == 0
    assert Contexts(others=3).more_bytes(500) == 3 * 500
    assert Contexts(eager=True).more_bytes(500) == at_start + by_products
    assert Contexts(others=1, eager=True).more_bytes(500) == 500 + 2 * at_start + by_products


UNIT = Unit(0, (), 4096, 0, 0, shares=(2048,), joined=(1024, 1024, 2048))
GROUPS = [(UNIT,)] * 4


def most_at_once(wraps: Wraps, *, ahead: bool) -> int:
    """Largest bytes that exist while four units are wrapped, each of 4,096 bytes of which a rank keeps half."""
    requests = Requests()
    Recorded(requests, GROUPS, 2, on_host=False, wraps=wraps, ahead=ahead).wrap()
    live = most = 0
    for _, num_bytes in requests.made:
        live += num_bytes
        most = max(most, live)
    return most


def test_a_rank_that_copies_from_the_host_uses_a_bucket_s_block_again() -> None:
    # the last unit's parameters, bucket and flat parameter, and all shares
    assert most_at_once(Wraps(), ahead=False) == 3 * 4096 + 4 * 2048


def test_a_rank_that_runs_ahead_uses_no_bucket_s_block_again() -> None:
    assert most_at_once(Wraps(), ahead=True) == 3 * 4096 + 4 * 2048 + 3 * 4096


def test_a_unit_is_sent_to_replicas_by_other_buckets() -> None:
    assert most_at_once(Wraps(broadcasts=2), ahead=False) == 4 * 4096 + 4 * 2048


def test_a_rank_runs_ahead_by_no_more_launches_than_wait_on_a_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wrapping, "LAUNCHES", 6)  # a unit's: its bucket, three copies, its join and its share
    assert most_at_once(Wraps(), ahead=True) == 3 * 4096 + 4 * 2048 + 4096


def test_a_parameter_that_is_sent_alone_launches_no_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wrapping, "LAUNCHES", 6)  # the joins and the shares of three adapters
    adapter = Unit(0, (), 4096, 0, 0, shares=(2048,), joined=(4096,))
    requests = Requests()
    Recorded(requests, [(adapter,)] * 4, 2, on_host=False, wraps=Wraps(buffers=1), ahead=True).wrap()
    released = [-num_bytes for _, num_bytes in requests.made if num_bytes < 0]
    assert released.count(4096) == 4 + 2  # flat parameters, and what was sent of the first two
