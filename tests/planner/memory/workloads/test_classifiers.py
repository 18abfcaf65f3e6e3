"""Classifiers of samples and of tokens: beside adapters their heads train, as PEFT's `task_type` has it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from planner import PlannerError, estimate, verify
from planner.memory.settings.dtypes import Dtypes
from planner.memory.sharding.state import Units
from planner.models import recognize
from planner.models.tasks import for_task
from planner.replay.backend import CPU
from planner.replay.setup.build import build, equip
from strategies import PLAIN, Lora, Precision, Replicated, Task

TOLERANCE = 0.004
"""Largest relative difference between model and replay, phase by phase."""

SHAPE = {
    "hidden_size": 128,
    "intermediate_size": 512,
    "num_hidden_layers": 12,
    "num_attention_heads": 4,
    "vocab_size": 512,
    "max_position_embeddings": 258,
    "num_labels": 5,
}
DISTANCES = {
    "relative_attention": True,
    "position_buckets": 32,
    "norm_rel_ebd": "layer_norm",
    "share_att_key": True,
    "pos_att_type": ["p2c", "c2p"],
    "position_biased_input": False,
    "type_vocab_size": 0,
}
MODELS: dict[str, dict[str, Any]] = {
    "bert": {"architectures": ["BertForSequenceClassification"]},
    "roberta": {"architectures": ["RobertaForSequenceClassification"]},
    "deberta-v2": {"architectures": ["DebertaV2ForSequenceClassification"], **DISTANCES},
}
LORA, QLORA = {"finetuning": "lora"}, {"finetuning": "qlora"}
TAGS = {"task": "token-classification"}
TWO, TWICE = {"gpus": 2, "sharding": "full_shard"}, {"gradient_accumulation_steps": 2}
HEAD = {"finetuning": "freeze", "trained_modules": "head"}


@pytest.fixture
def config(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**SHAPE, "model_type": request.param, **MODELS[request.param]}))
    return str(path)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("config", "choices"),
    [
        ("bert", LORA),
        ("bert", {**LORA, **TAGS, "lora_dropout": 0.1}),
        ("bert", {**LORA, "precision": "bf16-true", **TWICE}),
        ("bert", {**QLORA, "checkpointing": "full"}),
        ("bert", {**QLORA, **TAGS}),
        ("bert", TAGS),
        ("bert", HEAD),
        ("roberta", LORA),
        ("roberta", {**QLORA, "quantization": "int8"}),
        (
            "roberta",
            {**LORA, "adapter_dtype": "weights", "gpus": 2, "sharding": "zero1", "precision": "bf16-true"},
        ),
        ("roberta", {**LORA, **TAGS, "gpus": 2, "sharding": "no_shard"}),
        ("roberta", {**LORA, **TWO}),
        ("roberta", {**LORA, **TWO, **TWICE, "precision": "bf16-true"}),
        ("roberta", {**LORA, **TWO, "sharding_backend": "fsdp1"}),
        ("roberta", {**LORA, **TWO, **TWICE, "sharding": "shard_grad_op", "sharding_backend": "fsdp1"}),
        ("roberta", {**LORA, **TWO, "sharding_backend": "deepspeed"}),
        ("roberta", {**LORA, "gpus": 2, "sharding": "shard_grad_op", "sharding_backend": "deepspeed"}),
        ("deberta-v2", LORA),
        ("deberta-v2", {**LORA, **TAGS}),
    ],
    indirect=["config"],
    ids=lambda x: x if isinstance(x, str) else " ".join(map(str, x.values())),
)
def test_every_phase_equals_the_replay(config: str, choices: dict[str, Any]) -> None:
    result = verify(config, gpu="A100-80GB", sequence_length=128, micro_batch_size=16, **choices)
    differences = {name: phase.difference for name, phase in result.phases.items()}
    assert differences == pytest.approx(dict.fromkeys(differences, 0.0), abs=TOLERANCE)


@pytest.mark.slow
@pytest.mark.parametrize("config", ["roberta", "bert"], indirect=True)
@pytest.mark.parametrize("gpus", [2, 8])
def test_what_the_root_of_fsdp2_trains_is_reduced_last(config: str, gpus: int) -> None:
    choices = {"gpus": gpus, "sharding": "full_shard", "micro_batch_size": 16, "sequence_length": 128}
    result = verify(config, gpu="A100-80GB", **choices)
    differences = {name: phase.difference for name, phase in result.phases.items()}
    assert differences == pytest.approx(dict.fromkeys(differences, 0.0), abs=TOLERANCE)


@pytest.mark.parametrize("task", [Task.SEQUENCE_CLASSIFICATION, Task.TOKEN_CLASSIFICATION])
@pytest.mark.parametrize("targets", ["all-linear", ("query", "value")])
@pytest.mark.parametrize("name", ["bert-base-cased", "roberta-base", "xlm-roberta-base"])
def test_the_parameters_that_train_are_those_of_peft(name: str, targets: Any, task: Task) -> None:
    trains_what_peft_does(name, targets, task)


def test_layers_whose_names_end_like_the_head_are_copied_with_it() -> None:
    trains_what_peft_does("distilbert-base", ("q_lin", "v_lin"), Task.SEQUENCE_CLASSIFICATION)


def test_a_layer_that_peft_copies_cannot_be_adapted() -> None:
    with pytest.raises(PlannerError, match=r"copies pre_classifier .* q_lin,k_lin,v_lin,out_lin,lin1,lin2"):
        estimate("distilbert-base", gpu="A100-40GB", finetuning="lora")


def trains_what_peft_does(name: str, targets: Any, task: Task) -> None:
    """Asserts that as many parameters train as PEFT's model has, the head's among them, in its dtype."""
    model: Any = for_task(recognize(name), task)
    strategy = PLAIN._replace(precision=Precision.BF16_MIXED, finetuning=Lora(8, targets))
    dtypes = Dtypes.of(strategy.precision, strategy.finetuning, Replicated())
    units = Units.of(model.inventory, strategy.finetuning, dtypes)
    told = sum(tensor.num_elements for unit in units.all for tensor in unit.trained)
    built = equip(build(model.architecture.config(), strategy, CPU), strategy)
    trained = {name: p for name, p in built.named_parameters() if p.requires_grad}
    assert told == sum(p.numel() for p in trained.values())
    head = [p for name, p in trained.items() if "classifier.modules_to_save" in name]
    assert {p.dtype for p in head} == {torch.bfloat16}
    assert not any("classifier" in name and "lora_" in name for name in trained)


def test_a_head_that_trains_is_there_twice_with_gradients_and_states(tmp_path: Path) -> None:
    choices: dict[str, Any] = {"gpu": "A100-80GB", "precision": "bf16-true", "lora_targets": "query,value", **LORA}
    found = []
    for num_labels in (2, 2 + 2**15):
        (path := tmp_path / f"{num_labels}.json").write_text(
            json.dumps({**SHAPE, "model_type": "bert", **MODELS["bert"], "num_labels": num_labels})
        )
        found.append(estimate(str(path), **choices).memory)
    few, many = found
    head = 2**15 * (128 + 1) * 2
    assert many.components.parameters - few.components.parameters == pytest.approx(2 * head, abs=2048)
    assert many.components.optimizer_states - few.components.optimizer_states == pytest.approx(2 * head, abs=2048)
    gradients = many.moments["optimizer_step"] - few.moments["optimizer_step"] - 4 * head
    assert gradients == pytest.approx(head, abs=2048)
