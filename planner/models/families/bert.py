"""Describes BERT.

Source: transformers/models/bert/modeling_bert.py.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import ClassVar

from planner.models.architecture import INT64, Objective, Positions, Probability, Size
from planner.models.headed import Headed
from planner.models.vocabulary.forward import Forward, T
from planner.models.vocabulary.pooling import PoolingMode
from strategies import Task


class Bert(Headed):
    """Describes an encoder with LayerNorm after each sublayer, and with learned positions and token types."""

    classes: ClassVar[tuple[str, ...]] = (
        "BertForSequenceClassification",
        "BertForTokenClassification",
        "BertForMaskedLM",
        "BertModel",
    )
    positions: ClassVar[Positions] = "learned"
    num_masks: ClassVar[int] = 0
    head_is_unit: ClassVar[bool] = False
    embedding_name: ClassVar[str] = "embeddings.word_embeddings"

    architectures: tuple[str, ...] = ("BertForSequenceClassification",)
    vocab_size: Size
    max_position_embeddings: Size
    type_vocab_size: Size = 2
    intermediate_size: Size
    hidden_act: str = "gelu"
    hidden_dropout_prob: Probability = 0.1
    attention_probs_dropout_prob: Probability = 0.1
    classifier_dropout: Probability | None = None
    pooling_mode: PoolingMode = "mean"
    """How a sentence's embedding is made: in sentence-transformers' own file, and not in config.json."""
    tie_word_embeddings: bool = True

    @property
    def classifies(self) -> bool:
        """Returns whether the training class is a classifier of samples."""
        return self.task is Task.SEQUENCE_CLASSIFICATION

    @property
    def objective(self) -> Objective:
        if self.task is Task.CONTRASTIVE:
            return "each_pair"
        return "each_sample" if self.classifies else "each_token"

    @property
    def tied_to(self) -> str | None:
        return super().tied_to if self.task is Task.MASKED_LM else None

    def batch_bytes(self, sequence_length: int, target_length: int) -> int:
        """Returns the bytes of one sample: int64 ids, and a label, a label for each token, or the ids of a pair."""
        return (sequence_length + (1 if self.classifies else sequence_length)) * INT64

    def stem(self, f: Forward[T]) -> T:
        words = f.embedding(self.embedding_name, self.vocab_size, self.hidden_size)
        types = f.positions("embeddings.token_type_embeddings", self.type_vocab_size, self.hidden_size, per_sample=True)
        x = f.add(words, types)
        positions = self.position_embeddings(f)
        x = f.add(x, positions)
        x = f.layer_norm("embeddings.LayerNorm", x)
        x = f.dropout(x, self.hidden_dropout_prob)
        f.embeds(x)
        return x

    def position_embeddings(self, f: Forward[T]) -> T:
        """Looks up the position embedding."""
        return f.positions("embeddings.position_embeddings", self.max_position_embeddings, self.hidden_size)

    def block(self, f: Forward[T], x: T, kind: Hashable) -> T:
        attention = self.output(f, "attention.output", self.attention(f, x), x)
        intermediate = f.linear("intermediate.dense", attention, self.intermediate_size, bias=True)
        intermediate = f.activation(self.hidden_act, intermediate)
        return self.output(f, "output", intermediate, attention)

    def attention(self, f: Forward[T], x: T) -> T:
        heads, dropout = self.num_attention_heads, self.attention_probs_dropout_prob
        query, key, value = (
            f.linear(f"attention.self.{name}", x, self.hidden_size, bias=True) for name in ("query", "key", "value")
        )
        return f.attention(
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

    def output(self, f: Forward[T], name: str, x: T, residual: T) -> T:
        """Projects `x` and adds the residual, then applies a LayerNorm."""
        x = f.linear(f"{name}.dense", x, self.hidden_size, bias=True)
        x = f.dropout(x, self.hidden_dropout_prob)
        return f.layer_norm(f"{name}.LayerNorm", f.add(x, residual))

    def head(self, f: Forward[T], x: T) -> T:
        f.keep(x)
        if self.task is Task.CONTRASTIVE:
            return self.sentence_embedding(f, x)
        if self.task is Task.TOKEN_CLASSIFICATION:
            return self.token_classifier(f, x)
        return self.classifier(f, x) if self.classifies else self.predictions(f, x)

    def sentence_embedding(self, f: Forward[T], x: T) -> T:
        """Computes the embedding of a sentence, which the model's own pooler has no part in."""
        f.unread("pooler.dense", x, self.hidden_size)
        return f.pooled(x, self.pooling_mode)

    def predictions(self, f: Forward[T], x: T) -> T:
        """Computes logits of all tokens."""
        self.own_bias(f)
        x = f.linear("predictions.transform.dense", x, self.hidden_size, bias=True)
        x = f.activation(self.hidden_act, x)
        x = f.layer_norm("predictions.transform.LayerNorm", x)
        return f.lm_head("predictions.decoder", x, self.vocab_size, tied_to=self.tied_to, bias=True, keeps=False)

    def own_bias(self, f: Forward[T]) -> None:
        """Declares the head's own bias, where it is a parameter of its own.

        It is tied to the bias of the head's linear layer where the weight is tied.
        """
        if not self.tie_word_embeddings:
            f.unused("predictions.bias", self.vocab_size)

    def classifier(self, f: Forward[T], x: T) -> T:
        """Computes logits of a sample from its first token."""
        x = f.linear("pooler.dense", f.first_token(x), self.hidden_size, bias=True)
        x = self.drop_before_classifier(f, f.activation("tanh", x))
        return f.linear("classifier", x, self.num_labels, bias=True, in_head=True)

    def token_classifier(self, f: Forward[T], x: T) -> T:
        """Computes logits of all tokens; `sequence_output` is the dropped variable of the forward."""
        x = self.drop_before_classifier(f, x)
        f.keep(x)
        return f.linear("classifier", x, self.num_labels, bias=True, in_head=True)

    def drop_before_classifier(self, f: Forward[T], x: T) -> T:
        """Applies the classifier's dropout."""
        given = self.classifier_dropout
        return f.dropout(x, self.hidden_dropout_prob if given is None else given)


Architecture = Bert
