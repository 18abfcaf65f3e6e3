"""Describes Mistral 7B, Nemo and Small.

Source: transformers/models/mistral/modeling_mistral.py.
"""

from __future__ import annotations

from planner.models.decoder import Size
from planner.models.families.llama import Ignored, Llama


class Mistral(Llama):
    """Extends Llama: the sliding window needs a mask once the sequence fills it."""

    num_key_value_heads: Size | None = 8
    sliding_window: Size | None = 4096
    attention_bias: Ignored = False
    mlp_bias: Ignored = False


Architecture = Mistral
