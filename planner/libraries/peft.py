"""Knows which modules PEFT trains with adapters: PEFT 0.21."""

from __future__ import annotations

from typing import Final

CLASSIFIER_HEADS: Final = ("classifier", "score")
"""Names of a classifier's head, which PEFT copies and trains (peft/utils/constants.py, `SEQ_CLS_HEAD_NAMES`)."""
