"""Parameters are updated after backward, or in it, where nothing can accumulate."""

from __future__ import annotations

from strategies import AXES, Update


def test_only_an_update_after_backward_lets_gradients_accumulate() -> None:
    assert {update: update.accumulates for update in Update} == {
        Update.AFTER_BACKWARD: True,
        Update.IN_BACKWARD: False,
    }


def test_an_update_after_backward_goes_without_saying() -> None:
    assert AXES["update"].choices.hidden_default is Update.AFTER_BACKWARD
    assert AXES["update"].choices.phrase == "update {}"
