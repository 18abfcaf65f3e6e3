"""Spaces of long ranges: what cannot be is left out, and nothing takes as long as the range."""

from __future__ import annotations

from typing import Any

import pytest

from hardware import Cluster, load_catalog
from planner import EstimateResult, PlannerError, estimate, fit
from planner.advice import shortfall
from planner.search import TooManyStrategiesError, exhaustive
from strategies import Space

RANGES: dict[str, Any] = {
    "gpus": 8,
    "checkpointing": "full",
    "checkpoint_every": "1..64",
    "sharding": "full_shard",
    "reshard_size": "0..4096",
}


def test_a_model_has_no_more_blocks_to_train_than_it_has() -> None:
    found = fit("gpt2", gpu="T4", finetuning="freeze", trained_blocks="1..100", top=1000)
    settings = found.searched.strategies // 12
    assert found.rejected == {"the model has 12 blocks": 88 * settings}
    assert {plan.strategy.trained_blocks for plan in found.plans} == set(range(1, 13))
    with pytest.raises(PlannerError, match="nothing can run: the model has 12 blocks"):
        fit("gpt2", gpu="T4", finetuning="freeze", trained_blocks="13..100")


def test_sizes_that_cannot_divide_the_ranks_are_dropped_unless_there_are_no_others() -> None:
    cluster = Cluster(load_catalog().get("H100"), 8)
    space = Space.default(cluster)._replace(reshard_size=tuple(range(100)), shard_size=(3, 5))
    assert space.divisible(cluster).reshard_size == (0, 1, 2, 4)
    assert space.divisible(cluster).shard_size == (3, 5)


def test_a_sampler_draws_from_the_sizes_that_can_be() -> None:
    found = fit("gpt2", gpu="H100", **RANGES, engine="optuna", sampler="random", trials=30)
    assert found.plans
    assert not [reason for reason in found.rejected if "reshard" in reason]


def test_a_space_that_is_too_large_to_decide_is_refused_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exhaustive, "MOST_SOLVED", 100)
    with pytest.raises(TooManyStrategiesError) as refused:
        fit("gpt2", gpu="H100", **RANGES)
    assert "strategies of this space can run here" in refused.value.message
    assert refused.value.hint == "--engine optuna samples such a space; or narrow a range"


def test_a_sampler_that_finds_nothing_in_a_space_too_large_to_decide_says_no_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(exhaustive, "MOST_SOLVED", 100)
    found = fit("llama-2-70b", gpu="T4", **RANGES, engine="optuna", sampler="random", trials=5)
    assert (found.plans, found.shortfall) == ((), None)


def test_ways_out_of_a_large_space_are_looked_for_around_its_smallest_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[int] = []
    looked_for = shortfall.ways_out

    def counted(variants: Any, strategies: Any, verb: str) -> Any:
        given.append(len(strategies))
        return looked_for(variants, strategies, verb)

    monkeypatch.setattr(shortfall, "ways_out", counted)
    found = fit("llama-2-70b", gpu="T4", **RANGES)
    assert found.shortfall is not None
    assert found.searched.strategies > 100
    assert given == [1]
    assert found.shortfall.ways
    for way in found.shortfall.ways:
        chosen = {name: value for name, value in found.shortfall.smallest.strategy.model_dump().items() if value}
        options = {name.replace("-", "_"): value for name, value in way.options.items()}
        plan: EstimateResult = estimate("llama-2-70b", **{"gpu": "T4", "gpus": 8, **chosen, **options})
        assert plan.memory.fits
