"""Reads a model's parameters off its forward pass: names, shapes, which are linear layers."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from functools import cached_property
from math import prod
from typing import NamedTuple

from planner.models.architecture import Architecture
from planner.models.disentangled import DisentangledWidths
from planner.models.forward import (
    ROUTED_IN_FP32,
    LayerNormForm,
    NormOrder,
    OwnAttention,
    RopeCasts,
    RopeForm,
    RouterForm,
    biased_expert_shapes,
)


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


class _Reader(DisentangledWidths):
    """A forward pass on widths alone: a tensor is its number of columns."""

    def __init__(self) -> None:
        self.tensors: list[ParameterTensor] = []
        self.linears: list[Linear] = []
        self.heads = Heads()

    def parameters(self) -> Parameters:
        return Parameters(tuple(self.tensors), tuple(self.linears))

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
    ) -> int:
        layer = Linear(name, x, out_features, bias, quantizes=not kept)
        if any(tensor.layer == layer for tensor in self.tensors):  # called before
            return out_features
        if adapts:
            self.linears.append(layer)
        self.tensors.append(ParameterTensor(f"{name}.weight", (out_features, x), layer))
        if bias:
            self.tensors.append(ParameterTensor(f"{name}.bias", (out_features,), layer))
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
    ) -> int:
        if not again:
            shape = (num_embeddings, width)
            self.tensors.append(ParameterTensor(f"{name}.weight", shape, is_embedding=True, is_table=True))
        return width

    def positions(self, name: str, num_embeddings: int, width: int, *, per_sample: bool = False) -> int:
        self.tensors.append(ParameterTensor(f"{name}.weight", (num_embeddings, width), is_embedding=True))
        return width

    def image(
        self, name: str, image_size: tuple[int, int], patch_size: tuple[int, int], channels: int, width: int
    ) -> int:
        rows = 1 + prod(size // patch for size, patch in zip(image_size, patch_size, strict=True))
        shapes = {"cls_token": (1, 1, width), "position_embeddings": (1, rows, width)}
        self.tensors += [ParameterTensor(name, shape) for name, shape in shapes.items()]
        self.tensors.append(ParameterTensor(f"{name}.weight", (width, channels, *patch_size)))
        self.tensors.append(ParameterTensor(f"{name}.bias", (width,)))
        return width

    def rope_table(self, x: int, head_dim: int, *, fp32: bool = False) -> None:
        pass

    def rms_norm(self, name: str, x: int, *, width: int | None = None, order: NormOrder = "cast_then_scale") -> int:
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
        if form == "sinks":
            self.tensors.append(ParameterTensor(name, (heads,)))
        self._note(query, heads, kv_heads, dropout, own=True)
        return query

    def activation(self, function: str, x: int) -> int:
        return x

    def add(self, a: int, b: int) -> int:
        return a

    mul = add_ = add

    def repeat(self, x: int, columns: int) -> int:
        return columns

    def times(self, x: int) -> int:
        return x

    cap = clamp = times_positions = times

    def dropout(self, x: int, probability: float) -> int:
        return x

    def first_token(self, x: int) -> int:
        return x

    clamp_fp16 = times

    def relative_bias(self, name: str, num_buckets: int, heads: int) -> int:
        self.tensors.append(ParameterTensor(f"{name}.weight", (num_buckets, heads), is_embedding=True))
        return heads

    def zero_bias(self, x: int, heads: int) -> int:
        return heads

    def share(self, name: str, x: int, *, gathers: bool = True, returned: bool = False) -> None:
        pass

    def shared(self, name: str, width: int, *, last: bool) -> int:
        return width

    def unused(self, name: str, size: int) -> None:
        self.tensors.append(ParameterTensor(name, (size,)))

    def keep(self, x: int) -> None:
        pass

    make_mask = keep_in_body = embeds = keep

    def leave_body(self) -> None:
        pass

    def slices(self, x: int, widths: Sequence[int], *, split: bool = False) -> list[int]:
        return list(widths)

    def join(self, parts: Sequence[int], *, heads_first: bool = False) -> int:
        return sum(parts)

    def fill(self, first: int, shared: int, *, heads: int) -> int:
        return first + heads * shared

    def route(
        self,
        name: str,
        x: int,
        num_experts: int,
        top_k: int,
        *,
        normalizes: bool,
        casts: bool = True,
        target: str | None = None,
        form: RouterForm = "softmax",
        limited: bool = False,
    ) -> int:
        in_fp32 = form in ROUTED_IN_FP32
        self.tensors.append(ParameterTensor(f"{name}.weight", (num_experts, x), in_fp32=in_fp32))
        if target:
            self.linears.append(Linear(name, x, num_experts, False, fused=(target,)))
        return top_k

    def experts(
        self,
        name: str,
        x: int,
        scores: int,
        num_experts: int,
        intermediate_size: int,
        activation: str,
        *,
        targets: tuple[str, str, str] | None = None,
    ) -> int:
        self.tensors.append(ParameterTensor(f"{name}.gate_up_proj", (num_experts, 2 * intermediate_size, x)))
        self.tensors.append(ParameterTensor(f"{name}.down_proj", (num_experts, x, intermediate_size)))
        if targets:
            *gate_up, down = targets
            self.linears += [
                Linear(f"{name}.gate_up_proj", x, 2 * intermediate_size, False, num_experts, tuple(gate_up)),
                Linear(f"{name}.down_proj", intermediate_size, x, False, num_experts, (down,)),
            ]
        return x

    def biased_experts(
        self, router: str, name: str, x: int, num_experts: int, top_k: int, intermediate_size: int
    ) -> int:
        shapes = biased_expert_shapes(router, name, x, num_experts, intermediate_size)
        self.tensors += [ParameterTensor(name, shape) for name, shape in shapes.items()]
        return x

    def spread(self, x: int, scores: int) -> int:
        return x

    def every_expert(self, name: str, x: int, num_experts: int, intermediate_size: int, activation: str) -> int:
        self.tensors.append(ParameterTensor(f"{name}.gate_up_proj", (num_experts, x, 2 * intermediate_size)))
        self.tensors.append(ParameterTensor(f"{name}.down_proj", (num_experts, intermediate_size, x)))
        return x

    def add_experts(self, x: int, out: int, num_experts: int) -> int:
        return x

    sigmoid = times

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
        if tied_to is None:
            self.tensors.append(ParameterTensor(f"{name}.weight", (vocab_size, x), is_head=True))
        if bias:
            self.tensors.append(ParameterTensor(f"{name}.bias", (vocab_size,), is_head=True))
        return vocab_size


class Inventory:
    """All parameters of an architecture, part by part."""

    def __init__(self, architecture: Architecture) -> None:
        self.architecture = architecture
        self.layer_kinds = architecture.layer_kinds()

    @cached_property
    def stem(self) -> Parameters:
        reader = _Reader()
        self.architecture.stem(reader)
        return reader.parameters()

    @property
    def token_embedding(self) -> ParameterTensor:
        return next(t for t in self.stem.tensors if t.is_table)

    @cached_property
    def blocks(self) -> dict[Hashable, Parameters]:
        found = {}
        for kind in dict.fromkeys(self.layer_kinds):
            reader = _Reader()
            self.architecture.block(reader, self.architecture.hidden_size, kind)
            found[kind] = reader.parameters()
        return found

    @cached_property
    def heads(self) -> Heads:
        reader = _Reader()
        for kind in dict.fromkeys(self.layer_kinds):
            self.architecture.block(reader, self.architecture.hidden_size, kind)
        return reader.heads

    @property
    def keeps_fp32(self) -> bool:
        """Whether any parameter stays in fp32 whatever the precision."""
        return any(t.in_fp32 for block in self.blocks.values() for t in block.tensors)

    @cached_property
    def head(self) -> Parameters:
        reader = _Reader()
        self.architecture.head(reader, self.architecture.hidden_size)
        return reader.parameters()

    @cached_property
    def num_parameters(self) -> int:
        """Exact, tied weights counted once."""
        blocks = sum(self.blocks[kind].num_parameters for kind in self.layer_kinds)
        return self.stem.num_parameters + blocks + self.head.num_parameters

    @cached_property
    def num_expert_parameters(self) -> int:
        """In stacks of experts' weights: parameters of three dimensions, which are no linear layers."""
        return sum(t.num_elements for kind in self.layer_kinds for t in self.blocks[kind].tensors if len(t.shape) == 3)

    @cached_property
    def target_names(self) -> tuple[str, ...]:
        """Names that LoRA can target: every linear layer but the language-model head, as PEFT's `all-linear`."""
        parts = (self.stem, *self.blocks.values(), self.head)
        return tuple(dict.fromkeys(n for part in parts for w in part.linears for n in w.target_names))
