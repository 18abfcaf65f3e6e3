"""What each form of LayerNorm, soft-capping and squared ReLU keep for backward, by name."""

import pytest

from planner.libraries.sdpa import Selection
from planner.memory.autograd.ops import FP32, HALF
from planner.memory.autograd.tape import Tape
from planner.memory.layers.activations import COMPOSED
from planner.memory.layers.layers import Layers
from planner.memory.settings.dtypes import Dtypes
from planner.memory.settings.trainable import Trainable
from planner.models.vocabulary.forms import LayerNormForm
from strategies import Attention, Full, Precision, Replicated

TOKENS, WIDTH = 4, 8
SIZE, ROWS = TOKENS * WIDTH, TOKENS


def layers(precision: Precision = Precision.BF16_TRUE) -> Layers:
    dtypes = Dtypes.of(precision, Full(), Replicated())
    return Layers(
        Tape(),
        dtypes=dtypes,
        method=Full(),
        trained=Trainable(weights=True),
        attention=Attention.SDPA,
        sequence_length=TOKENS,
        selection=Selection(),
    )


STATISTICS = 2 * ROWS * FP32


@pytest.mark.parametrize(
    ("form", "saved"),
    [
        ("fused", [SIZE * HALF, STATISTICS]),
        ("fused_in_fp32", [SIZE * FP32, STATISTICS, 0, 0]),  # and copies of weight and bias, for all samples
        ("one_plus_weight", [SIZE * HALF, STATISTICS, 0]),  # and weight + 1
        ("written_out", [SIZE * FP32, ROWS * FP32, SIZE * FP32, 0, SIZE * FP32]),
    ],
)
def test_a_layer_norm_saves_what_its_form_says(form: LayerNormForm, saved: list[int]) -> None:
    f = layers()
    x = f.input(WIDTH, HALF, True, "x")
    out = f.layer_norm("norm", x, form=form)
    assert (out.per_sample, out.width, out.itemsize) == (SIZE, WIDTH, HALF)
    assert sorted(s.per_sample for s in f.tape.saved) == sorted(saved)


def test_nemotrons_norm_runs_in_autocasts_dtype_where_others_run_in_fp32() -> None:
    sizes = {}
    for form in ("fused", "one_plus_weight"):
        f = layers(Precision.BF16_MIXED)
        sizes[form] = f.layer_norm("norm", f.input(WIDTH, FP32, True, "x"), form=form).itemsize
    assert sizes == {"fused": FP32, "one_plus_weight": HALF}


def test_soft_capping_saves_the_tanh_alone() -> None:
    f = layers()
    f.cap(f.input(WIDTH, HALF, True, "x"))
    assert [(s.name, s.fixed, s.per_sample) for s in f.tape.saved] == [("capped tanh", 0, SIZE * HALF)]


def test_autocast_squares_in_fp32() -> None:
    f = layers(Precision.BF16_MIXED)
    out = COMPOSED["relu2"](f, f.input(WIDTH, HALF, True, "x"))
    assert out.itemsize == FP32
    assert {s.name: s.per_sample for s in f.tape.saved} == {"relu": SIZE * HALF, "relu in fp32": SIZE * FP32}


def test_a_written_out_norm_leaves_nothing_behind() -> None:
    f = layers()
    out = f.layer_norm("norm", f.input(WIDTH, HALF, True, "x"), form="written_out")
    variable, size = out.variable, out.storage.per_sample
    del out
    f.tape.backward(variable, f.tape.storage(0, size))
    assert f.tape.meter.saved_per_sample == 0
    assert f.tape.meter.gradients == WIDTH * HALF
