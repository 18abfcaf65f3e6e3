"""Describes RoBERTa.

Source: transformers/models/roberta/modeling_roberta.py.
"""

from __future__ import annotations

from typing import ClassVar

from planner.models.families.bert import Bert
from planner.models.vocabulary.forward import Forward, T


class Roberta(Bert):
    """Extends BERT: positions skip padding, and the heads differ."""

    classes: ClassVar[tuple[str, ...]] = (
        "RobertaForSequenceClassification",
        "RobertaForTokenClassification",
        "RobertaForMaskedLM",
        "RobertaModel",
    )

    architectures: tuple[str, ...] = ("RobertaForSequenceClassification",)
    pad_token_id: int = 1

    @property
    def num_positions(self) -> int:
        """Returns the longest sequence in tokens.

        Positions begin after that of the padding token (`create_position_ids_from_input_ids`).
        """
        return self.max_position_embeddings - self.pad_token_id - 1

    def position_embeddings(self, f: Forward[T]) -> T:
        name = "embeddings.position_embeddings"
        return f.positions(name, self.max_position_embeddings, self.hidden_size, per_sample=True)

    def predictions(self, f: Forward[T], x: T) -> T:
        self.own_bias(f)
        x = f.linear("lm_head.dense", x, self.hidden_size, bias=True)
        x = f.activation("gelu", x)
        x = f.layer_norm("lm_head.layer_norm", x)
        return f.lm_head("lm_head.decoder", x, self.vocab_size, tied_to=self.tied_to, bias=True, keeps=False)

    def classifier(self, f: Forward[T], x: T) -> T:
        x = self.drop_before_classifier(f, f.first_token(x))
        x = f.activation("tanh", f.linear("classifier.dense", x, self.hidden_size, bias=True, in_head=True))
        x = self.drop_before_classifier(f, x)
        return f.linear("classifier.out_proj", x, self.num_labels, bias=True, in_head=True)


Architecture = Roberta
