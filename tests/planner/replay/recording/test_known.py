"""Tests that operators whose results are remembered make the same tensors again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from planner.replay.recording.known import Operators

aten = torch.ops.aten
CALLS: dict[str, Callable[[torch.Tensor], tuple[Any, tuple[Any, ...]]]] = {
    "a tensor of its own": lambda x: (aten.mul.Tensor, (x, 2.0)),
    "another dtype": lambda x: (aten._to_copy.default, (x,)),
    "a view": lambda x: (aten.transpose.int, (x, 0, 1)),
    "a view of a part": lambda x: (aten.slice.Tensor, (x, 1, 3, 5)),
    "a reshaped product": lambda x: (aten._unsafe_view.default, (x, [8, 4])),
    "a list of views": lambda x: (aten.split.Tensor, (x, 2)),
    "several tensors": lambda x: (aten.native_layer_norm.default, (x, [8], None, None, 1e-5)),
    "in place": lambda x: (aten.add_.Tensor, (x, x)),
    "with other strides": lambda x: (aten.clone.default, (x.t(),)),
    "of several": lambda x: (aten.cat.default, ([x, x], 1)),
}


def seen(out: Any, given: torch.Tensor) -> list[tuple[Any, ...]]:
    """Describes results, and what they share with what the operator was given."""
    return [
        (
            x.shape, x.stride(), x.storage_offset(), x.dtype, x.device, x.requires_grad, x is given, x.fake_mode is
            given.fake_mode, x.untyped_storage().nbytes(), torch._C._dispatch_keys(x),
            x.untyped_storage()._cdata == given.untyped_storage()._cdata,
        )
        for x in (out if isinstance(out, tuple | list) else (out,))
    ]  # fmt: skip


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_results_are_those_of_fake_tensors(call: Callable[[torch.Tensor], tuple[Any, tuple[Any, ...]]]) -> None:
    named = {"dtype": torch.bfloat16} if call is CALLS["another dtype"] else {}
    found = []
    for _ in range(2):  # another mode, for which all is known already
        operators = Operators()
        with FakeTensorMode():
            operators.run(aten.neg.default, (torch.empty(1),), {})
            for _ in range(2):
                x = torch.empty(4, 8)
                func, args = call(x)
                plain = func(*args, **named)
                out, known = operators.run(func, args, named)
                assert type(out) is type(plain)
                assert seen(out, x) == seen(plain, x)
                found.append(known)
    assert found[0] is not None
    assert all(known is found[0] for known in found)


def test_a_tensor_that_is_given_to_write_to_is_not_made_again() -> None:
    operators = Operators()
    with FakeTensorMode():
        x, out = torch.empty(4, 4), torch.empty(4, 4)
        for _ in range(2):
            assert operators.run(aten.mm.out, (x, x), {"out": out}) == (out, None)
        for _ in range(2):
            assert operators.run(aten.broadcast_tensors.default, ([x, out],), {})[1] is None


def test_tensors_of_another_device_are_not_remembered() -> None:
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        mode.allow_meta = True
        assert Operators().run(aten.zeros.default, ([2],), {"device": torch.device("meta")})[1] is None


def test_what_depends_on_values_is_not_remembered() -> None:
    with FakeTensorMode():
        x = torch.empty(4, 8)
        for func, args in ((aten.lift_fresh.default, (x,)), (aten.resize_.default, (x, [2]))):
            assert Operators().run(func, args, {})[1] is None


def test_whole_numbers_and_fractions_are_told_apart() -> None:
    operators = Operators()
    with FakeTensorMode():
        x = torch.empty(4, dtype=torch.int64)
        for number, dtype in ((1, torch.int64), (1.0, torch.float32), (True, torch.int64), (1.0, torch.float32)):
            assert operators.run(aten.mul.Tensor, (x, number), {})[0].dtype is dtype
