"""Defines what a model is trained to do, which decides its head and its loss."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple, Self

from strategies.choice import Choice, InvalidChoiceError


class TaskFacts(NamedTuple):
    """Says how transformers names the classes of models for a task, and what PEFT does for it.

    Attributes:
        suffixes: Endings of their names.
        peft: PEFT's `task_type` if that makes it train the head beside adapters; None if it does not.
    """

    suffixes: tuple[str, ...]
    peft: str | None = None


_WITH_REFERENCE: Final = (
    "--task causal-lm comes near: a pair is two samples of it, and full fine-tuning keeps the reference model besides, "
    "2 bytes a parameter in bf16; under LoRA that is the base itself"
)
_WITHOUT_REFERENCE: Final = "--task causal-lm comes near: a pair is two samples of it, and there is no reference model"
_GENERATES: Final = (
    "--task causal-lm plans the half of its step that trains, a completion a sample; add what generates (vLLM's share "
    "of the GPU, or keys and values), and under full fine-tuning the reference model, 2 bytes a parameter in bf16"
)
NOT_PLANNED: Final = {
    **dict.fromkeys(("dpo", "ipo", "kto"), _WITH_REFERENCE),
    **dict.fromkeys(("orpo", "cpo", "simpo"), _WITHOUT_REFERENCE),
    **dict.fromkeys(("grpo", "ppo", "rloo", "dapo", "gspo", "rlhf", "rl"), _GENERATES),
    "reward": "--task sequence-classification comes near, for encoders: a pair is two samples",
}
"""What people train for that is not planned, and what comes near."""


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
    def spellings(cls) -> Mapping[str, str]:
        """Returns what training libraries and the Hub call tasks."""
        return {
            **dict.fromkeys(("sft", "clm", "lm", "text-generation", "pretraining", "pt"), "causal-lm"),
            **dict.fromkeys(("chat", "instruct", "instruction-tuning"), "causal-lm"),
            **dict.fromkeys(("seq2seq", "translation", "summarization", "text2text-generation"), "seq2seq-lm"),
            **dict.fromkeys(("classification", "text-classification", "cls"), "sequence-classification"),
            **dict.fromkeys(("mlm", "fill-mask"), "masked-lm"),
            **dict.fromkeys(("embedding", "embeddings", "sentence-similarity", "feature-extraction"), "contrastive"),
        }

    @classmethod
    def parse(cls, text: str) -> Self:
        """Returns the task of a name; what is not planned is refused with what comes near."""
        try:
            return super().parse(text)
        except InvalidChoiceError as error:
            near = NOT_PLANNED.get(text.strip().casefold()) if isinstance(text, str) else None
            if near is None:
                raise
            error.reword(f"{text} is not planned", near)
            raise

    @classmethod
    def of_class(cls, name: str) -> Task | None:
        """Returns the task of a class of transformers, by its name; None if it is of no task here."""
        return next((task for task in cls if name.endswith(task.facts.suffixes)), None)
