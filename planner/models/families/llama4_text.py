"""Describes the text part of Llama 4.

Source: transformers/models/llama4/modeling_llama4.py; defaults are those of Llama4TextConfig, which published files
leave out.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Annotated, ClassVar, NamedTuple

from pydantic import BeforeValidator, Field, model_validator

from planner.models.decoder import Size
from planner.models.families.llama import Ignored, Llama
from planner.models.vocabulary.forward import Forward, T

CHUNKED = "chunked_attention"
"""The layer type whose tokens attend only within a chunk of the sequence."""


class Kind(NamedTuple):
    """Says which kind of layer a layer is."""

    has_experts: bool
    """Whether the layer has experts instead of a gated MLP."""
    rotates: bool
    """Whether the layer rotates queries and keys."""
    chunked: bool
    """Whether tokens attend only within their chunk."""


class Llama4Text(Llama):
    """Extends Llama: chunked attention, layers without rotation, and experts that all compute every token."""

    supports_flash: ClassVar[bool] = False
    num_masks: ClassVar[int] = 2
    quantizes_experts: ClassVar[bool] = True
    notes: ClassVar[tuple[str, ...]] = (
        "transformers has every expert of Llama 4 compute every token, chosen or not: activations and time grow with "
        "the number of experts.",
    )
    adapter_notes: ClassVar[tuple[str, ...]] = (
        "PEFT's all-linear fails at Llama 4's router, a linear layer that returns a pair: name the layers instead, "
        "as these plans do.",
    )

    intermediate_size: Size = 8192
    intermediate_size_mlp: Size = 16384
    """Width of the MLP in layers without experts."""
    num_key_value_heads: Size | None = 8
    head_dim: Size | None = 128
    num_local_experts: Size = 16
    num_experts_per_tok: Size = 1
    moe_layers: tuple[int, ...] | None = None
    interleave_moe_layer_step: Size = Field(1, exclude=True)
    use_qk_norm: bool = True
    no_rope_layers: tuple[int, ...] | None = None
    """One number per layer, 0 where it has no rotation."""
    no_rope_layer_interval: Size = Field(4, exclude=True)
    attention_chunk_size: Size | None = 8192
    layer_types: tuple[str, ...] | None = None
    attn_temperature_tuning: Annotated[bool, BeforeValidator(bool)] = True
    """Whether queries of layers without rotation are scaled by position. Published files say 4."""
    mlp_bias: Ignored = False

    @model_validator(mode="after")
    def _kind_of_every_layer(self) -> Llama4Text:
        if self.moe_layers is not None and self.no_rope_layers and self.layer_types is not None:
            return self
        layers, step, interval = self.num_hidden_layers, self.interleave_moe_layer_step, self.no_rope_layer_interval
        rotates = self.no_rope_layers or tuple(int((i + 1) % interval != 0) for i in range(layers))
        chunked, everywhere = self.attention_chunk_size is not None, "full_attention"
        filled = {
            "no_rope_layers": rotates,
            "moe_layers": tuple(range(step - 1, layers, step)) if self.moe_layers is None else self.moe_layers,
            "layer_types": self.layer_types or tuple(CHUNKED if r and chunked else everywhere for r in rotates),
        }
        return self.model_copy(update=filled)

    @property
    def window(self) -> int | None:
        return self.attention_chunk_size if CHUNKED in (self.layer_types or ()) else None

    def layer_kinds(self) -> tuple[Hashable, ...]:
        """Returns the `Kind` of every layer."""
        experts, rotations, types = self.moe_layers or (), self.no_rope_layers or (), self.layer_types or ()
        return tuple(Kind(i in experts, bool(rotations[i]), types[i] == CHUNKED) for i in range(self.num_hidden_layers))

    def stem(self, f: Forward[T]) -> T:
        x = f.embedding("embed_tokens", self.vocab_size, self.hidden_size, read=True)  # input_ids.to(weight.device)
        f.rope_table(x, self.head_width // 2, fp32=True)  # a complex number for each pair of columns
        return x

    def block(self, f: Forward[T], x: T, kind: Hashable) -> T:
        assert isinstance(kind, Kind)
        residual = x
        x = f.rms_norm("input_layernorm", x)
        attended = self.attention_of(f, x, kind)  # `attention_states` lives until the layer returns
        x = f.add(residual, attended)
        residual = x
        x = f.rms_norm("post_attention_layernorm", x)
        x = self.mixture(f, x) if kind.has_experts else self.gated(f, "feed_forward", x, self.intermediate_size_mlp)
        return f.add(residual, x)

    def attention_of(self, f: Forward[T], x: T, kind: Kind) -> T:
        """Computes the attention sublayer of a layer of this kind."""
        query, key, value = self.projections(f, x)
        width = self.head_width
        if kind.rotates:
            query, key = (f.rotate(part, head_dim=width, form="complex") for part in (query, key))
            if self.use_qk_norm:
                query, key = (f.rms_norm("", part, width=width, order="unscaled") for part in (query, key))
        elif self.attn_temperature_tuning:
            query = f.times_positions(query)
        window = self.attention_chunk_size if kind.chunked else None
        heads, kv_heads, dropout = self.num_attention_heads, self.kv_heads, self.attention_dropout
        x = f.attention(query, key, value, heads=heads, kv_heads=kv_heads, dropout=dropout, upcast=False, window=window)
        return f.linear("self_attn.o_proj", x, self.hidden_size, bias=self.attention_bias)

    def mixture(self, f: Forward[T], x: T) -> T:
        """Computes the routed experts and the shared one, and adds them up."""
        experts, top_k = self.num_local_experts, self.num_experts_per_tok
        scores = f.route("feed_forward.router", x, experts, top_k, normalizes=False, form="sigmoid_of_chosen")
        routed = f.spread(x, scores)
        out = f.every_expert("feed_forward.experts", routed, experts, self.intermediate_size, self.hidden_act)
        shared = self.gated(f, "feed_forward.shared_expert", x, self.intermediate_size)
        return f.add_experts(shared, out, experts)

    def gated(self, f: Forward[T], name: str, x: T, width: int) -> T:
        """Computes a gated MLP whose layers' names begin with `name`."""
        gate = f.activation(self.hidden_act, f.linear(f"{name}.gate_proj", x, width))
        gated = f.mul(gate, f.linear(f"{name}.up_proj", x, width))
        return f.linear(f"{name}.down_proj", gated, self.hidden_size)


Architecture = Llama4Text
