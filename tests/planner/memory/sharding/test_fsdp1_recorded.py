"""What FSDP1's wrapping reserves with torch before 2.8, where blocks that were broadcast wait for the GPU."""

from __future__ import annotations

from typing import Any

import pytest

import planner
from hardware import GIB
from planner import PlannerError
from planner.memory.requests import fsdp1_recorded
from planner.memory.requests.fsdp1_recorded import Recorded, Wraps
from planner.memory.requests.requests import Requests
from planner.memory.reserved import processes_of, reserved, reserved_by
from planner.memory.sharding.account import Unit
from planner.problem.resolve import resolve_one
from strategies import Allocator, Fsdp1, Loading, Quantization, Sharding, Wrapping

UNIT = Unit(0, (), 4096, 0, 0, shares=(2048,), joined=(1024, 1024, 2048))
GROUPS = [(UNIT,)] * 4


def most_at_once(wraps: Wraps, *, ahead: bool, on_host: bool = False) -> int:
    """Largest bytes that exist while four units are wrapped, each of 4,096 bytes of which a rank keeps half."""
    requests = Requests()
    Recorded(requests, GROUPS, 2, on_host=on_host, wraps=wraps, ahead=ahead).wrap()
    live, sizes, most = 0, dict[int, int](), 0
    for storage, num_bytes in requests.made:
        if num_bytes > 0:
            sizes[storage] = num_bytes
            live += num_bytes
        elif not num_bytes or storage not in requests.streams:  # one that was sent ends when the GPU has passed it
            live -= sizes[storage]
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
    monkeypatch.setattr(fsdp1_recorded, "LAUNCHES", 6)  # a unit's: its bucket, three copies, its join and its share
    assert most_at_once(Wraps(), ahead=True) == 3 * 4096 + 4 * 2048 + 4096


def test_a_parameter_that_is_sent_alone_launches_no_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fsdp1_recorded, "LAUNCHES", 6)  # the joins and the shares of three adapters
    adapter = Unit(0, (), 4096, 0, 0, shares=(2048,), joined=(4096,))
    requests = Requests()
    Recorded(requests, [(adapter,)] * 4, 2, on_host=False, wraps=Wraps(buffers=1), ahead=True).wrap()
    assert sum(not num_bytes for _, num_bytes in requests.made) == 2  # the GPU has passed the first two


def test_a_copy_of_a_shard_to_the_host_waits_for_the_gpu() -> None:
    # no share stays: that of the unit is there beside its flat parameter, its parameters and its bucket
    assert most_at_once(Wraps(), ahead=True, on_host=True) == 3 * 4096 + 2048


def test_choices_say_how_units_are_wrapped() -> None:
    sharding, nf4, gptq = Fsdp1(wrapping=Wrapping.TORCH_2_7), Quantization.NF4, Quantization.GPTQ_TRITON
    assert Wraps.of(sharding, Quantization.NONE, Loading.RANK_0, 4) == Wraps()
    assert Wraps.of(sharding, nf4, Loading.RANK_0, 4) == Wraps.of(sharding, nf4, Loading.AUTO, 4) == Wraps(ahead=True)
    assert Wraps.of(sharding, nf4, Loading.EVERY_RANK, 4) == Wraps()
    assert Wraps.of(sharding, gptq, Loading.RANK_0, 4) == Wraps(ahead=True, buffers=1)
    groups = sharding._replace(choice=Sharding.HYBRID_SHARD, shard_size=2)
    assert Wraps.of(groups, Quantization.NONE, Loading.RANK_0, 4) == Wraps(broadcasts=2)


SHARDED: dict[str, Any] = {
    "gpu": "A100-80GB",
    "gpus": 4,
    "precision": "bf16-true",
    "sharding": "full_shard",
    "sharding_backend": "fsdp1",
    "checkpointing": "full",
    "micro_batch_size": 1,
    "allocator": "native",
    "sequence_length": 512,
}
QLORA = {"finetuning": "qlora", "unquantized_dtype": "bf16", "precision": "bf16-mixed"}
TODAY, EARLIER = {"wrapping": "today"}, {"wrapping": "torch-2.7"}


def roomy(**choices: Any) -> int:
    """Bytes that the allocator reserves of Llama-2-7B with room to spare."""
    found = planner.estimate("llama-2-7b", **{**SHARDED, **choices}).memory.unlimited_reserved_bytes
    assert found is not None
    return found


def test_today_is_what_nobody_says() -> None:
    assert planner.estimate("llama-2-7b", **SHARDED).memory == planner.estimate("llama-2-7b", **SHARDED, **TODAY).memory


@pytest.mark.parametrize("allocator", ["native", "expandable"])
def test_ranks_that_take_a_quantized_base_from_the_meta_device_reserve_more(allocator: str) -> None:
    today, ahead = (roomy(**QLORA, **wrapping, allocator=allocator) for wrapping in (TODAY, EARLIER))
    assert ahead - today > 1.5 * GIB
    every = roomy(**QLORA, **EARLIER, allocator=allocator, loading="every-rank")
    assert abs(every - today) < (ahead - today) / 4


def test_a_base_that_is_not_quantized_comes_from_the_host_on_every_rank() -> None:
    today, earlier = (roomy(finetuning="lora", **wrapping) for wrapping in (TODAY, EARLIER))
    assert 0 <= earlier - today < 0.5 * GIB
    sharded, groups = ({"finetuning": "lora", **EARLIER, **more} for more in ({}, HYBRID))
    assert len(processes(**sharded)) == len(processes(**groups)) == 1


HYBRID = {"sharding": "hybrid_shard", "shard_size": 2}


def test_a_unit_is_sent_to_replicas_by_buckets_of_their_own() -> None:
    def of(**more: Any) -> Requests:
        return processes(finetuning="full", **HYBRID, **more)[0].requests()

    today, earlier = of(**TODAY), of(**EARLIER)
    sent = [storage for storage, (_, shared) in earlier.streams.items() if shared]
    assert sum(storage <= earlier.loaded for storage in sent) > sum(
        storage <= today.loaded for storage, (_, shared) in today.streams.items() if shared
    )


def asked(**choices: Any) -> tuple[Any, Any]:
    axes = {**SHARDED, **choices}
    gpu, size = axes.pop("gpu"), axes.pop("micro_batch_size")
    workload = {name: axes.pop(name) for name in ("gpus", "sequence_length")} | {"nodes": 1, "headroom": 0.05}
    _, solver, candidate = resolve_one("smollm2-135m", gpu, None, axes, workload, size, 1)
    return solver, candidate


def processes(**choices: Any) -> tuple[Any, ...]:
    solver, candidate = asked(**choices)
    return processes_of(solver.model, candidate.strategy, 1, 1)


@pytest.mark.parametrize("rank", [0, 1])
def test_requests_that_are_served_while_they_are_made_reserve_as_much(rank: int) -> None:
    process = processes(**QLORA, **EARLIER)[rank]
    requests = process.requests()
    most = reserved(requests, Allocator.NATIVE)
    assert reserved_by(process, Allocator.NATIVE, None) == most
    for share in (0.95, 0.8, 0.6, 0.5, 0.4):
        limit = round(share * most.reserved_bytes)
        assert reserved_by(process, Allocator.NATIVE, limit) == reserved(requests, Allocator.NATIVE, limit)


def test_where_memory_runs_out_while_units_are_wrapped_the_allocator_waits_for_the_gpu() -> None:
    requests = Requests()
    Recorded(requests, [(LARGE,)] * 40, 2, on_host=False, wraps=Wraps(), ahead=True).wrap()
    requests.end_loading()
    roomy = reserved(requests, Allocator.NATIVE)
    needed = 40 * LARGE.shares[0] + 3 * 2 * LARGE.shares[0]  # all shares, and what one unit needs beside them
    assert roomy.reserved_bytes > 1.5 * needed
    for allocator in (Allocator.NATIVE, Allocator.EXPANDABLE):
        limited = reserved(requests, allocator, round(1.5 * needed))
        assert limited.fits
        assert limited.retries


LARGE = Unit(0, (), 2**26, 0, 0, shares=(2**25,), joined=(2**24, 2**24, 2**25))


def test_other_backends_have_no_such_choice_and_a_replay_runs_todays() -> None:
    with pytest.raises(PlannerError, match=r"wrapping=torch-2\.7 is given, but only fsdp1 has it"):
        planner.estimate("llama-2-7b", **{**SHARDED, "sharding_backend": "fsdp2"}, **EARLIER)
    with pytest.raises(PlannerError, match=r"cannot be replayed: the replay has no account of wrapping torch-2\.7"):
        planner.verify("smollm2-135m", **SHARDED, **EARLIER)


def test_fit_searches_today_s_alone_and_takes_the_other_where_it_is_said() -> None:
    options = {k: v for k, v in SHARDED.items() if k not in ("micro_batch_size",)} | QLORA
    plans = {w: planner.fit("llama-2-7b", **options, **said).plans[0] for w, said in (("", {}), ("said", EARLIER))}
    assert [plan.strategy.wrapping for plan in plans.values()] == [Wrapping.TODAY, Wrapping.TORCH_2_7]
    assert plans["said"].memory.process_bytes <= plans["said"].memory.budget_bytes
