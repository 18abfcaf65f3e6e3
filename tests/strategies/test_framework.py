"""The framework that wraps the model is transformers' Trainer, and no other one."""

from __future__ import annotations

from strategies import AXES, Framework


def test_the_only_framework_is_transformers() -> None:
    assert list(Framework) == ["transformers"]
    assert AXES["framework"].to_options(Framework.TRANSFORMERS) == {"framework": Framework.TRANSFORMERS}
