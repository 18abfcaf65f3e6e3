"""Choices that once could not be replayed together, found where every choice meets every other."""

from typing import Any

import pytest

from planner import verify

TOLERANCE = 0.001
TWO_GPUS = {"gpus": 2, "finetuning": "full"}
FP8 = {"finetuning": "full", "precision": "fp8-mixed", "gpu": "H100-80GB-SXM"}
SHORT = {"sequence_length": 64, "micro_batch_size": 1}
HEAD = {"finetuning": "freeze", "trained_blocks": 2, "trained_modules": "head"}
HALF_HEAD = {"finetuning": "lora", "adapter_dtype": "weights", "trained_modules": "head", "sharding": "no_shard"}
INT8 = {"finetuning": "qlora", "quantization": "int8"}
DORA = {"finetuning": "lora", "lora_variant": "dora"}

MASKED = {"task": "masked-lm"}


@pytest.mark.parametrize(
    ("model", "choices"),
    [
        ("smollm2-135m", {**TWO_GPUS, "sharding": "zero1", "optimizer": "apollo"}),
        ("smollm2-135m", {**TWO_GPUS, "sharding": "full_shard", "offload": "cpu", "update": "in-backward"}),
        ("falcon-rw-1b", {"finetuning": "qlora"}),
        ("smollm2-135m", {"checkpointing": "selective-matmuls", "attention": "flash-attention-2"}),
        ("smollm2-135m", {**DORA, "checkpointing": "selective-matmuls"}),
        ("smollm2-135m", {**FP8, "checkpointing": "selective-matmuls"}),
        ("smollm2-135m", {**DORA, "checkpointing": "selective-every-second-matmul", "lora_dropout": 0.1}),
        (
            "pythia-70m",
            {**TWO_GPUS, "sharding": "shard_grad_op", "optimizer": "adam-mini", "update": "in-backward", **SHORT},
        ),
        ("pythia-70m", {**HALF_HEAD, **SHORT, "gpus": 2, "gradient_buckets": "views", "loss": "chunked"}),
        ("pythia-70m", {**HEAD, **SHORT, "gradient_accumulation_steps": 2}),
        (
            "deberta-v3-xsmall",
            {**MASKED, "gpus": 2, "finetuning": "bitfit", "sharding": "full_shard", "checkpointing": "full"},
        ),
        ("deberta-v3-xsmall", {**MASKED, **TWO_GPUS, "sharding": "full_shard"}),
        ("pythia-70m", {"finetuning": "qlora", "quantization": "gptq-4bit"}),
        ("bert-base", {**MASKED, **INT8, "checkpointing": "selective-matmuls"}),
        ("smollm2-360m", {"gpus": 2, "finetuning": "lora", "sharding": "full_shard", "offload": "cpu", **SHORT}),
        ("pythia-70m", {"finetuning": "qlora", "lora_variant": "dora"}),
        ("smollm2-135m", {"gpus": 8, "finetuning": "freeze", "sharding": "full_shard", "reshard_size": 2}),
        ("t5-small", {"finetuning": "qlora", "quantization": "gptq-4bit"}),
        ("phi-1", {**TWO_GPUS, "sharding": "full_shard", "loss": "chunked"}),
        ("t5-small", FP8),
        ("t5-small", {"finetuning": "full", "checkpointing": "offload", "sequence_length": 512}),
        ("deberta-v3-xsmall", {**MASKED, "finetuning": "full", "checkpointing": "offload"}),
        ("mpt-7b", {**FP8, "optimizer": "sgd"}),
    ],
    ids=[
        "groups of parameters beside ZeRO-1",
        "updates on the host",
        "linear layers with a forward of their own",
        "operators that a policy does not know",
        "products of norms",
        "products in fp8",
        "every second of them",
        "a gradient that outlives its reduction",
        "sums in fp32 that are cast before a bucket takes them",
        "a gradient that is added to another",
        "arguments of blocks that FSDP2 casts",
        "arguments that no checkpoint keeps",
        "hidden states of another dtype than the embedding's",
        "inputs that are kept twice over",
        "shards from the host",
        "biases in the dtype of their layer's input",
        "shards of blocks that no backward reaches",
        "weights that stay as they were loaded",
        "a final norm by another name",
        "layers in fp8 that others keep in fp32",
        "position biases that wait on the host",
        "masks that wait on the host",
        "a first layer that stays out of fp8",
    ],
)
def test_model_and_replay_agree(model: str, choices: dict[str, Any]) -> None:
    workload = {"gpu": "A100-80GB-SXM", "sequence_length": 256, "micro_batch_size": 2, **choices}
    phases = verify(model, **workload).phases
    differences = {name: phase.difference for name, phase in phases.items()}
    assert differences == pytest.approx(dict.fromkeys(differences, 0.0), abs=TOLERANCE)
