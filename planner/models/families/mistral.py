"""Mistral 7B, Nemo, Small: Llama's block. A sliding window shorter than the sequence changes attention's FLOPs only.

Source: transformers/models/mistral/modeling_mistral.py.
"""

from planner.models.families.llama import Llama as Architecture

__all__ = ["Architecture"]
