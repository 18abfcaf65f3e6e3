"""What people call tasks, and what is said of those that are not planned."""

import pytest

from strategies import InvalidChoiceError, Task


@pytest.mark.parametrize(
    ("text", "task"),
    [
        ("sft", Task.CAUSAL_LM),
        ("CLM", Task.CAUSAL_LM),
        ("text_classification", Task.SEQUENCE_CLASSIFICATION),
        ("fill-mask", Task.MASKED_LM),
        ("sentence-similarity", Task.CONTRASTIVE),
        ("summarization", Task.SEQ2SEQ_LM),
    ],
)
def test_the_names_of_libraries_and_of_the_hub_are_tasks(text: str, task: Task) -> None:
    assert Task.parse(text) is task


@pytest.mark.parametrize(
    ("text", "near"),
    [
        (
            "dpo",
            "--task causal-lm comes near: a pair is two samples of it, and full fine-tuning keeps the reference model",
        ),
        ("KTO", "--task causal-lm comes near"),
        ("orpo", "there is no reference model"),
        ("grpo", "the half of its step that trains"),
        ("reward", "--task sequence-classification comes near"),
    ],
)
def test_what_is_not_planned_comes_with_what_is_near(text: str, near: str) -> None:
    with pytest.raises(InvalidChoiceError) as caught:
        Task.parse(text)
    assert caught.value.message == f"{text} is not planned"
    assert near in str(caught.value.hint)


@pytest.mark.parametrize("text", ["dpoo", "", None, 3])
def test_other_names_are_unknown(text: object) -> None:
    with pytest.raises(InvalidChoiceError, match="unknown task"):
        Task.parse(text)  # type: ignore[arg-type]
