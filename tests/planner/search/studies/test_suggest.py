"""A space is asked for one option after the other, and only for those that there is something to choose of."""

from __future__ import annotations

from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from toy import A100, Toy

from planner.search.studies.suggest import FILLING, Suggestion, spelled, suggested
from strategies import (
    ALL_LINEAR,
    Checkpointing,
    Finetuning,
    Freeze,
    Full,
    Lora,
    Optimizer,
    Precision,
    Quantization,
    Space,
    Strategy,
)

SPACE = Space.default(Toy().cluster)._replace(
    finetuning=(Finetuning.FULL, Finetuning.LORA, Finetuning.QLORA),
    lora_rank=(16, 4, 8, 12),
    lora_targets=(ALL_LINEAR, ("q_proj", "v_proj")),
    lora_dropout=(0.0, 0.1),
    checkpointing=(Checkpointing.NONE, Checkpointing.FULL),
    checkpoint_every=(1, 2, 8),
)


def strategy_of(params: dict[str, Any], space: Space = SPACE) -> Strategy:
    return Suggestion(params).strategy(space, A100)


def test_parameters_of_a_finished_trial_are_its_strategy() -> None:
    strategy = strategy_of(
        {
            "finetuning": "qlora",
            "lora_rank": 12,
            "lora_targets": "q_proj,v_proj",
            "lora_dropout": 0.1,
            "quantization": "nf4-double",
            "checkpointing": "full",
            "checkpoint_every": 8,
        }
    )
    assert strategy.finetuning == Lora(12, ("q_proj", "v_proj"), Quantization.NF4_DOUBLE, dropout=0.1)
    assert strategy.checkpointing == (Checkpointing.FULL, 8)
    assert (strategy.precision, strategy.optimizer) == (Precision.BF16_MIXED, Optimizer.ADAMW)


def test_what_a_trial_does_not_say_or_the_space_no_longer_has_is_the_first_value() -> None:
    assert strategy_of({}).finetuning == Full()
    assert strategy_of({"finetuning": "lora", "lora_rank": 99}).finetuning == Lora(4)
    assert strategy_of({"finetuning": "bitfit"}).finetuning == Full()
    assert strategy_of({"precision of full": "bf16-true"}).precision is Precision.BF16_TRUE


def test_the_share_of_a_micro_batch_is_all_of_it_unless_said() -> None:
    assert Suggestion({}).filling() == 1.0
    assert Suggestion({FILLING: 0.25}).filling() == 0.25
    trial = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0)).ask()
    assert 0.0 <= Suggestion(trial).filling() <= 1.0
    assert trial.distributions == {FILLING: FloatDistribution(0.0, 1.0)}


FULL = Strategy.of(strategy_of({}).to_options())
QLORA = strategy_of({"finetuning": "qlora", "checkpointing": "full"})
METHODS = CategoricalDistribution(("full", "lora", "qlora"))
CHECKPOINTS = CategoricalDistribution(("none", "full"))


def test_a_strategy_has_a_parameter_for_each_option_that_there_is_a_choice_of() -> None:
    params, distributions = suggested(SPACE, A100, FULL)
    assert params == {
        "finetuning": "full",
        "precision of full": "bf16-mixed",
        "optimizer of full": "adamw",
        "checkpointing": "none",
    }
    assert distributions == {
        "finetuning": METHODS,
        "precision of full": CategoricalDistribution(("bf16-mixed", "bf16-true", "tf32")),
        "optimizer of full": CategoricalDistribution(("adamw", "adamw-8bit", "adafactor")),
        "checkpointing": CHECKPOINTS,
    }


def test_numbers_at_equal_distances_are_a_range_and_others_are_choices() -> None:
    params, distributions = suggested(SPACE, A100, QLORA)
    assert distributions == {
        "finetuning": METHODS,
        "lora_rank": IntDistribution(4, 16, step=4),
        "lora_targets": CategoricalDistribution(("all-linear", "q_proj,v_proj")),
        "lora_dropout": CategoricalDistribution((0.0, 0.1)),
        "quantization": CategoricalDistribution(("nf4", "nf4-double")),
        "unquantized_dtype": CategoricalDistribution(("fp32", "bf16")),
        "checkpointing": CHECKPOINTS,
        "checkpoint_every": CategoricalDistribution((1, 2, 8)),
    }
    assert params["lora_rank"] == 4
    assert (params["lora_targets"], params["checkpoint_every"]) == ("all-linear", 1)


def test_what_is_suggested_of_a_strategy_makes_the_strategy_again() -> None:
    strategies = list(SPACE.strategies(A100))
    assert {strategy_of(suggested(SPACE, A100, strategy)[0]) for strategy in strategies} == set(strategies)


def test_a_running_trial_is_asked_for_the_same_parameters() -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    seen = set()
    for _ in range(40):
        trial = study.ask()
        strategy = Suggestion(trial).strategy(SPACE, A100)
        assert (trial.params, trial.distributions) == suggested(SPACE, A100, strategy)
        seen.add(strategy.finetuning.method)
    assert seen == set(SPACE.finetuning)


def test_a_space_of_one_strategy_has_no_parameters() -> None:
    single = SPACE._replace(
        finetuning=(Finetuning.FREEZE,), optimizer=(Optimizer.SGD,), checkpointing=(Checkpointing.NONE,)
    )
    assert suggested(single, A100, strategy_of({}, single)) == ({}, {})
    assert strategy_of({}, single).finetuning == Freeze()


@pytest.mark.parametrize(
    ("value", "text"),
    [(("q", "v"), "q,v"), (("q",), "q"), (Finetuning.LORA, "lora"), (16, 16), (0.5, 0.5), ("all-linear", "all-linear")],
)
def test_a_parameter_is_a_text_or_a_number(value: Any, text: Any) -> None:
    assert (spelled(value), type(spelled(value))) == (text, type(text))
