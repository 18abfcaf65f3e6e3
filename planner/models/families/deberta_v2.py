"""Describes DeBERTa-v3, which transformers runs with eager attention alone.

Every block projects the same table of distances with the weights of its queries and keys, and all hidden states are
kept until the encoder returns. Source: transformers/models/deberta_v2/modeling_deberta_v2.py.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from functools import partial
from typing import Any, ClassVar, Literal, NamedTuple

from pydantic import model_validator

from planner.models.architecture import Probability, Size
from planner.models.families.bert import Bert
from planner.models.vocabulary.forward import Forward, T

V3: dict[str, tuple[Any, ...]] = {
    "relative_attention": (True,),
    "position_biased_input": (False,),
    "share_att_key": (True,),
    "norm_rel_ebd": ("layer_norm",),
    "pos_att_type": ("p2c|c2p", "c2p|p2c", ["p2c", "c2p"], ["c2p", "p2c"]),
}
"""Values that the files of all releases of version 3 have; transformers' defaults differ."""


class Place(NamedTuple):
    """Tells the first and the last block from the others.

    The first block's input is no output of another block. In the last block, backward begins to gather the gradients of
    the table of distances.
    """

    first: bool
    last: bool


class DebertaV2(Bert):
    """Extends BERT: attention scores are computed separately for contents and for distances."""

    classes: ClassVar[tuple[str, ...]] = (
        "DebertaV2ForSequenceClassification",
        "DebertaV2ForTokenClassification",
        "DebertaV2ForMaskedLM",
        "DebertaV2Model",
    )
    positions: ClassVar[Literal["rotary", "learned", "relative"]] = "relative"
    supports_sdpa: ClassVar[bool] = False
    supports_flash: ClassVar[bool] = False
    supports_flex: ClassVar[bool] = False
    positional: ClassVar[frozenset[str]] = frozenset({"pair mask"})
    shares_computed: ClassVar[bool] = True
    """True: the normalized embeddings of distances (modeling_deberta_v2.py, `rel_embeddings=`)."""

    architectures: tuple[str, ...] = ("DebertaV2ForSequenceClassification",)
    type_vocab_size: Literal[0] = 0
    position_buckets: Size
    relative_attention: Literal[True]
    position_biased_input: Literal[False]
    share_att_key: Literal[True]
    norm_rel_ebd: Literal["layer_norm"]
    pos_att_type: tuple[Literal["p2c", "c2p"], Literal["p2c", "c2p"]]
    pooler_dropout: Probability = 0.0
    pooler_hidden_act: str = "gelu"
    cls_dropout: Probability | None = None

    @classmethod
    def describes(cls, fields: Mapping[str, Any]) -> bool:
        """Returns whether a file is of version 3, with all sizes equal to `hidden_size`.

        Version 2's convolution and the head of `legacy: false` are not described.
        """
        width = fields.get("hidden_size")
        sizes = (fields.get(name, width) for name in ("embedding_size", "pooler_hidden_size"))
        others = fields.get("conv_kernel_size") or "attention_head_size" in fields or fields.get("type_vocab_size")
        plain = fields.get("legacy", True) and not others and all(size == width for size in sizes)
        return bool(plain) and all(fields.get(name) in said for name, said in V3.items())

    @model_validator(mode="before")
    @classmethod
    def _split(cls, fields: Any) -> Any:
        """Splits the kinds of position attention, which releases spell as one word."""
        if isinstance(fields, Mapping) and isinstance(kinds := fields.get("pos_att_type"), str):
            return {**fields, "pos_att_type": tuple(kinds.split("|"))}
        return fields

    def layer_kinds(self) -> tuple[Hashable, ...]:
        last = self.num_hidden_layers - 1
        return tuple(Place(i == 0, i == last) for i in range(last + 1))

    def stem(self, f: Forward[T]) -> T:
        mask = f.padding_mask()
        x = self.embeddings(f, mask)
        f.share("pair mask", f.pair_mask(mask))
        f.share("distances", f.distances())
        table = f.table("encoder.rel_embeddings", 2 * self.position_buckets, self.hidden_size)
        table = f.once(lambda weight: f.layer_norm("encoder.LayerNorm", weight), table)
        f.keep_in_body(table)
        f.share("distance embeddings", table)
        return x

    def embeddings(self, f: Forward[T], mask: T) -> T:
        """Computes the first block's input, in which padding is set to zero."""
        words = f.embedding(self.embedding_name, self.vocab_size, self.hidden_size)
        _no_positions = f.times(words)  # zeros in place of positions, kept by a variable
        x = f.layer_norm("embeddings.LayerNorm", words)
        x = f.hide_padding(x, mask)
        return f.dropout(x, self.hidden_dropout_prob)

    def block(self, f: Forward[T], x: T, kind: Hashable) -> T:
        assert isinstance(kind, Place)
        if not kind.first:
            f.keep_in_body(x)
        mask = f.shared("pair mask", 1, last=kind.last)
        attention = self.attention_output(f, x, mask, kind)
        intermediate = f.linear("intermediate.dense", attention, self.intermediate_size, bias=True)
        intermediate = f.activation(self.hidden_act, intermediate)
        return self.output(f, "output", intermediate, attention)

    def attention_output(self, f: Forward[T], x: T, mask: T, kind: Place) -> T:
        """Computes the attention sublayer, its residual and norm included."""
        context = self.disentangled(f, x, mask, kind)
        return self.output(f, "attention.output", context, x)

    def disentangled(self, f: Forward[T], x: T, mask: T, kind: Place) -> T:
        """Computes attention by contents and by distances."""
        heads = self.num_attention_heads
        query, key, value = (self.projected(f, part, x) for part in ("query", "key", "value"))
        scores = f.content_scores(query, key, heads)
        table = f.shared("distance embeddings", self.hidden_size, last=kind.last)
        table = f.once(lambda rows: f.dropout(rows, self.hidden_dropout_prob), table)
        bias = self.position_bias(f, query, key, table)
        scores = f.add(scores, bias)
        mask = f.as_bool(mask)
        scores = f.fill_masked(scores, mask)
        probabilities = f.pair_probabilities(scores)
        probabilities = f.dropout(probabilities, self.attention_probs_dropout_prob)
        return f.weighted(probabilities, value, heads)

    def position_bias(self, f: Forward[T], query: T, key: T, table: T) -> T:
        """Computes the scores by distance, which are added to those by content."""
        position_query = f.repeat_positions(f.once(partial(self.projected, f, "query"), table))
        position_key = f.repeat_positions(f.once(partial(self.projected, f, "key"), table))
        return f.position_scores(query, key, position_query, position_key, self.num_attention_heads)

    def projected(self, f: Forward[T], part: str, x: T) -> T:
        """Projects `x` with the weights of `part` (query, key or value), and lays it out by heads."""
        x = f.linear(f"attention.self.{part}_proj", x, self.hidden_size, bias=True)
        return f.by_heads(x, self.num_attention_heads)

    def sentence_embedding(self, f: Forward[T], x: T) -> T:
        """Computes the embedding of a sentence; the model has no pooler of its own."""
        return f.pooled(x, self.pooling_mode)

    def classifier(self, f: Forward[T], x: T) -> T:
        x = f.dropout(f.first_token(x), self.pooler_dropout)
        x = f.activation(self.pooler_hidden_act, f.linear("pooler.dense", x, self.hidden_size, bias=True))
        x = f.dropout(x, self.hidden_dropout_prob if self.cls_dropout is None else self.cls_dropout)
        return f.linear("classifier", x, self.num_labels, bias=True, in_head=True)

    def token_classifier(self, f: Forward[T], x: T) -> T:
        x = f.dropout(x, self.hidden_dropout_prob)
        f.keep(x)
        return f.linear("classifier", x, self.num_labels, bias=True, in_head=True)


Architecture = DebertaV2
