"""What earlier libraries asked of the allocator, in the runs that others published."""

from __future__ import annotations

import pytest
from published import wrapping
from published.losses import shifting
from published.wrapping import Recorded, Wraps

from planner.memory.autograd.ops import Ops
from planner.memory.autograd.tape import Snapshot, Tape, Tensor, Variable
from planner.memory.requests.requests import Requests
from planner.memory.sharding.account import Unit

TOKENS, WORDS = 1000, 500


@pytest.mark.parametrize(
    ("itemsize", "triton", "at_end", "at_start"),
    [(2, False, 14, 12), (4, False, 12, 12), (2, True, 10, 8), (4, True, 8, 8)],
)
def test_a_traced_loss_holds_the_bytes_per_word_that_its_term_says(
    itemsize: int, triton: bool, at_end: int, at_start: int
) -> None:
    f = Ops(Tape(), autocast=None, sequence_length=TOKENS)
    elements = TOKENS * WORDS
    logits = Tensor(f.tape.storage(0, elements * itemsize), 0, elements, WORDS, itemsize, Variable())
    loss = shifting(f, logits, "next_token", triton=triton)
    forward = max(instant.per_sample for instant in map(Snapshot._make, f.tape.meter.mark()))
    variable = loss.variable
    assert variable is not None
    del loss, logits
    f.tape.backward(variable, f.tape.storage(0, 4))
    backward = max(instant.per_sample for instant in map(Snapshot._make, f.tape.meter.mark()))
    # without the last token's logits, and with labels: a part in a thousand
    assert (forward / elements, backward / elements) == pytest.approx((at_end, at_start), rel=0.01)


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
