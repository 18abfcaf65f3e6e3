"""What cannot run is never a plan, whichever engine looks for one."""

from __future__ import annotations

from typing import Any

import pytest
from toy import Toy

from planner import FitResult, fit
from planner.search import EngineSettings, Solver
from planner.search.studies.study import search as sample
from planner.search.studies.suggest import Suggestion
from planner.search.studies.trials import CANNOT_RUN, TrialRunner
from strategies import Checkpointing, Engine, Finetuning, Kernels, Lora, Optimizer, Sampler, Space, UpTo

SHARDED: dict[str, Any] = {
    "model": "gpt2",
    "gpu": "A100-40GB",
    "gpus": 2,
    "finetuning": "full",
    "precision": "bf16-mixed",
    "optimizer": ["adafactor", "adamw"],
    "sharding": ["full_shard", "no_shard"],
    "gradient_sync": "each",
    "top": 100,
}
ADAFACTOR = "transformers' Adafactor does not run on parameters that FSDP2 has sharded"


def chosen(found: FitResult) -> set[tuple[str, str]]:
    return {(plan.strategy.optimizer, plan.strategy.sharding) for plan in found.plans}


@pytest.mark.parametrize("sampler", ["brute-force", "random", "tpe", "nsga2"])
def test_a_sampler_finds_no_plan_that_rules_refuse(sampler: str) -> None:
    found = fit(**SHARDED, engine="optuna", sampler=sampler, trials=60)
    runs = {("adamw", "full_shard"), ("adamw", "no_shard"), ("adafactor", "no_shard")}
    assert chosen(found) <= runs
    assert ("adamw", "full_shard") in chosen(found) or sampler == "nsga2"
    assert found.rejected == {ADAFACTOR: 2}


def test_an_engine_that_decides_all_refuses_the_same() -> None:
    sampled = fit(**SHARDED, engine="optuna", sampler="brute-force")
    assert sampled.rejected == fit(**SHARDED).rejected == {ADAFACTOR: 2}
    assert sampled.plans == fit(**SHARDED).plans


def test_a_sampler_finds_no_plan_that_the_model_refuses() -> None:
    found = fit("gpt2", gpu="T4", finetuning="freeze", trained_blocks=[12, 13], engine="optuna", sampler="brute-force")
    assert {plan.strategy.trained_blocks for plan in found.plans} == {12}
    assert found.rejected["the model has 12 blocks"] == found.searched.strategies / 2


SPACE = Space.default(Toy().cluster)._replace(finetuning=(Finetuning.LORA,), optimizer=(Optimizer.ADAMW,))


@pytest.mark.parametrize(
    ("kernels", "refused_by_model", "reason"),
    [
        (Kernels.EAGER, None, None),
        (Kernels.EAGER, "not with this model", "not with this model"),
        (Kernels.COMPILE, None, "compiled blocks have an account for plain LoRA without dropout"),
        (Kernels.COMPILE, "not with this model", "compiled blocks have an account for plain LoRA without dropout"),
    ],
)
def test_what_rules_or_the_model_refuse_breaks_the_constraint_by_more_than_anything_that_lacks_memory(
    kernels: Kernels, refused_by_model: str | None, reason: str | None
) -> None:
    space = SPACE._replace(kernels=(kernels,), lora_dropout=(0.1,), checkpointing=(Checkpointing.NONE,))
    runner = TrialRunner(space, Solver(Toy(refuses=lambda _: refused_by_model), 10**6, UpTo(1)), fills=False)
    trial = runner.of(Suggestion({}))
    assert trial.reason == reason
    assert (trial.candidate is None) == (reason is not None)
    assert (trial.missing_gib == CANNOT_RUN) == (reason is not None)
    assert runner.rejected == ({reason: 1} if reason else {})
    assert CANNOT_RUN == 2**20


def test_the_sampling_engine_leaves_out_what_the_model_refuses_and_what_does_not_fit() -> None:
    space = SPACE._replace(lora_rank=(1, 2, 4, 8, 1000), checkpointing=(Checkpointing.NONE,))

    def refuses(strategy: Any) -> str | None:
        return "no rank of 4" if strategy.finetuning == Lora(4) else None

    settings = EngineSettings(Engine.OPTUNA, Sampler.BRUTE_FORCE)
    found = sample(space, Solver(Toy(refuses=refuses), 1_000, UpTo(1)), settings)
    ranking = [candidate.strategy.finetuning for candidate in found.ranking.first(9)]
    assert ranking == [Lora(1), Lora(2), Lora(8)]
    assert found.rejected == {"no rank of 4": 1, "does not fit into memory": 1}
    assert (found.num_strategies, found.num_trials) == (5, 5)


def test_where_nothing_can_run_a_sampler_has_no_plan_and_says_why() -> None:
    found = fit("gpt2", gpu="T4", sharding="full_shard", engine="optuna", sampler="brute-force")
    assert (found.plans, found.rejected) == ((), {"one GPU has nothing to shard over": found.searched.strategies})
