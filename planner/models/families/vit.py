"""Describes ViT.

Source: transformers/models/vit/modeling_vit.py.
"""

from __future__ import annotations

from collections.abc import Hashable
from math import prod
from typing import ClassVar

from planner.models.architecture import INT64, Objective, Probability, Size
from planner.models.headed import Headed
from planner.models.vocabulary.forward import Forward, T

FP32 = 4
"""Bytes per element."""

Sides = Size | tuple[Size, Size]
"""Height and width in pixels, or one number for both."""


def _sides(size: Sides) -> tuple[int, int]:
    return size if isinstance(size, tuple) else (size, size)


class ViT(Headed):
    """Describes a classifier of images: a class token before the patches, and LayerNorm before each sublayer."""

    classes: ClassVar[tuple[str, ...]] = ("ViTForImageClassification",)
    num_masks: ClassVar[int] = 0
    head_is_unit: ClassVar[bool] = False
    embedding_name: ClassVar[str] = "patch_embeddings"

    architectures: tuple[str, ...] = ("ViTForImageClassification",)
    intermediate_size: Size
    hidden_act: str = "gelu"
    hidden_dropout_prob: Probability = 0.0
    attention_probs_dropout_prob: Probability = 0.0
    image_size: Sides = 224
    patch_size: Sides = 16
    num_channels: Size = 3
    qkv_bias: bool = True

    @property
    def objective(self) -> Objective:
        return "each_sample"

    @property
    def tied_to(self) -> None:
        return None

    @property
    def tokens_per_sample(self) -> int:
        sides = zip(_sides(self.image_size), _sides(self.patch_size), strict=True)
        return 1 + prod(size // patch for size, patch in sides)

    def batch_bytes(self, sequence_length: int, target_length: int) -> int:
        """Returns the bytes of one sample: an image in fp32 and its label."""
        return self.num_channels * prod(_sides(self.image_size)) * FP32 + INT64

    def stem(self, f: Forward[T]) -> T:
        sides = _sides(self.image_size), _sides(self.patch_size)
        x = f.image("patch_embeddings.projection", *sides, self.num_channels, self.hidden_size)
        x = f.dropout(x, self.hidden_dropout_prob)
        f.embeds(x)
        return x

    def block(self, f: Forward[T], x: T, kind: Hashable) -> T:
        residual = x
        x = f.layer_norm("layernorm_before", x)
        x = self.attention(f, x)
        x = f.add(f.dropout(x, self.hidden_dropout_prob), residual)
        residual = x
        x = f.layer_norm("layernorm_after", x)
        x = self.mlp(f, x)
        return f.add(f.dropout(x, self.hidden_dropout_prob), residual)

    def attention(self, f: Forward[T], x: T) -> T:
        heads, dropout = self.num_attention_heads, self.attention_probs_dropout_prob
        query, key, value = (
            f.linear(f"attention.{name}", x, self.hidden_size, bias=self.qkv_bias)
            for name in ("q_proj", "k_proj", "v_proj")
        )
        x = f.attention(query, key, value, heads=heads, kv_heads=heads, dropout=dropout, causal=False)
        return f.linear("attention.o_proj", x, self.hidden_size, bias=True)

    def mlp(self, f: Forward[T], x: T) -> T:
        x = f.linear("mlp.fc1", x, self.intermediate_size, bias=True)
        x = f.activation(self.hidden_act, x)
        return f.linear("mlp.fc2", x, self.hidden_size, bias=True)

    def head(self, f: Forward[T], x: T) -> T:
        x = f.layer_norm("layernorm", x)
        f.keep(x)
        return f.linear("classifier", f.first_token(x), self.num_labels, bias=True, in_head=True)


Architecture = ViT
