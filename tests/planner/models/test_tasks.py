"""What a model is trained to do: the usual task of each family, another one by name, and what cannot be done."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from planner import PlannerError, estimate
from planner.models import Foreign, find_model, recognize
from planner.models.tasks import TaskError, for_task, task_of, tasks_of
from strategies import Task

CLASSIFIES, TAGS, MASKED = Task.SEQUENCE_CLASSIFICATION, Task.TOKEN_CLASSIFICATION, Task.MASKED_LM


@pytest.mark.parametrize(
    ("name", "task"),
    [
        ("llama-3.2-1b", Task.CAUSAL_LM),
        ("t5-small", Task.SEQ2SEQ_LM),
        ("bert-base", CLASSIFIES),
        ("roberta-base", CLASSIFIES),
        ("xlm-roberta-base", CLASSIFIES),
        ("deberta-v3-xsmall", CLASSIFIES),
        ("modernbert-base", CLASSIFIES),
        ("e5-base", Task.CONTRASTIVE),
        ("bge-m3", Task.CONTRASTIVE),
        ("gte-small", Task.CONTRASTIVE),
        ("vit-base-patch16-224", Task.IMAGE_CLASSIFICATION),
        ("tests.planner.profiles.own_models:two_kinds", None),
    ],
)
def test_every_family_has_a_usual_task(name: str, task: Task | None) -> None:
    assert task_of(recognize(name)) is task


@pytest.mark.parametrize(
    ("task", "parameters"),
    [(CLASSIFIES, 109_483_778), (TAGS, 108_893_186), (MASKED, 109_514_298), (Task.CONTRASTIVE, 109_482_240)],
)
def test_a_task_decides_the_head_and_so_the_parameters(task: Task, parameters: int) -> None:
    assert for_task(find_model("bert-base"), task).num_parameters == parameters
    assert estimate("bert-base", gpu="T4", task=task.value).request.num_parameters == parameters


def test_a_file_that_names_how_an_encoder_was_pretrained_is_a_classifier_unless_asked_otherwise(tmp_path: Path) -> None:
    fields = find_model("bert-base").architecture.config() | {"architectures": ["BertForMaskedLM"]}
    (tmp_path / "config.json").write_text(json.dumps(fields))
    usual, asked = (estimate(str(tmp_path), gpu="T4", task=task) for task in (None, "masked-lm"))
    assert (usual.request.task, asked.request.task) == (CLASSIFIES, MASKED)
    assert any("--task masked-lm plans the head of its vocabulary" in note for note in usual.notes)
    assert not any("--task" in note for note in asked.notes)


def test_a_model_known_by_replays_takes_the_class_of_the_task() -> None:
    model = recognize("modernbert-base")
    assert isinstance(model, Foreign)
    assert tasks_of(model) == (CLASSIFIES, TAGS, MASKED)
    other = for_task(model, MASKED)
    assert isinstance(other, Foreign)
    assert (other.fields["architectures"], other.num_parameters) == (["ModernBertForMaskedLM"], None)
    assert for_task(other, MASKED) is other


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("gpt2", "task is masked-lm, but gpt2 is planned for causal-lm alone"),
        ("olmo-3-7b", "is planned for causal-lm alone"),
        ("vit-base-patch16-224", "is planned for image-classification alone"),
        ("tests.planner.profiles.own_models:two_kinds", "the code of .* decides that"),
    ],
)
def test_a_task_that_a_model_cannot_be_planned_for_is_refused_with_the_reason(name: str, reason: str) -> None:
    with pytest.raises(TaskError, match=reason):
        for_task(recognize(name), MASKED)


def test_an_unknown_task_is_told_what_there_is() -> None:
    with pytest.raises(PlannerError, match="task"):
        estimate("bert-base", gpu="T4", task="ner")
