"""Reads a model's parameters off its forward pass, which runs on numbers of columns alone."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from math import prod

from planner.models.reading.mixtures import MixtureReader
from planner.models.reading.parameters import Heads, Linear, Parameters, ParameterTensor
from planner.models.reading.widths import Widths
from planner.models.vocabulary.forms import (
    LayerNormForm,
    NormOrder,
    OwnAttention,
    RopeCasts,
    RopeForm,
)


class Reader(Widths, MixtureReader):
    """Implements `Forward` on numbers of columns: a tensor is its width.

    Each operation records its parameters, in order, and returns the width of its result.

    Attributes:
        tensors: Parameters recorded so far.
        layers: Layers, stacks and routers among them that LoRA can adapt.
        heads: Summary of the attention recorded so far.
    """

    def __init__(self) -> None:
        self.tensors: list[ParameterTensor] = []
        self.layers: list[Linear] = []
        self.heads = Heads()

    def parameters(self) -> Parameters:
        """Returns the parameters recorded so far."""
        return Parameters(tuple(self.tensors), tuple(self.layers))

    def linear(
        self,
        name: str,
        x: int,
        out_features: int,
        *,
        bias: bool = False,
        adapts: bool = True,
        written_out: bool = False,
        kept: bool = False,
        in_head: bool = False,
    ) -> int:
        """Records weight and bias once, however often the layer is called."""
        layer = Linear(
            name,
            x,
            out_features,
            bias,
            quantizes=not kept,
            only_apart=not adapts,
            written_out=written_out,
            in_head=in_head,
        )
        if any(tensor.layer == layer for tensor in self.tensors):  # called before
            return out_features
        self.layers.append(layer)
        self.tensors.append(ParameterTensor(f"{name}.weight", (out_features, x), layer, is_head=in_head))
        if bias:
            self.tensors.append(ParameterTensor(f"{name}.bias", (out_features,), layer, is_head=in_head))
        return out_features

    def embedding(
        self,
        name: str,
        num_embeddings: int,
        width: int,
        *,
        scaled: bool = False,
        again: bool = False,
        tied: bool = False,
        read: bool = False,
    ) -> int:
        """Records the table, unless an earlier part has it."""
        if not again:
            shape = (num_embeddings, width)
            self.tensors.append(ParameterTensor(f"{name}.weight", shape, is_embedding=True, is_table=True))
        return width

    def positions(self, name: str, num_embeddings: int, width: int, *, per_sample: bool = False) -> int:
        """Records the table."""
        self.tensors.append(ParameterTensor(f"{name}.weight", (num_embeddings, width), is_embedding=True))
        return width

    def image(
        self, name: str, image_size: tuple[int, int], patch_size: tuple[int, int], channels: int, width: int
    ) -> int:
        """Records the class token, learned positions, and weight and bias of the convolution."""
        rows = 1 + prod(size // patch for size, patch in zip(image_size, patch_size, strict=True))
        shapes = {"cls_token": (1, 1, width), "position_embeddings": (1, rows, width)}
        self.tensors += [ParameterTensor(name, shape) for name, shape in shapes.items()]
        self.tensors.append(ParameterTensor(f"{name}.weight", (width, channels, *patch_size)))
        self.tensors.append(ParameterTensor(f"{name}.bias", (width,)))
        return width

    def rms_norm(self, name: str, x: int, *, width: int | None = None, order: NormOrder = "cast_then_scale") -> int:
        """Records the weight, if there is one."""
        if order != "unscaled":
            self.tensors.append(ParameterTensor(f"{name}.weight", (width or x,)))
        return x

    def layer_norm(
        self,
        name: str,
        x: int,
        *,
        width: int | None = None,
        bias: bool = True,
        affine: bool = True,
        form: LayerNormForm = "fused",
    ) -> int:
        """Records weight and bias, as far as the form has them."""
        if form == "written_out":
            shape = (x // width, width) if width else (x,)
            self.tensors.append(ParameterTensor(f"{name}.weight", shape))
        elif affine:
            self.tensors.append(ParameterTensor(f"{name}.weight", (width or x,)))
            if bias:
                self.tensors.append(ParameterTensor(f"{name}.bias", (width or x,)))
        return x

    def rotate(
        self,
        x: int,
        *,
        head_dim: int,
        rotary_dim: int | None = None,
        joins: bool = False,
        casts: RopeCasts = "none",
        tokens_first: bool = False,
        form: RopeForm = "halves",
    ) -> int:
        """Records nothing."""
        return x

    def attention(
        self,
        query: int,
        key: int,
        value: int,
        *,
        heads: int,
        kv_heads: int,
        dropout: float = 0.0,
        upcast: bool = True,
        capped: bool = False,
        window: int | None = None,
        fp32: bool = False,
        causal: bool = True,
        downcast: bool = True,
        bias: int | None = None,
    ) -> int:
        """Records the heads; returns the width of all heads' values."""
        self._note(query, heads, kv_heads, dropout, own=False)
        return value // kv_heads * heads

    def _note(self, query: int, heads: int, kv_heads: int, dropout: float, *, own: bool) -> None:
        before = self.heads
        self.heads = Heads(
            before.grouped or kv_heads < heads,
            max(before.width, query // heads),
            max(before.dropout, dropout),
            before.own or own,
        )

    def rotate_halves(self, x: int, *, head_dim: int) -> int:
        """Records nothing."""
        return x

    def own_attention(
        self,
        form: OwnAttention,
        query: int,
        key: int,
        value: int,
        *,
        heads: int,
        kv_heads: int,
        dropout: float = 0.0,
        name: str = "",
    ) -> int:
        """Records the heads, and the sinks where there are any."""
        if form == "sinks":
            self.tensors.append(ParameterTensor(name, (heads,)))
        self._note(query, heads, kv_heads, dropout, own=True)
        return query

    def relative_bias(self, name: str, num_buckets: int, heads: int) -> int:
        """Records the table; returns the number of heads."""
        self.tensors.append(ParameterTensor(f"{name}.weight", (num_buckets, heads), is_embedding=True))
        return heads

    def unused(self, name: str, size: int) -> None:
        """Records the vector."""
        self.tensors.append(ParameterTensor(name, (size,)))

    def unread(self, name: str, x: int, out_features: int) -> None:
        """Records weight and bias."""
        layer = Linear(name, x, out_features, True, is_unread=True)
        self.layers.append(layer)
        self.tensors.append(ParameterTensor(f"{name}.weight", (out_features, x), layer))
        self.tensors.append(ParameterTensor(f"{name}.bias", (out_features,), layer))

    def module(self, name: str) -> AbstractContextManager[None]:
        """Returns a context that changes nothing: parameters have their whole names."""
        return nullcontext()

    def lm_head(
        self,
        name: str,
        x: int,
        vocab_size: int,
        *,
        tied_to: str | None,
        scaled: bool = False,
        bias: bool = False,
        keeps: bool = True,
    ) -> int:
        """Records the bias, and the weight unless it is tied; returns the size of the vocabulary."""
        if tied_to is None:
            self.tensors.append(ParameterTensor(f"{name}.weight", (vocab_size, x), is_head=True))
        if bias:
            self.tensors.append(ParameterTensor(f"{name}.bias", (vocab_size,), is_head=True))
        return vocab_size
