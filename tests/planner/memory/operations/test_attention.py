"""What the fused kernels keep for backward, with and without a window."""

import pytest

from planner.libraries.sdpa import SdpaKernel, Selection
from planner.memory.attention.attention import sdpa
from planner.memory.attention.fused import Form
from planner.memory.attention.masks import Masks, masks_of
from planner.memory.autograd.ops import FP32, HALF, Ops
from planner.memory.autograd.tape import Tape
from planner.memory.settings.dtypes import Dtypes
from planner.models import find_model
from strategies import Attention, Full, Precision, Replicated

TOKENS, HEADS, WIDTH = 8, 4, 2
TORCH = Selection()
SCORES = TOKENS**2


def saved(*, kv_heads: int, window: int | None, selection: Selection = TORCH) -> dict[str, int]:
    f = Ops(Tape(), autocast=None, sequence_length=TOKENS)
    query = f.input(HEADS * WIDTH, HALF, True, "q")
    key, value = (f.input(kv_heads * WIDTH, HALF, True, name) for name in ("k", "v"))
    form = Form(HEADS, kv_heads, 0.0, upcast=True, capped=False, window=window, fp32=False, selection=selection)
    sdpa(f, query, key, value, form)
    return {s.name: s.per_sample for s in f.tape.saved}


@pytest.mark.parametrize(
    ("itemsize", "head_dim", "grouped", "has_flash", "kernel"),
    [
        (HALF, 64, False, True, SdpaKernel.FLASH),
        (HALF, 256, True, True, SdpaKernel.FLASH),
        (HALF, 64, False, False, SdpaKernel.EFFICIENT),
        (HALF, 64, True, False, SdpaKernel.MATH),
        (FP32, 64, False, True, SdpaKernel.EFFICIENT),
        (FP32, 64, True, True, SdpaKernel.MATH),
        (HALF, 512, True, True, SdpaKernel.EFFICIENT),
        (FP32, 512, True, False, SdpaKernel.EFFICIENT),
    ],
)
def test_torch_selects_by_dtype_head_dim_grouping_and_gpu(
    itemsize: int, head_dim: int, grouped: bool, has_flash: bool, kernel: SdpaKernel
) -> None:
    assert Selection(has_flash=has_flash).kernel(itemsize, head_dim, grouped=grouped) is kernel
    assert Selection(SdpaKernel.MATH, has_flash).kernel(itemsize, head_dim, grouped=grouped) is SdpaKernel.MATH


@pytest.mark.parametrize(
    ("itemsize", "dims", "prefers_cudnn", "kernel"),
    [
        (HALF, (192, 128), False, SdpaKernel.EFFICIENT),
        (HALF, (192, 128), True, SdpaKernel.CUDNN),
        (FP32, (192, 128), True, SdpaKernel.EFFICIENT),
        (HALF, (256, 128), True, SdpaKernel.EFFICIENT),
        (HALF, (128, 128), True, SdpaKernel.FLASH),
    ],
)
def test_heads_of_unequal_widths_are_not_for_flash(
    itemsize: int, dims: tuple[int, int], prefers_cudnn: bool, kernel: SdpaKernel
) -> None:
    selection = Selection(prefers_cudnn=prefers_cudnn)
    assert selection.kernel(itemsize, dims[0], grouped=False, value_dim=dims[1]) is kernel


def test_the_math_kernel_keeps_probabilities_and_all_heads_in_fp32() -> None:
    heads = TOKENS * HEADS * WIDTH * FP32
    assert saved(kv_heads=2, window=None, selection=Selection(has_flash=False)) == {
        "attention q": heads,
        "attention scaled k": heads,
        "softmax": HEADS * SCORES * FP32,
        "attention v": heads,
    }


def test_the_memory_efficient_kernel_takes_k_and_v_of_all_heads() -> None:
    expected = sizes(HEADS)
    expected["attention k"], expected["attention v"] = expected.pop("k"), expected.pop("v")
    assert saved(kv_heads=2, window=None, selection=Selection(SdpaKernel.EFFICIENT)) == expected


def sizes(kv_heads: int) -> dict[str, int]:
    whole, shared = TOKENS * HEADS * WIDTH * HALF, TOKENS * kv_heads * WIDTH * HALF
    log_sum_exp = TOKENS * HEADS * FP32
    return {"q": whole, "k": shared, "v": shared, "attention output": whole, "attention log-sum-exp": log_sum_exp}


@pytest.mark.parametrize("window", [None, TOKENS + 1])
def test_a_window_longer_than_the_sequence_changes_nothing(window: int | None) -> None:
    assert saved(kv_heads=2, window=window) == sizes(2)


def test_within_a_window_each_layer_keeps_a_bias_and_k_and_v_of_all_heads() -> None:
    expected = sizes(HEADS)
    expected["attention k"], expected["attention v"] = expected.pop("k"), expected.pop("v")
    assert saved(kv_heads=2, window=TOKENS) == {**expected, "attention bias": SCORES * HALF}


def test_a_single_head_is_repeated_without_a_copy() -> None:
    assert saved(kv_heads=1, window=TOKENS) == {**sizes(1), "attention bias": SCORES * HALF}


def test_masks_are_one_of_each_kind_for_eager_and_booleans_of_windows_for_sdpa() -> None:
    assert masks("gemma-3-1b", Attention.EAGER, sequence_length=512) == Masks(0, 2 * 512**2 * HALF)
    assert masks("gemma-3-1b", Attention.SDPA, sequence_length=512) == Masks(512**2)
    assert masks("llama-7b", Attention.SDPA, sequence_length=512) == Masks()


def test_models_with_alibi_keep_the_masks_that_backward_needs() -> None:
    with_alibi = masks("falcon-rw-1b", Attention.SDPA, sequence_length=512)
    assert with_alibi.per_sample == 32 * (512 + 1) * 512 * HALF
    assert with_alibi.saved
    assert not masks("falcon-rw-1b", Attention.SDPA, sequence_length=512, precision=Precision.BF16_MIXED).saved
    assert not masks("falcon-rw-1b", Attention.EAGER, sequence_length=512).saved
    assert masks("mpt-7b", Attention.EAGER, sequence_length=512) == Masks(32 * 2048 * FP32, 512**2, saved=True)


def masks(
    model: str, attention: Attention, *, sequence_length: int, precision: Precision = Precision.BF16_TRUE
) -> Masks:
    dtypes = Dtypes.of(precision, Full(), Replicated())
    return masks_of(find_model(model).architecture, attention, dtypes, sequence_length)
