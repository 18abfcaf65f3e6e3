"""Describes T5, T5 v1.1 and Flan-T5.

Source: transformers/models/t5/modeling_t5.py.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Annotated, Any, ClassVar

from pydantic import AliasChoices, Field, model_validator

from planner.models.architecture import INT64, Layers, Objective, Positions, Probability, Size
from planner.models.headed import Headed
from planner.models.vocabulary.forward import Forward, T

BRIDGE = "bridge"
"""The kind of the part between the two stacks: the encoder's final norm, and the embedding of the decoder's tokens."""


def _named(hugging_face: str, own: str) -> AliasChoices:
    return AliasChoices(hugging_face, own)


class T5(Headed):
    """Describes an encoder and a decoder with relative position biases, RMSNorm and unscaled attention."""

    classes: ClassVar[tuple[str, ...]] = ("T5ForConditionalGeneration",)
    positions: ClassVar[Positions] = "relative"
    supports_flash: ClassVar[bool] = False
    num_masks: ClassVar[int] = 0
    head_is_unit: ClassVar[bool] = False
    positional: ClassVar[frozenset[str]] = frozenset(
        {"encoder output", "encoder position bias", "decoder position bias", "mask"}
    )
    positional_leaves: ClassVar[frozenset[str]] = frozenset({"cross position bias"})
    embedding_name: ClassVar[str] = "shared"

    architectures: tuple[str, ...] = ("T5ForConditionalGeneration",)
    hidden_size: Size = Field(validation_alias=_named("d_model", "hidden_size"))
    num_hidden_layers: Layers = Field(validation_alias=_named("num_layers", "num_hidden_layers"))
    num_attention_heads: Size = Field(validation_alias=_named("num_heads", "num_attention_heads"))
    num_decoder_layers: Layers | None = None
    d_kv: Size = 64
    d_ff: Size
    vocab_size: Size
    relative_attention_num_buckets: Size = 32
    dropout_rate: Probability = 0.1
    feed_forward_proj: Annotated[str, Field(pattern=r"^(gated-)?\w+$")] = "relu"
    n_positions: Size = 512
    tie_word_embeddings: bool = True

    @model_validator(mode="before")
    @classmethod
    def _tied(cls, fields: Any) -> Any:
        """Reads whether the head is tied: T5Config saves that every head is, and the given value in another field."""
        if isinstance(fields, Mapping) and isinstance(fields.get("scale_decoder_outputs"), bool):
            return {**fields, "tie_word_embeddings": fields["scale_decoder_outputs"]}
        return fields

    @property
    def objective(self) -> Objective:
        return "each_token"

    @property
    def num_positions(self) -> int:
        return self.n_positions

    @property
    def embeds_again(self) -> int:
        return self.num_hidden_layers

    def batch_bytes(self, sequence_length: int, target_length: int) -> int:
        """Returns the bytes of one sample's int64 inputs.

        Ids and labels of one length are one tensor in the replay's batch; the decoder's shifted ids are another.
        """
        labels = target_length if target_length != sequence_length else 0
        return (sequence_length + labels + target_length) * INT64

    def layer_kinds(self) -> tuple[Hashable, ...]:
        encoder, decoder = self.num_hidden_layers, self.num_decoder_layers or self.num_hidden_layers
        return (*_stack("encoder", encoder), BRIDGE, *_stack("decoder", decoder))

    def is_block(self, kind: Hashable) -> bool:
        return kind != BRIDGE

    def reads_target(self, kind: Hashable) -> bool:
        return isinstance(kind, tuple) and kind[0] == "decoder"

    def stem(self, f: Forward[T]) -> T:
        x = f.embedding("shared", self.vocab_size, self.hidden_size)
        f.keep_in_body(x)
        return f.dropout(x, self.dropout_rate)

    def block(self, f: Forward[T], x: T, kind: Hashable) -> T:
        if kind == BRIDGE:
            return self.bridge(f, x)
        assert isinstance(kind, tuple)
        stack, first, last = kind
        x = f.clamp_fp16(self.self_attention(f, x, stack, first, last))
        if stack == "decoder":
            x = f.clamp_fp16(self.cross_attention(f, x, first, last))
        return f.clamp_fp16(self.feed_forward(f, x, "2" if stack == "decoder" else "1"))

    def bridge(self, f: Forward[T], x: T) -> T:
        """Computes the decoder's first input, after the end of the encoder, whose output it shares."""
        x = f.rms_norm("encoder.final_layer_norm", x, order="t5")
        x = f.dropout(x, self.dropout_rate)
        f.leave_body()
        f.keep(x)
        f.share("encoder output", x, returned=True)
        x = f.embedding("shared", self.vocab_size, self.hidden_size, again=True, tied=self.tie_word_embeddings)
        f.keep_in_body(x)
        f.make_mask(x)
        return f.dropout(x, self.dropout_rate)

    def self_attention(self, f: Forward[T], x: T, stack: str, first: bool, last: bool) -> T:
        """Computes the self-attention sublayer, its norm and residual included."""
        normed = f.rms_norm("layer.0.layer_norm", x, order="t5")
        name = "layer.0.SelfAttention"
        query, key, value = self.projections(f, name, normed, normed)
        if first:
            table = f"{name}.relative_attention_bias"
            bias = f.relative_bias(table, self.relative_attention_num_buckets, self.num_attention_heads)
            f.share(f"{stack} position bias", bias, gathers=not last)
        else:
            bias = f.shared(f"{stack} position bias", self.num_attention_heads, last=last)
        x_ = self.attend(f, name, query, key, value, bias, causal=stack == "decoder")
        return f.add(x, f.dropout(x_, self.dropout_rate))

    def cross_attention(self, f: Forward[T], x: T, first: bool, last: bool) -> T:
        """Computes the attention sublayer over the encoder's output, its norm and residual included."""
        normed = f.rms_norm("layer.1.layer_norm", x, order="t5")
        name = "layer.1.EncDecAttention"
        query, key, value = self.projections(f, name, normed, f.shared("encoder output", self.hidden_size, last=last))
        if first:
            bias = f.zero_bias(query, key, self.num_attention_heads)
            f.share("cross position bias", bias, gathers=not last)
        else:
            bias = f.shared("cross position bias", self.num_attention_heads, last=last)
        x_ = self.attend(f, name, query, key, value, bias, causal=False)
        return f.add(x, f.dropout(x_, self.dropout_rate))

    def projections(self, f: Forward[T], name: str, x: T, states: T) -> tuple[T, T, T]:
        """Projects `x` to queries, and `states` to keys and values."""
        inner = self.num_attention_heads * self.d_kv
        query = f.linear(f"{name}.q", x, inner)
        return query, f.linear(f"{name}.k", states, inner), f.linear(f"{name}.v", states, inner)

    def attend(self, f: Forward[T], name: str, query: T, key: T, value: T, bias: T, *, causal: bool) -> T:
        """Computes attention with a position bias, and projects its output."""
        heads = self.num_attention_heads
        x = f.attention(
            query,
            key,
            value,
            heads=heads,
            kv_heads=heads,
            dropout=self.dropout_rate,
            upcast=False,
            downcast=False,
            causal=causal,
            bias=bias,
        )
        return f.linear(f"{name}.o", x, self.hidden_size)

    def feed_forward(self, f: Forward[T], x: T, number: str) -> T:
        """Computes the feed-forward sublayer, its norm and residual included."""
        name = f"layer.{number}.DenseReluDense"
        normed = f.rms_norm(f"layer.{number}.layer_norm", x, order="t5")
        gated, _, activation = self.feed_forward_proj.rpartition("-")
        if gated:
            activation = "gelu_new" if activation == "gelu" else activation
            gelu = f.activation(activation, f.linear(f"{name}.wi_0", normed, self.d_ff))
            linear = f.linear(f"{name}.wi_1", normed, self.d_ff)
            hidden = f.mul(gelu, linear)
        else:
            hidden = f.activation(activation, f.linear(f"{name}.wi", normed, self.d_ff))
        hidden = f.dropout(hidden, self.dropout_rate)
        hidden = f.to_kept(hidden)
        hidden = f.linear(f"{name}.wo", hidden, self.hidden_size, kept=True)
        return f.add(x, f.dropout(hidden, self.dropout_rate))

    def head(self, f: Forward[T], x: T) -> T:
        x = f.rms_norm("decoder.final_layer_norm", x, order="t5")
        x = f.dropout(x, self.dropout_rate)
        f.keep(x)
        if self.tie_word_embeddings:  # T5Config, `scale_decoder_outputs`
            x = f.times(x)
            f.keep(x)
        return f.lm_head("lm_head", x, self.vocab_size, tied_to=self.tied_to, keeps=False)


def _stack(name: str, layers: int) -> tuple[Hashable, ...]:
    """Returns the kinds of a stack's layers: (name, whether it is the first, whether it is the last).

    The first block makes the position biases; in the last one, backward begins to gather gradients of what the stack
    shares.
    """
    return tuple((name, i == 0, i == layers - 1) for i in range(layers))


Architecture = T5
