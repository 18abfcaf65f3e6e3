"""Kernels of norms, rotary embeddings and gated MLPs are transformers' own, liger's, or compiled."""

from __future__ import annotations

import pytest

from strategies import AXES, ContradictionError, Kernels


def test_kernels_are_transformers_own_ligers_or_compiled() -> None:
    assert list(Kernels) == ["eager", "liger", "compile"]
    axis = AXES["kernels"]
    assert ([option.name for option in axis.options], axis.choices.phrase) == (["kernels"], "{} kernels")


def test_plug_ins_add_no_kernels() -> None:
    assert Kernels.open_to() is None
    with pytest.raises(ContradictionError, match="kernels takes no choices of plug-ins: what 'mine' means") as refused:
        Kernels.add("mine", "invented")
    assert refused.value.hint == "CONTRIBUTING says which axes do"
