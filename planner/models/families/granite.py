"""Describes Granite 3.

Source: transformers/models/granite/modeling_granite.py.
"""

from __future__ import annotations

from planner.models.families.llama import Llama
from planner.models.vocabulary.forward import Forward, T


class Granite(Llama):
    """Extends Llama: embeddings, residual branches and logits are multiplied by numbers."""

    def stem(self, f: Forward[T]) -> T:
        x = f.times(f.embedding("embed_tokens", self.vocab_size, self.hidden_size))
        f.embeds(x)
        f.rope_table(x, self.head_width)
        return x

    def branch(self, f: Forward[T], x: T) -> T:
        return f.times(x)

    def head(self, f: Forward[T], x: T) -> T:
        x = f.rms_norm("norm", x)
        return f.lm_head("lm_head", x, self.vocab_size, tied_to=self.tied_to, scaled=True)


Architecture = Granite
