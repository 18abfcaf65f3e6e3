"""Each attention implementation allocates, saves and multiplies what its kernels do, in forward and in backward."""

from __future__ import annotations

from typing import Any

import pytest
from accounts_of import TOKENS, Account, account_of, once, ops

from planner.libraries.sdpa import SdpaKernel, Selection
from planner.memory.attention import eager_variants as own
from planner.memory.attention.attention import Kernel, eager, sdpa, with_mask
from planner.memory.attention.flash import flash_2, flash_3, flex
from planner.memory.attention.fused import Form
from planner.memory.autograd.ops import FP32, HALF, Ops
from planner.memory.autograd.tape import Tensor
from planner.models.vocabulary.forms import OwnAttention

HEADS, HEAD_DIM = 4, 2
E = TOKENS * HEADS * HEAD_DIM * HALF
"""Bytes of all heads in half precision."""
S = HEADS * TOKENS**2 * HALF
"""Bytes of the scores in half precision."""
ROWS = TOKENS * HEADS * FP32
"""Bytes of a number for each row and head."""
FLOPS = 2 * 2 * TOKENS * HEADS * HEAD_DIM * TOKENS
"""Of two products, each twice as many as a causal kernel does."""


def heads(f: Ops, number: int, itemsize: int, grad: bool, name: str, first: bool = False) -> Tensor:
    x = f.input(number * HEAD_DIM, itemsize, grad, name)
    x.heads_first = first
    return x


def run(
    kernel: Kernel,
    kv: int = HEADS,
    itemsize: int = HALF,
    *,
    first: bool = False,
    autocast: int | None = None,
    grad: bool = True,
    **form: Any,
) -> Account:
    """`kv`: heads of keys and values; `first`: heads are laid out first."""
    usual = {"dropout": 0.0, "upcast": True, "capped": False, "window": None, "fp32": False}

    def attention(f: Ops) -> Tensor:
        return kernel(  # which alone refers to its inputs
            f,
            heads(f, HEADS, itemsize, grad, "q", first),
            heads(f, kv, itemsize, grad, "k"),
            heads(f, kv, itemsize, grad, "v"),
            Form(HEADS, kv, **{**usual, **form}),
        )

    return account_of(ops(autocast=autocast), attention)


def kept(q: int = E, k: int = E, v: int = E, out: int = E, prefix: str = "", **more: int) -> dict[str, int]:
    """What a fused kernel saves."""
    sizes = {f"{prefix}q": q, f"{prefix}k": k, f"{prefix}v": v, "attention output": out}
    return {**sizes, "attention log-sum-exp": ROWS, **more}


COPIES = "attention "
EFFICIENT = Selection(SdpaKernel.EFFICIENT)


@pytest.mark.parametrize(
    ("account", "given"),
    [
        # backward: what is saved, the output's gradient, those of q, k and v, a sum a row, and dq in fp32
        (Account(kept(), 4 * E + ROWS, 4 * E + ROWS + E + 3 * E + ROWS + 2 * E, 3 * E, 7 * FLOPS // 4), {}),
        # half the heads of k and v; their gradients are made for all heads, and summed
        (
            Account(kept(k=E // 2, v=E // 2), 3 * E + ROWS, 4 * E + 2 * ROWS + 4 * E + 2 * E, 2 * E, 7 * FLOPS // 4),
            {"kv": 2},
        ),
        # fp32 needs no other dq
        (
            Account(kept(2 * E, 2 * E, 2 * E, 2 * E), 8 * E + ROWS, 16 * E + 2 * ROWS, 6 * E, 7 * FLOPS // 4),
            {"itemsize": FP32},
        ),
        # an output laid out by heads is copied
        (Account(kept(), 5 * E + ROWS, 10 * E + 2 * ROWS, 8 * E, 7 * FLOPS // 4), {"first": True}),
        (Account(kept(), 4 * E + ROWS, 10 * E + 2 * ROWS, 3 * E, 7 * FLOPS // 2), {"causal": False}),
        (Account({}, 4 * E + ROWS, 0, 3 * E, FLOPS // 2), {"grad": False}),
        # autocast's copies are saved; inputs of twice the size live beside them
        (
            Account(kept(prefix=COPIES), 10 * E + ROWS, 10 * E + 2 * ROWS, 33 * E, 7 * FLOPS // 4),
            {"itemsize": FP32, "autocast": HALF},
        ),
        # the memory-efficient kernel takes all heads
        (
            Account(
                {"q": E, "attention k": E, "attention v": E, "attention output": E, "attention log-sum-exp": ROWS},
                5 * E + ROWS,
                10 * E + 2 * ROWS,
                8 * E,
                7 * FLOPS // 4,
            ),
            {"kv": 2, "selection": EFFICIENT},
        ),
        # within a window a bias of the scores of one head, beside an inverted mask of booleans for a moment
        (
            Account(
                {
                    "q": E,
                    "attention k": E,
                    "attention v": E,
                    "attention output": E,
                    "attention log-sum-exp": ROWS,
                    "attention bias": TOKENS**2 * HALF,
                },
                6 * E + ROWS,
                11 * E + 2 * ROWS,
                8 * E,
                7 * FLOPS // 4,
            ),
            {"kv": 2, "window": TOKENS},
        ),
        (
            Account(
                {**kept(k=E // 4, v=E // 4), "attention bias": TOKENS**2 * HALF},
                7 * E // 2 + ROWS,
                8 * E + 2 * ROWS,
                3 * E // 2,
                7 * FLOPS // 4,
            ),
            {"kv": 1, "window": TOKENS},
        ),
    ],
)
def test_sdpa_runs_a_fused_kernel(account: Account, given: dict[str, Any]) -> None:
    assert run(sdpa, **given) == account


def test_a_window_longer_than_the_sequence_is_none() -> None:
    assert run(sdpa, window=TOKENS + 1) == run(sdpa)


def test_the_math_kernel_allocates_all_in_fp32() -> None:
    saved = {"attention scaled k": 2 * E, "attention q": 2 * E, "softmax": 2 * S, "attention v": 2 * E}
    math = {"kv": 2, "selection": Selection(SdpaKernel.MATH)}
    assert run(sdpa, **math) == Account(saved, 5632, 4864, 15616, 3 * FLOPS)
    assert run(sdpa, itemsize=FP32, kv=2) == Account(saved, 5376, 4864, 12288, 3 * FLOPS)
    dropped = run(sdpa, dropout=0.1, **math)
    assert dropped.saved == {**saved, "attention dropout mask": S // 2, "attention dropout": 2 * S}
    assert run(sdpa, **math, grad=False) == Account({}, 5120, 0, 7552, 2048)


@pytest.mark.parametrize(
    ("per_head", "grouped", "account"),
    [
        # a bias of all heads is the mask itself
        (True, False, Account(kept(), 4 * E + ROWS, 10 * E + 2 * ROWS, 3 * E, 7 * FLOPS // 4)),
        # a bias of the scores of one head, made of booleans
        (
            False,
            False,
            Account(
                {**kept(), "attention bias": TOKENS**2 * HALF}, 5 * E + ROWS, 11 * E + 2 * ROWS, 3 * E, 7 * FLOPS // 4
            ),
        ),
    ],
)
def test_a_mask_of_the_models_own_becomes_a_bias(per_head: bool, grouped: bool, account: Account) -> None:
    def masked(f: Ops, query: Tensor, key: Tensor, value: Tensor, form: Form) -> Tensor:
        return with_mask(f, query, key, value, form, per_head=per_head)

    assert run(masked, kv=2 if grouped else HEADS) == account


def test_a_position_bias_that_trains_has_a_gradient_for_each_sample_that_is_summed() -> None:
    def biased(f: Ops, *, causal: bool, first: bool) -> Tensor:
        bias = once(HEADS * TOKENS**2, HALF)
        bias.heads_first = first
        query, key, value = (heads(f, HEADS, HALF, True, name) for name in "qkv")
        form = Form(HEADS, HEADS, 0.0, True, False, None, False, causal=causal, bias=bias)
        return sdpa(f, query, key, value, form)

    plain, contiguous, causal = (
        account_of(ops(), lambda f, how=how: biased(f, causal=how[0], first=how[1]))
        for how in ((False, True), (False, False), (True, True))
    )
    assert plain.saved == kept()
    # one for each sample and their sum, when the workspace of a sum a row and dq in fp32 is gone
    assert plain.backward == 8 * E + ROWS + 2 * S
    assert contiguous.saved == {**kept(), "attention bias": S}
    assert contiguous.backward == plain.backward + S
    assert causal.saved["causal mask"] == TOKENS**2
    assert causal.flops == plain.flops // 2


BLOCK = 128
"""Rows and columns that flash-attn rounds up to; 32 columns are the least."""


@pytest.mark.parametrize(
    ("account", "given"),
    [
        (Account(kept(), 4 * E + ROWS, 68736, 3 * E, 7 * FLOPS // 4), {}),
        (Account(kept(k=E // 2, v=E // 2), 3 * E + ROWS, 68736, 2 * E, 7 * FLOPS // 4), {"kv": 2}),
        (Account(kept(), 5 * E + ROWS, 68736, 8 * E, 7 * FLOPS // 4), {"first": True}),
        (Account(kept(prefix=COPIES), 10 * E + ROWS, 68736, 33 * E, 7 * FLOPS // 4), {"itemsize": FP32}),
        (Account({}, 4 * E + ROWS, 0, 3 * E, FLOPS // 2), {"grad": False}),
    ],
)
def test_flash_attention_2_accumulates_dq_in_blocks_of_fp32(account: Account, given: dict[str, Any]) -> None:
    blocks = HEADS * BLOCK * FP32 * (1 + 32)  # a sum a row, and dq
    assert 4 * E + ROWS + E + 3 * E + blocks == 68736
    assert run(flash_2, **given) == account


def test_flash_attention_3_has_two_numbers_a_row_and_with_grouped_heads_dk_and_dv_in_fp32() -> None:
    assert run(flash_3) == Account(kept(), 4 * E + ROWS, 136320, 3 * E, 7 * FLOPS // 4)
    assert run(flash_3, kv=2) == Account(kept(k=E // 2, v=E // 2), 3 * E + ROWS, 267136, 2 * E, 7 * FLOPS // 4)
    assert run(flash_3, first=True) == run(flash_3)  # its output is in token order
    assert run(flash_3, itemsize=FP32).saved == kept(prefix=COPIES)


def test_flex_attention_repeats_heads_unless_they_are_a_power_of_two() -> None:
    assert run(flex) == Account(kept(), 4 * E + ROWS, 4 * E + ROWS + 4 * E + 2 * ROWS, 3 * E, 7 * FLOPS // 4)
    assert run(flex, kv=2).saved == kept(k=E // 2, v=E // 2)
    assert run(flex, first=True).forward == 5 * E + ROWS
    assert run(flex, itemsize=FP32).saved == kept(2 * E, 2 * E, 2 * E, 2 * E)

    def of_six(f: Ops) -> Tensor:
        query, key, value = (heads(f, number, HALF, True, name) for name, number in (("q", 6), ("k", 3), ("v", 3)))
        return flex(f, query, key, value, Form(6, 3, 0.0, True, False, None, False))

    assert account_of(ops(), of_six).saved["attention k"] == TOKENS * 6 * HEAD_DIM * HALF


OF_SCORES = {"attention k": E, "attention q": E, "softmax": 2 * S, "attention v": E}
CAST = {**OF_SCORES, "attention probabilities": S}


@pytest.mark.parametrize(
    ("given", "saved", "forward", "backward", "moved"),
    [
        ({}, CAST, 2432, 4480, 14720),
        ({"kv": 2}, CAST, 2432, 4480, 14080),
        ({"first": True}, {"q": E, "attention k": E, "softmax": 2 * S, "attention v": E, "attention probabilities": S},
         2432, 4480, 14080),
        ({"itemsize": FP32}, {"attention k": 2 * E, "attention q": 2 * E, "softmax": 2 * S, "attention v": 2 * E},
         2816, 4864, 18688),
        ({"upcast": False}, {**OF_SCORES, "softmax": S}, 1408, 2432, 9600),
        ({"capped": True}, {**CAST, "attention capped scores tanh": S}, 2944, 4992, 22400),
        ({"fp32": True}, {**CAST, "attention k": 2 * E, "attention q": 2 * E}, 3200, 5248, 23168),
        ({"causal": False}, CAST, 2432, 4480, 13184),
        ({"downcast": False}, OF_SCORES, 1920, 3968, 10752),
        ({"dropout": 0.1}, {**OF_SCORES, "attention dropout mask": S // 2, "attention dropout": S}, 2688, 4480, 17280),
    ],
    ids=lambda x: str(x) if isinstance(x, dict) and len(x) == 1 else "",
)  # fmt: skip
def test_eager_attention_makes_every_intermediate(
    given: dict[str, Any], saved: dict[str, int], forward: int, backward: int, moved: int
) -> None:
    found = run(eager, **given)
    assert found == Account(found.saved, forward, backward, moved, 3 * FLOPS)
    assert found.saved == saved


def test_a_bias_is_added_to_eager_scores() -> None:
    with_bias = run(eager, bias=once(HEADS * TOKENS**2, HALF))
    assert with_bias.saved == CAST
    assert with_bias.moved > run(eager).moved


@pytest.mark.parametrize(
    ("form", "kv", "itemsize", "first", "saved", "forward", "backward", "moved"),
    [
        # in fp32 under autocast; with a dropout where heads are not grouped
        ("scaled_in_place", 4, HALF, False, 896, 2176, 2304, 9600),
        ("scaled_in_place", 2, HALF, False, 896, 2048, 2304, 8960),
        ("scaled_in_place", 4, HALF, True, 896, 2048, 2304, 8960),
        ("scaled_in_place", 4, FP32, False, 1920, 3200, 3840, 20480),
        ("alibi_in_fp32", 4, HALF, False, 1664, 4864, 3328, 23424),
        ("alibi_in_fp32", 2, HALF, False, 896, 4608, 2816, 20224),
        ("alibi_in_fp32", 4, HALF, True, 1664, 4736, 3328, 22784),
        ("alibi_in_fp32", 4, FP32, False, 2176, 7040, 5376, 36864),
        ("alibi_in_product", 4, HALF, False, 2176, 3712, 4352, 12800),
        ("alibi_in_product", 2, HALF, False, 1792, 3072, 4288, 10112),
        ("alibi_in_product", 4, HALF, True, 2176, 3712, 4352, 12800),
        ("alibi_in_product", 4, FP32, False, 2176, 5248, 4864, 19200),
        ("alibi_added", 4, HALF, False, 2176, 3968, 4864, 25472),
        ("alibi_added", 2, HALF, False, 1920, 3456, 4864, 22272),
        ("alibi_added", 4, HALF, True, 2176, 3840, 4864, 24832),
        ("alibi_added", 4, FP32, False, 2176, 5504, 5376, 33792),
        ("sinks", 4, HALF, False, 1984, 3072, 3456, 18840),
        ("sinks", 2, HALF, False, 1216, 2368, 2944, 15640),
        ("sinks", 4, HALF, True, 1984, 3072, 3456, 18200),
        ("sinks", 4, FP32, False, 1984, 4608, 4160, 32280),
    ],
)
def test_attention_of_modeling_files_makes_the_intermediates_that_they_write(
    form: OwnAttention, kv: int, itemsize: int, first: bool, saved: int, forward: int, backward: int, moved: int
) -> None:
    def attention(f: Ops) -> Tensor:
        sinks = once(HEADS, HALF) if form == "sinks" else None
        asked = own.Form(HEADS, kv, 0.1 if kv == HEADS else 0.0, sinks)
        return own.FORMS[form](
            f,
            heads(f, HEADS, itemsize, True, "q", first),
            heads(f, kv, itemsize, True, "k"),
            heads(f, kv, itemsize, True, "v"),
            asked,
        )

    found = account_of(ops(autocast=HALF if itemsize == FP32 else None), attention)
    assert (sum(found.saved.values()), found.forward, found.backward) == (saved, forward, backward)
    assert (found.moved, found.flops) == (moved, 3 * FLOPS)


def test_a_form_of_a_modeling_file_is_causal_and_upcasts_under_sdpa() -> None:
    form = own.Form(8, 2, 0.1, None).usual(EFFICIENT)
    assert form == Form(8, 2, 0.1, True, False, None, False, True, True, None, EFFICIENT)
