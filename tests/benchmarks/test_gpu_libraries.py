"""The real libraries that a GPU is measured with, where a CPU runs them, and the planner's stand-ins beside them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from gpu.case import Case, Kind, Outcome
from gpu.forked import NotHereError, run_forked
from gpu.libraries import PACKAGES, assembled, check_libraries
from gpu.setups import TINY
from gpu.training import steps_of, strategy_of, time_on

from planner.memory.linear.nf4 import stored_bytes
from planner.replay.backend import CPU
from planner.replay.setup.optimizers import BUILDERS
from planner.replay.silence import undisturbed
from planner.replay.stand_ins.optimizers import StandIn
from strategies import Optimizer

QLORA = {"finetuning": "qlora", "lora_rank": 4, "lora_targets": "all-linear", "precision": "bf16-mixed"}


def case_of(options: dict[str, Any]) -> Case:
    request = {"model": dict(TINY["tiny-llama"]), "options": options, "micro_batch_size": 2, "sequence_length": 32}
    return Case(Kind.STEPS, "a case", request, 30)


def answered(find: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What a forked process finds, where real libraries may replace what it inherited."""
    result = run_forked(case_of({}), lambda _: find(), 120)
    assert result.outcome is Outcome.MEASURED, result.found
    return dict(result.found)


@pytest.mark.parametrize(
    "options",
    [
        {**QLORA, "quantization": "nf4"},
        {**QLORA, "quantization": "nf4-double", "checkpointing": "full"},
        {**QLORA, "quantization": "int8"},
        {"finetuning": "full", "precision": "bf16-true", "optimizer": "adamw-8bit"},
        {"finetuning": "full", "precision": "bf16-true", "optimizer": "lion-8bit"},
        {"finetuning": "full", "precision": "bf16-true", "optimizer": "adamw-8bit-torchao"},
        {"finetuning": "full", "precision": "fp8-mixed"},
    ],
)
def test_a_step_runs_with_the_real_library(options: dict[str, Any]) -> None:
    result = run_forked(case_of(options), time_on("cpu"), 120)
    assert result.outcome is Outcome.MEASURED, result.found


@pytest.mark.parametrize("quantization", ["nf4", "nf4-double"])
def test_an_nf4_weight_has_the_bytes_of_the_account(quantization: str) -> None:
    """Tables of values are there for each weight: what they take is rounded to the allocator's blocks, as there."""

    def rounded(x: torch.Tensor) -> int:
        return -(-x.nbytes // 512) * 512

    def real() -> dict[str, Any]:
        import bitsandbytes

        with undisturbed():
            model = assembled(
                TINY["tiny-llama"], strategy_of({"options": {**QLORA, "quantization": quantization}}), CPU
            )
        found = {}
        for path, layer in model.named_modules():
            if isinstance(layer, bitsandbytes.nn.Linear4bit):
                state = layer.weight.quant_state
                sizes = [layer.weight.nbytes, state.absmax.nbytes, rounded(state.code)]
                if state.nested:
                    sizes += [rounded(state.state2.absmax), rounded(state.state2.code), rounded(state.offset)]
                found[path] = [layer.out_features, layer.in_features, sum(sizes)]
        return found

    found = answered(real)
    assert len(found) == 14
    for rows, columns, size in found.values():
        assert size == stored_bytes(rows, columns, double=quantization == "nf4-double")


@pytest.mark.parametrize("optimizer", [Optimizer.ADAMW_8BIT, Optimizer.LION, Optimizer.LION_8BIT])
def test_the_states_of_bitsandbytes_are_those_of_the_stand_in(optimizer: Optimizer) -> None:
    """By parameter: dtypes and numbers of elements, its tables apart, which all states share."""
    options = {"finetuning": "full", "precision": "bf16-true", "optimizer": optimizer.value}

    def states(steps: Any) -> dict[str, Any]:
        with undisturbed():
            steps.step(1)
        return {
            name: sorted(
                [str(state.dtype), state.numel()]
                for key, state in steps.optimizer.state[parameter].items()
                if isinstance(state, torch.Tensor) and "qmap" not in key
            )
            for name, parameter, _ in steps.trained
        }

    def stand_in() -> dict[str, Any]:
        from gpu import libraries

        libraries.REAL_OPTIMIZERS.clear()
        return states(steps_of(case_of(options).request, CPU))

    def real() -> dict[str, Any]:
        return states(steps_of(case_of(options).request, CPU))

    assert answered(real) == answered(stand_in)


def test_every_optimizer_that_has_a_stand_in_is_known_here() -> None:
    stand_ins = {choice for choice, build in BUILDERS.items() if isinstance(build, type) and issubclass(build, StandIn)}
    assert stand_ins <= set(PACKAGES)


def test_a_stand_in_is_never_measured_as_the_real_thing() -> None:
    with pytest.raises(NotHereError, match="the planner runs a stand-in for galore, which proves nothing"):
        check_libraries(strategy_of({"options": {"finetuning": "full", "optimizer": "galore"}}))
