"""Describes XLM-RoBERTa.

Source: transformers/models/xlm_roberta/modeling_xlm_roberta.py.
"""

from __future__ import annotations

from typing import ClassVar

from planner.models.families.roberta import Roberta


class XLMRoberta(Roberta):
    """Extends RoBERTa: only the vocabulary is larger."""

    classes: ClassVar[tuple[str, ...]] = (
        "XLMRobertaForSequenceClassification",
        "XLMRobertaForTokenClassification",
        "XLMRobertaForMaskedLM",
        "XLMRobertaModel",
    )

    architectures: tuple[str, ...] = ("XLMRobertaForSequenceClassification",)


Architecture = XLMRoberta
