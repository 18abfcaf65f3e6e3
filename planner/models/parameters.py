"""A model's parameters by names and shapes, and which of them are linear layers."""

from __future__ import annotations

from math import prod
from typing import NamedTuple


class Linear(NamedTuple):
    """A linear layer: `out_features x in_features` weights and a bias of `out_features` or none; or a stack of such
    weights, one for each expert, that PEFT adapts as if it were layers."""

    name: str
    in_features: int
    out_features: int
    bias: bool
    experts: int = 1
    fused: tuple[str, ...] = ()
    """Of a parameter: the layers that it was before they were fused, which is what PEFT's `target_modules` takes."""
    quantizes: bool = True
    """Not if transformers keeps it in fp32 beside fp16 weights (`_keep_in_fp32_modules`)."""

    @property
    def target_names(self) -> tuple[str, ...]:
        """What PEFT's `target_modules` matches: `q_proj` for `self_attn.q_proj`. Of several, all have to be targets."""
        return self.fused or (self.name.rpartition(".")[2],)

    def adapter_rank(self, rank: int) -> int:
        """Over all experts; layers that were fused bring a rank each (peft/utils/transformers_weight_conversion.py)."""
        return rank * self.experts * max(1, len(self.fused))


class ParameterTensor(NamedTuple):
    """One parameter; `layer` is the linear layer that it belongs to, None for embeddings and norms."""

    name: str
    shape: tuple[int, ...]
    layer: Linear | None = None
    is_embedding: bool = False
    is_table: bool = False
    """Of the tokens' embedding."""
    is_head: bool = False
    """Of the language-model head; not that of an embedding which it is tied to."""
    in_fp32: bool = False
    """Stored so whatever the precision (transformers, `_keep_in_fp32_modules_strict`)."""

    @property
    def num_elements(self) -> int:
        return prod(self.shape)

    @property
    def is_bias(self) -> bool:
        return self.name.endswith(".bias")


class Parameters(NamedTuple):
    """The parameters of one part of a model, tied ones where they are first used."""

    tensors: tuple[ParameterTensor, ...]
    linears: tuple[Linear, ...]

    @property
    def num_parameters(self) -> int:
        return sum(t.num_elements for t in self.tensors)


class Heads(NamedTuple):
    """Of attention, the most that any block has."""

    grouped: bool = False
    """Whether several heads of queries share keys and values."""
    width: int = 0
    dropout: float = 0.0
    own: bool = False
    """Whether it is written in a form of the model's own (`Forward.own_attention`)."""
