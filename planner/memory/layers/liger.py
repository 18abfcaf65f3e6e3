"""liger-kernel's layers on symbolic tensors: one kernel each, most of them in place in backward.

Source: liger_kernel/ops/rms_norm.py, swiglu.py, geglu.py, rope.py.
"""

from __future__ import annotations

from planner.libraries.liger_kernel import MULTIPROCESSORS
from planner.memory.autograd.ops import FP32
from planner.memory.autograd.tape import Storage, Tensor, Variable
from planner.memory.layers.layers import Layers
from planner.models.forward import NormOrder, RopeCasts, RopeForm
from strategies import Attention


class _Activated(Tensor):
    """The gate of an MLP, to which the activation will be applied together with the product."""

    __slots__ = ()


class LigerLayers(Layers):
    """Layers with norms, rotation and gated MLPs replaced."""

    norm_in_place = True

    def rms_norm(
        self, name: str, x: Tensor, *, width: int | None = None, order: NormOrder = "cast_then_scale"
    ) -> Tensor:
        """`LigerRMSNormFunction`: saves its input and a root per row; backward overwrites the gradient that it is given
        where that is safe. The output has the input's dtype, whatever the weight's."""
        columns = width or x.width
        weight = self.parameter(f"{name}.weight", columns, self.dtypes.other, trains=self.trains_base)
        rows = x.per_sample // columns
        out = self.tensor(x.per_sample, columns, x.itemsize, f"{name} output", x, weight)
        root = Tensor(self.tape.storage(0, rows * FP32, f"{name} rstd"), 0, rows, 1, FP32, None)
        if out.variable is None:
            return self._whole(out)
        tape, to_x, to_weight, size = self.tape, x.variable, weight.variable, x.per_sample * x.itemsize
        of_weight, in_place = columns * weight.itemsize, self.norm_in_place
        saved = [tape.save(x), tape.save(root)]

        def backward(gradient: Storage) -> None:
            tape.cost.bytes_per_sample += 3 * size
            sums = tape.storage(MULTIPROCESSORS * columns * FP32, 0) if to_weight else None
            of_x = gradient if in_place else tape.storage(0, size)
            of_x.viewed = True
            made = tape.storage(of_weight, 0) if to_weight else None
            del sums
            if to_x:
                tape.accumulate(to_x, of_x)
            if to_weight and made:
                tape.accumulate(to_weight, made)

        tape.record(out.variable, backward, *saved)
        return self._whole(out)

    def activation(self, function: str, x: Tensor) -> Tensor:
        return _Activated(x.storage, x.fixed, x.per_sample, x.width, x.itemsize, x.variable)

    def mul(self, a: Tensor, b: Tensor, name: str = "product") -> Tensor:
        if not isinstance(a, _Activated) and not isinstance(b, _Activated):
            return super().mul(a, b, name)
        return self._gated(a, b)

    def _gated(self, a: Tensor, b: Tensor) -> Tensor:
        """`LigerSiLUMulFunction` and `LigerGELUMulFunction`: save both inputs, which become their own gradients."""
        a, b = self._contiguous(a, "gate"), self._contiguous(b, "up")
        out = self.tensor(a.per_sample, a.width, a.itemsize, "gated product", a, b)
        if out.variable is None:
            return out
        tape, size = self.tape, out.per_sample * out.itemsize
        kept = [(x.variable, tape.save(x)) for x in (b, a)]
        saved = [storage for _, storage in kept]

        def backward(gradient: Storage) -> None:
            tape.cost.bytes_per_sample += 5 * size
            del gradient
            while kept:
                variable, storage = kept.pop()
                if variable and storage:
                    storage.viewed = True
                    tape.accumulate(variable, storage)

        tape.record(out.variable, backward, *saved)
        return out

    def _contiguous(self, x: Tensor, name: str) -> Tensor:
        """A slice is copied before the kernel sees it; its gradient goes to the slice."""
        storage = x.storage
        if storage is None or storage.per_sample == x.per_sample * x.itemsize:
            return x
        copy = self.tape.storage(0, x.per_sample * x.itemsize, f"{name} of its own")
        return Tensor(copy, 0, x.per_sample, x.width, x.itemsize, x.variable)

    def rotate(
        self,
        x: Tensor,
        *,
        head_dim: int,
        rotary_dim: int | None = None,
        joins: bool = False,
        casts: RopeCasts = "none",
        tokens_first: bool = False,
        form: RopeForm = "halves",
    ) -> Tensor:
        """`LigerRopeFunction`: in place, in forward and in backward, and in the dtype of x. What the kernels of
        attention leave as a gradient head by head is copied first."""
        x = self._contiguous(x, "rotary input")
        if x.variable is None:
            return x
        out = Tensor(x.storage, 0, x.per_sample, x.width, x.itemsize, Variable())
        tape, variable, size = self.tape, x.variable, x.per_sample * x.itemsize
        copies = self.attention_choice is Attention.EAGER
        assert out.variable is not None

        def backward(gradient: Storage) -> None:
            tape.cost.bytes_per_sample += 2 * size
            of_x = tape.storage(0, size) if copies else gradient
            of_x.viewed = True
            tape.accumulate(variable, of_x)

        tape.record(out.variable, backward)
        return out
