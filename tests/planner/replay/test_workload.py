"""What a training loop and a kernel keep shows in the phases that it must show in, and by its bytes."""

from typing import Any

import pytest

from planner.models import find_model
from planner.replay import Phase, SdpaKernel, Workload, replay
from strategies import (
    PLAIN,
    Outputs,
    Precision,
)

LENGTH, LAYERS, HEADS, VOCABULARY = 256, 4, 9, 49152
LOGITS = LENGTH * VOCABULARY * 2


def peaks(precision: Precision = Precision.BF16_TRUE, model: str = "smollm2-135m", **loop: Any) -> dict[Phase, int]:
    fields = find_model(model).architecture.model_copy(update={"num_hidden_layers": LAYERS}).config()
    strategy = PLAIN._replace(precision=precision)
    return replay(fields, strategy, Workload(LENGTH, 1, **loop)).peaks()


def test_outputs_kept_through_the_step_hold_the_logits_in_backward() -> None:
    released, kept = peaks(), peaks(outputs=Outputs.KEPT_IN_STEP)
    assert kept[Phase.FORWARD] == pytest.approx(released[Phase.FORWARD], abs=1024)
    assert kept[Phase.BACKWARD] == pytest.approx(released[Phase.BACKWARD] + LOGITS, abs=1024)
    assert kept[Phase.OPTIMIZER] == pytest.approx(released[Phase.OPTIMIZER] + LOGITS, abs=1024)


def test_outputs_kept_until_the_next_forward_hold_two_pairs_of_logits_there() -> None:
    step, following = peaks(outputs=Outputs.KEPT_IN_STEP), peaks(outputs=Outputs.KEPT)
    assert following[Phase.FORWARD] == pytest.approx(step[Phase.FORWARD] + LOGITS, abs=1024)
    assert following[Phase.BACKWARD] == pytest.approx(step[Phase.BACKWARD], abs=1024)


def test_the_math_kernel_keeps_the_probabilities_of_every_block_in_fp32() -> None:
    flash, math = peaks(), peaks(sdpa_kernel=SdpaKernel.MATH)
    assert math[Phase.FORWARD] >= flash[Phase.FORWARD] + LAYERS * HEADS * LENGTH**2 * 4


@pytest.mark.parametrize(
    ("precision", "model", "has_flash", "kernel"),
    [
        (Precision.BF16_TRUE, "smollm2-135m", True, SdpaKernel.FLASH),
        (Precision.BF16_TRUE, "smollm2-135m", False, SdpaKernel.MATH),
        (Precision.FP32, "smollm2-135m", True, SdpaKernel.MATH),
        (Precision.FP32, "pythia-70m", True, SdpaKernel.EFFICIENT),
        (Precision.FP16_MIXED, "smollm2-135m", True, SdpaKernel.FLASH),
        (Precision.FP16_MIXED, "smollm2-135m", False, SdpaKernel.MATH),
        (Precision.FP16_MIXED, "pythia-70m", False, SdpaKernel.EFFICIENT),
    ],
)
def test_the_kernel_is_selected_by_dtype_heads_and_gpu(
    precision: Precision, model: str, has_flash: bool, kernel: SdpaKernel
) -> None:
    assert peaks(precision, model, has_flash=has_flash) == peaks(precision, model, sdpa_kernel=kernel)


def test_the_memory_efficient_kernel_keeps_repeated_keys_and_values_instead() -> None:
    flash, efficient = peaks(), peaks(sdpa_kernel=SdpaKernel.EFFICIENT)
    repeated, grouped = (2 * heads * 64 * LENGTH * 2 for heads in (HEADS, 3))
    assert efficient[Phase.FORWARD] - flash[Phase.FORWARD] == pytest.approx(LAYERS * (repeated - grouped), rel=0.05)
