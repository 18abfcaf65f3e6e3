"""Describes DistilBERT.

Source: transformers/models/distilbert/modeling_distilbert.py.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any, ClassVar

from pydantic import AliasChoices, Field

from planner.models.architecture import Layers, Probability, Size
from planner.models.families.bert import Bert
from planner.models.vocabulary.forward import Forward, T


def _named(hugging_face: str, own: str) -> AliasChoices:
    return AliasChoices(hugging_face, own)


class DistilBert(Bert):
    """Extends BERT: no token types, no dropout after attention, other names and other heads."""

    classes: ClassVar[tuple[str, ...]] = (
        "DistilBertForSequenceClassification",
        "DistilBertForMaskedLM",
        "DistilBertModel",
    )

    architectures: tuple[str, ...] = ("DistilBertForSequenceClassification",)
    hidden_size: Size = Field(validation_alias=_named("dim", "hidden_size"))
    num_hidden_layers: Layers = Field(validation_alias=_named("n_layers", "num_hidden_layers"))
    num_attention_heads: Size = Field(validation_alias=_named("n_heads", "num_attention_heads"))
    intermediate_size: Size = Field(validation_alias=_named("hidden_dim", "intermediate_size"))
    hidden_act: str = Field("gelu", validation_alias=_named("activation", "hidden_act"))
    hidden_dropout_prob: Probability = Field(0.1, validation_alias=_named("dropout", "hidden_dropout_prob"))
    attention_probs_dropout_prob: Probability = Field(
        0.1, validation_alias=_named("attention_dropout", "attention_probs_dropout_prob")
    )
    classifier_dropout: Probability | None = Field(
        0.2, validation_alias=_named("seq_classif_dropout", "classifier_dropout")
    )

    @classmethod
    def describes(cls, fields: Mapping[str, Any]) -> bool:
        """Returns whether positions are trained; those made of sines are frozen, and such a model is replayed."""
        return not fields.get("sinusoidal_pos_embds")

    def stem(self, f: Forward[T]) -> T:
        words = f.embedding(self.embedding_name, self.vocab_size, self.hidden_size)
        x = f.add(words, self.position_embeddings(f))
        x = f.layer_norm("embeddings.LayerNorm", x)
        x = f.dropout(x, self.hidden_dropout_prob)
        f.embeds(x)
        return x

    def block(self, f: Forward[T], x: T, kind: Hashable) -> T:
        attention = f.layer_norm("sa_layer_norm", f.add(self.attention(f, x), x))
        hidden = f.linear("ffn.lin1", attention, self.intermediate_size, bias=True)
        hidden = f.activation(self.hidden_act, hidden)
        hidden = f.linear("ffn.lin2", hidden, self.hidden_size, bias=True)
        hidden = f.dropout(hidden, self.hidden_dropout_prob)
        return f.layer_norm("output_layer_norm", f.add(hidden, attention))

    def attention(self, f: Forward[T], x: T) -> T:
        heads, dropout = self.num_attention_heads, self.attention_probs_dropout_prob
        query, key, value = (
            f.linear(f"attention.{name}", x, self.hidden_size, bias=True) for name in ("q_lin", "k_lin", "v_lin")
        )
        x = f.attention(
            query,
            key,
            value,
            heads=heads,
            kv_heads=heads,
            dropout=dropout,
            upcast=False,
            downcast=False,
            causal=False,
        )
        return f.linear("attention.out_lin", x, self.hidden_size, bias=True)

    def sentence_embedding(self, f: Forward[T], x: T) -> T:
        return f.pooled(x, self.pooling_mode)

    def predictions(self, f: Forward[T], x: T) -> T:
        x = f.linear("vocab_transform", x, self.hidden_size, bias=True)
        x = f.activation(self.hidden_act, x)
        x = f.layer_norm("vocab_layer_norm", x)
        return f.lm_head("vocab_projector", x, self.vocab_size, tied_to=self.tied_to, bias=True, keeps=False)

    def classifier(self, f: Forward[T], x: T) -> T:
        x = f.linear("pre_classifier", f.first_token(x), self.hidden_size, bias=True, in_head=True)
        x = self.drop_before_classifier(f, f.activation("relu", x))
        return f.linear("classifier", x, self.num_labels, bias=True, in_head=True)


Architecture = DistilBert
