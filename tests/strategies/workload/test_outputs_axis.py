"""A loop that keeps the model's outputs does so within a step, and a plain one also between steps."""

from __future__ import annotations

from strategies import Outputs


def test_outputs_that_outlive_a_step_live_within_it() -> None:
    assert {outputs: tuple(outputs.facts) for outputs in Outputs} == {
        Outputs.RELEASED: (False, False),
        Outputs.KEPT: (True, True),
        Outputs.KEPT_IN_STEP: (True, False),
    }
    assert Outputs.KEPT.facts._fields == ("in_step", "in_next_forward")
