"""Describes XLM-RoBERTa.

Source: transformers/models/xlm_roberta/modeling_xlm_roberta.py.
"""

from __future__ import annotations

from typing import ClassVar

from planner.models.families.roberta import Roberta
from strategies import Task


class XLMRoberta(Roberta):
    """Extends RoBERTa: the vocabulary is larger, and heads are defined before the body."""

    classes: ClassVar[tuple[str, ...]] = (
        "XLMRobertaForSequenceClassification",
        "XLMRobertaForTokenClassification",
        "XLMRobertaForMaskedLM",
        "XLMRobertaModel",
    )

    last_linear: ClassVar[str] = "output.dense"

    architectures: tuple[str, ...] = ("XLMRobertaForSequenceClassification",)

    @property
    def defines_head_first(self) -> bool:
        return self.task is not Task.CONTRASTIVE


Architecture = XLMRoberta
