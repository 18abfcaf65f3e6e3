"""What must hold for every model and strategy."""

from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hardware import Cluster, load_catalog
from planner.answers.memory import memory_of
from planner.libraries.allocator import BLOCK_BYTES
from planner.memory import MemoryModel, TracedModel
from planner.memory.sharding.optimizers import rule_of
from planner.models import find_model
from planner.search import Solver
from strategies import Checkpointing, Checkpoints, Fsdp2, Optimizer, Precision, Sharding, Space, Strategy, UpTo

MODELS = ("gpt2", "smollm2-135m", "qwen2.5-0.5b", "pythia-70m", "opt-125m", "gemma-2b", "smollm3-3b")
GPUS = load_catalog()
PADDING = 0.01
"""FSDP2 pads the rows of every parameter to a multiple of the ranks, and each shard is a block of its own."""


@cache
def memory_model(model: str, sequence: int, ranks: int) -> MemoryModel:
    return MemoryModel(TracedModel(find_model(model).inventory, sequence), Cluster(GPUS.get("A100-80GB"), ranks))


@cache
def all_strategies(ranks: int) -> tuple[Strategy, ...]:
    cluster = Cluster(GPUS.get("A100-80GB"), ranks)
    space = Space(precision=tuple(Precision), optimizer=tuple(Optimizer))
    return tuple(chain.least for chain in space.valid(cluster)[0])


models, sequences, ranks = st.sampled_from(MODELS), st.sampled_from((128, 512, 1024)), st.sampled_from((1, 2, 8))


@given(models, sequences, ranks, st.data(), st.integers(1, 64), st.booleans())
@settings(max_examples=150, deadline=None)
def test_memory_grows_with_the_micro_batch(
    model: str, sequence: int, ranks: int, data: st.DataObject, size: int, accumulates: bool
) -> None:
    strategy = data.draw(st.sampled_from(all_strategies(ranks)))
    footprint = memory_model(model, sequence, ranks).footprint(strategy, micro_batches=1 + accumulates)
    assert footprint.process_bytes(size) < footprint.process_bytes(size + 1)


@given(models, sequences, ranks, st.data(), st.integers(1, 4))
@settings(max_examples=150, deadline=None)
def test_what_refuses_a_strategy_without_its_footprint_is_never_more_than_that(
    model: str, sequence: int, ranks: int, data: st.DataObject, micro_batches: int
) -> None:
    strategy = data.draw(st.sampled_from(all_strategies(ranks)))
    memory = memory_model(model, sequence, ranks)
    least = memory.least_process_bytes(strategy, micro_batches)
    assert 0 < least <= memory.footprint(strategy, micro_batches).process_bytes(1)


@given(models, ranks, st.data(), st.integers(1, 16))
@settings(max_examples=100, deadline=None)
def test_memory_grows_with_the_sequence(model: str, ranks: int, data: st.DataObject, size: int) -> None:
    strategy = data.draw(st.sampled_from(all_strategies(ranks)))
    short, long = (memory_model(model, s, ranks).footprint(strategy, micro_batches=1) for s in (256, 512))
    assert short.allocated_bytes(size) < long.allocated_bytes(size)


@given(models, sequences, ranks, st.data(), st.integers(1, 16))
@settings(max_examples=100, deadline=None)
def test_accumulating_never_takes_less(model: str, sequence: int, ranks: int, data: st.DataObject, size: int) -> None:
    strategy = data.draw(st.sampled_from(all_strategies(ranks)))
    memory = memory_model(model, sequence, ranks)
    once, often = (memory.footprint(strategy, micro_batches=a).allocated_bytes(size) for a in (1, 3))
    assert once <= often


@given(models, sequences, ranks, st.data(), st.integers(1, 64), st.booleans())
@settings(max_examples=150, deadline=None)
def test_components_add_up_and_none_is_negative(
    model: str, sequence: int, ranks: int, data: st.DataObject, size: int, accumulates: bool
) -> None:
    strategy = data.draw(st.sampled_from(all_strategies(ranks)))
    solver = Solver(memory_model(model, sequence, ranks), 10**11, UpTo(1))
    memory = memory_of(solver.candidate(strategy, size, 2 if accumulates else 1), solver.budget_bytes)
    parts = memory.components.model_dump()
    assert sum(parts.values()) == memory.process_bytes
    assert min(parts.values()) >= 0
    assert memory.allocated_bytes <= memory.reserved_bytes <= memory.process_bytes
    assert max(memory.moments.values()) == memory.moments[memory.moment] == memory.allocated_bytes


@given(models, sequences, st.data())
@settings(max_examples=60, deadline=None)
def test_full_sharding_divides_what_persists(model: str, sequence: int, data: st.DataObject) -> None:
    strategies = [s for s in all_strategies(8) if s.sharding == Fsdp2(Sharding.FULL_SHARD)]
    strategy = data.draw(st.sampled_from(strategies))
    memory = memory_model(model, sequence, 2)
    units = memory.traced.units(memory.setting(strategy), 1).all
    rule = rule_of(strategy.optimizer)  # every rank counts the steps of its shards, and has the tables
    counts = sum(rule.counts(t) for u in units for t in u.trained) + rule.tables(t for u in units for t in u.trained)
    two, eight = (memory_model(model, sequence, n).footprint(strategy, micro_batches=1) for n in (2, 8))
    sharded = [memory_model(model, sequence, n).traced.units(memory.setting(strategy), n).all for n in (2, 8)]
    whole = [sum(u.buffer_bytes for u in units_of_rank) for units_of_rank in sharded]  # scales of NF4 weights
    shares = [f.persistent.parameters - kept for f, kept in zip((two, eight), whole, strict=True)]
    assert whole[0] == whole[1]
    assert 4 * shares[1] == pytest.approx(shares[0], rel=PADDING)
    states = [footprint.persistent.optimizer_states - counts for footprint in (two, eight)]
    blocks = 4 * 4 * BLOCK_BYTES * sum(len(u.trained) for u in units)  # at most four for the states of a shard
    assert 4 * states[1] == pytest.approx(states[0], rel=PADDING, abs=blocks)


@given(models, sequences, ranks, st.data())
@settings(max_examples=60, deadline=None)
def test_checkpointing_keeps_less_for_backward(model: str, sequence: int, ranks: int, data: st.DataObject) -> None:
    strategies = [s for s in all_strategies(ranks) if not s.checkpointing.recomputes]
    plain = data.draw(st.sampled_from(strategies))
    other = plain._replace(checkpointing=Checkpoints(Checkpointing.FULL))
    memory = memory_model(model, sequence, ranks)
    kept, dropped = (
        max(
            line.activations_per_sample
            for lines in memory.footprint(s, micro_batches=1).lines.values()
            for line in lines
        )
        for s in (plain, other)
    )
    assert dropped <= kept


@given(models, st.integers(1, 10**12))
@settings(max_examples=100, deadline=None)
def test_the_solved_micro_batch_is_the_last_that_fits(model: str, budget: int) -> None:
    for strategy in all_strategies(1)[::7]:
        footprint = memory_model(model, 512, 1).footprint(strategy, micro_batches=2)
        size = footprint.largest_micro_batch(budget)
        assert size == 0 or footprint.process_bytes(size) <= budget
        assert footprint.process_bytes(size + 1) > budget
