"""Defines the base class of decoder-only language models."""

from typing import Any, ClassVar, Self

from pydantic import AliasChoices, AliasPath, Field, model_validator

from planner.models.architecture import Architecture, Layers, Probability, Share, Size

__all__ = ["Decoder", "Layers", "Probability", "Share", "Size", "partial_rotary_factor"]


def partial_rotary_factor(default: float) -> Any:
    """Returns the field of that name, which a config.json has at the top level or in `rope_parameters`.

    Args:
        default: Share of each head that is rotated where the file does not say.
    """
    path = AliasPath("rope_parameters", "partial_rotary_factor")
    return Field(default, validation_alias=AliasChoices("partial_rotary_factor", path))


class Decoder(Architecture):
    """Describes a causal language model, which predicts each token from those before it."""

    classes: ClassVar[tuple[str, ...]] = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")

    vocab_size: Size
    max_position_embeddings: Size

    @model_validator(mode="after")
    def _heads_divide(self) -> Self:
        heads, kv_heads = self.num_attention_heads, getattr(self, "num_key_value_heads", None)
        if kv_heads and heads % kv_heads:
            raise ValueError(f"num_attention_heads ({heads}) is not a multiple of num_key_value_heads ({kv_heads})")
        if not getattr(self, "head_dim", None) and self.hidden_size % heads:
            raise ValueError(f"hidden_size ({self.hidden_size}) is not a multiple of num_attention_heads ({heads})")
        return self
