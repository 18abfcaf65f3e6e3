"""Defines what a model is trained to do, which decides its head and its loss."""

from __future__ import annotations

from typing import NamedTuple

from strategies.choice import Choice


class TaskFacts(NamedTuple):
    """Says how transformers names the classes of models for a task, and what PEFT does for it.

    Attributes:
        suffixes: Endings of their names.
        peft: PEFT's `task_type` if that makes it train the head beside adapters; None if it does not.
    """

    suffixes: tuple[str, ...]
    peft: str | None = None


class Task(Choice):
    """Says what a model is trained to do."""

    facts: TaskFacts

    CAUSAL_LM = (
        "causal-lm",
        "each token predicts the next one: decoders",
        TaskFacts(("ForCausalLM", "LMHeadModel")),
    )
    SEQ2SEQ_LM = (
        "seq2seq-lm",
        "a decoder predicts the tokens of another text: encoder-decoders",
        TaskFacts(("ForConditionalGeneration",)),
    )
    SEQUENCE_CLASSIFICATION = (
        "sequence-classification",
        "a label for each sequence, with a head of its own: encoders unless asked otherwise",
        TaskFacts(("ForSequenceClassification",), "SEQ_CLS"),
    )
    TOKEN_CLASSIFICATION = (
        "token-classification",
        "a label for each token, such as the names in a text: encoders",
        TaskFacts(("ForTokenClassification",), "TOKEN_CLS"),
    )
    MASKED_LM = (
        "masked-lm",
        "the vocabulary head predicts hidden tokens: how encoders were pretrained",
        TaskFacts(("ForMaskedLM",)),
    )
    IMAGE_CLASSIFICATION = (
        "image-classification",
        "a label for each image",
        TaskFacts(("ForImageClassification",)),
    )

    CONTRASTIVE = (
        "contrastive",
        "pairs of texts, each against all others of the batch: MultipleNegativesRankingLoss of sentence-transformers",
        TaskFacts(("Model",)),
    )

    @classmethod
    def of_class(cls, name: str) -> Task | None:
        """Returns the task of a class of transformers, by its name; None if it is of no task here."""
        return next((task for task in cls if name.endswith(task.facts.suffixes)), None)
