"""Losses: which of them multiply by the head's weight themselves, and what plug-ins may add."""

from __future__ import annotations

import pytest

from strategies import AXES, ContradictionError, Loss


def test_the_fused_losses_are_those_that_multiply_by_the_heads_weight() -> None:
    assert {loss: loss.is_fused for loss in Loss} == {
        Loss.FULL: False,
        Loss.TRANSFORMERS_4_48: False,
        Loss.TRANSFORMERS_4_45: False,
        Loss.LIGER_CROSS_ENTROPY: False,
        Loss.FLASH_CROSS_ENTROPY: False,
        Loss.COMPILED: False,
        Loss.LIGER_FUSED_LINEAR: True,
        Loss.CHUNKED: True,
        Loss.CUT_CROSS_ENTROPY: True,
    }
    assert AXES["loss"].choices.phrase == "{} loss"


def test_a_loss_of_a_plug_in_has_no_facts() -> None:
    assert Loss.open_to() == (type(None),)
    with pytest.raises(ContradictionError, match="loss 'mine' has facts of type int"):
        Loss.add("mine", "invented", 3)
