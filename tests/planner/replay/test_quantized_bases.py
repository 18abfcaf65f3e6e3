"""Quantized base models beside their replays: what their layers do that other layers do not."""

from typing import Any

import pytest

from planner import verify

TOLERANCE = 0.0002
"""Largest relative difference between model and replay, phase by phase."""

QLORA: dict[str, Any] = {
    "gpu": "A100-80GB-SXM",
    "sequence_length": 512,
    "micro_batch_size": 2,
    "finetuning": "qlora",
    "quantization": "nf4",
}


def differences(model: str, **choices: Any) -> dict[str, float]:
    return {name: phase.difference for name, phase in verify(model, **{**QLORA, **choices}).phases.items()}


@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true"])
@pytest.mark.parametrize("unquantized", ["fp32", "bf16"])
@pytest.mark.parametrize("quantization", ["nf4", "nf4-double"])
def test_a_bias_has_the_dtype_that_its_layer_computes_in(quantization: str, unquantized: str, precision: str) -> None:
    found = differences("gpt2", quantization=quantization, unquantized_dtype=unquantized, precision=precision)
    assert found == pytest.approx(dict.fromkeys(found, 0.0), abs=TOLERANCE)


@pytest.mark.parametrize("framework", ["trl", "axolotl", "llama-factory"])
def test_a_framework_runs_the_step_of_its_choices(framework: str) -> None:
    found = differences("smollm2-135m", framework=framework)
    assert found == pytest.approx(dict.fromkeys(found, 0.0), abs=TOLERANCE)


@pytest.mark.parametrize("quantization", ["nf4", "int8"])
def test_dora_runs_over_a_quantized_conv1d(quantization: str) -> None:
    """Its weight is turned round before it is quantized, so that PEFT does not turn it."""
    found = differences("gpt2", quantization=quantization, lora_variant="dora")
    assert found == pytest.approx(dict.fromkeys(found, 0.0), abs=TOLERANCE)
