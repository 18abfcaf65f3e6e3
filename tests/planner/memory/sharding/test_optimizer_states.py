"""Every optimizer's rule: what it keeps and what its step allocates."""

from collections.abc import Iterator
from functools import cache

import pytest

from hardware import Cluster, load_catalog
from planner import estimate, fit
from planner.memory import MemoryModel, Moment, TracedModel
from planner.memory.sharding.optimizers import RULES, rule_of
from planner.memory.sharding.optimizers.locals import Locals
from planner.models import find_model
from strategies import (
    PLAIN,
    AnyOptimizer,
    DataParallel,
    Fsdp2,
    Optimizer,
    Precision,
    Ranked,
    Replicated,
    Update,
    Whole,
)

GPU = load_catalog().get("H100-80GB-SXM")
HALF = PLAIN._replace(precision=Precision.BF16_TRUE)


@cache
def model(ranks: int = 1) -> MemoryModel:
    return MemoryModel(TracedModel(find_model("pythia-70m").inventory, 128), Cluster(GPU, ranks))


def persistent_states(optimizer: AnyOptimizer, precision: Precision = Precision.BF16_TRUE) -> int:
    strategy = PLAIN._replace(precision=precision, optimizer=optimizer)
    return model().footprint(strategy, micro_batches=1).persistent.optimizer_states


def step_bytes(optimizer: AnyOptimizer) -> int:
    lines = model().footprint(HALF._replace(optimizer=optimizer), micro_batches=1).lines[Moment.OPTIMIZER_STEP]
    return max(line.at(1) for line in lines)


@pytest.mark.parametrize("optimizer", Optimizer)
def test_every_optimizer_has_a_rule_and_fits_somewhere(optimizer: Optimizer) -> None:
    assert type(optimizer.facts) in RULES
    result = fit("pythia-160m", gpu="H100-80GB-SXM", optimizer=optimizer, finetuning="full", precision="bf16-true")
    assert {plan.strategy.optimizer for plan in result.plans} == {optimizer}


@pytest.mark.parametrize(
    ("less", "more"),
    [
        (Optimizer.PAGED_ADAMW_8BIT, Optimizer.ADAMW_8BIT),
        (Optimizer.PAGED_ADAMW_32BIT, Optimizer.PAGED_ADAMW_8BIT),  # which pages neither scales nor tables
        (Optimizer.ADAMW_4BIT, Optimizer.ADAMW_8BIT_TORCHAO),
        (Optimizer.LION_8BIT, Optimizer.ADAMW_8BIT),
        (Optimizer.MUON, Optimizer.ADAMW),
        (Optimizer.ADAM_MINI, Optimizer.ADAMW),
        (Optimizer.APOLLO_MINI, Optimizer.APOLLO),
        (Optimizer.ADAMW_OFFLOAD, Optimizer.LION_8BIT),
        (Ranked(Optimizer.GALORE, 32), Ranked(Optimizer.GALORE, 64)),
        (Optimizer.ADAMW, Optimizer.ADAMW_FP32_MASTER),
    ],
    ids=str,
)
def test_states_are_ordered_as_their_authors_claim(less: AnyOptimizer, more: AnyOptimizer) -> None:
    assert persistent_states(less) < persistent_states(more)


def test_a_master_copy_takes_twelve_bytes_a_parameter() -> None:
    parameters = find_model("pythia-70m").inventory.num_parameters
    assert persistent_states(Optimizer.ADAMW_FP32_MASTER) == pytest.approx(12 * parameters, rel=1e-3)


def test_foreach_takes_a_copy_of_all_and_fused_none() -> None:
    states = persistent_states(Optimizer.ADAMW_FOREACH)
    assert step_bytes(Optimizer.ADAMW_FOREACH) - step_bytes(Optimizer.ADAMW) == states // 2


def test_embeddings_keep_states_in_32_bits_under_bitsandbytes() -> None:
    units = model().traced.units(model().setting(HALF), 1).all
    embedding = next(t for unit in units for t in unit.trained if t.is_embedding)
    elements, rule = embedding.num_elements, rule_of(Optimizer.LION_8BIT)
    assert rule.states(embedding) == 4 * elements
    assert rule.states(embedding._replace(is_embedding=False)) == elements + 4 * elements // 256


@pytest.mark.parametrize("sharding", [Replicated(), Fsdp2()], ids=["no_shard", "full_shard"])
def test_an_update_in_backward_leaves_no_gradients(sharding: DataParallel) -> None:
    memory = model(2 if sharding.shards else 1)
    after = HALF._replace(optimizer=Optimizer.ADAMW, sharding=sharding)
    kept, freed = (memory.footprint(after._replace(update=update), micro_batches=1) for update in Update)
    gradients = [max(line.gradients for line in f.lines[Moment.OPTIMIZER_STEP]) for f in (kept, freed)]
    assert gradients[0] > 0
    assert gradients[1] == 0
    assert freed.persistent == kept.persistent
    assert all(freed.moments(1)[moment] <= kept.moments(1)[moment] for moment in Moment if moment in kept.lines)


def test_an_update_in_backward_never_accumulates() -> None:
    result = fit("pythia-160m", gpu="H100-80GB-SXM", update="in-backward", finetuning="full")
    assert {plan.gradient_accumulation_steps for plan in result.plans} == {1}


def test_offloaded_states_cost_time_on_the_link_to_the_host() -> None:
    def seconds(optimizer: str) -> float:
        return estimate("pythia-160m", gpu="H100-80GB-SXM", optimizer=optimizer).time.step_seconds

    assert seconds("adamw-offload") > seconds("adamw")
    assert seconds("paged-adamw-8bit") > seconds("adamw-8bit")


def test_local_variables_live_until_they_are_assigned_again() -> None:
    names = Locals()
    names.let("x", 1024)
    names.let("x", 1024)
    assert names.peak == 2048
    names.let("y", 512)
    names.passing(512, 512)
    assert names.peak == 2560


@pytest.fixture
def added() -> Iterator[Optimizer]:
    """An optimizer of a plug-in's, gone again afterwards."""
    optimizer = Optimizer.add("three-states", "AdEMAMix, say", Whole(3, itemsize=4))
    yield optimizer
    internals = vars(Optimizer)
    internals["_member_names_"].remove("THREE_STATES")
    del internals["_member_map_"]["THREE_STATES"], internals["_value2member_map_"]["three-states"]


def test_a_plug_in_adds_an_optimizer_of_a_known_kind(added: Optimizer) -> None:
    result = fit("pythia-160m", gpu="H100-80GB-SXM", optimizer="three-states", finetuning="full", precision="fp32")
    states = result.plans[0].memory.components.optimizer_states
    assert result.plans[0].strategy.optimizer is added
    assert states == pytest.approx(12 * find_model("pythia-160m").inventory.num_parameters, rel=1e-3)
