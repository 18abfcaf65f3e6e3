"""Implements liger-kernel's layers on symbolic tensors: one kernel each, most of them in place in backward.

Source: liger_kernel/ops/rms_norm.py, swiglu.py, geglu.py, rope.py.
"""

from __future__ import annotations

from planner.libraries.liger_kernel import MULTIPROCESSORS
from planner.memory.autograd.ops import FP32
from planner.memory.autograd.tape import Storage, Tensor, Variable
from planner.memory.layers.layers import Layers
from planner.models.vocabulary.forms import NormOrder, RopeCasts, RopeForm
from strategies import Attention


class _Activated(Tensor):
    """Marks the gate of an MLP, whose activation is applied together with the product that follows."""

    __slots__ = ()


class LigerLayers(Layers):
    """Interprets a forward pass with liger-kernel's RMSNorm, rotary embedding and gated MLPs."""

    norm_in_place = True
    """Whether an RMSNorm's backward overwrites the gradient of its output (see
    `planner.libraries.liger_kernel.Patch`)."""

    def rms_norm(
        self, name: str, x: Tensor, *, width: int | None = None, order: NormOrder = "cast_then_scale"
    ) -> Tensor:
        """Returns `LigerRMSNormFunction` of `x`, which saves its input and, for each row, rstd in fp32.

        Backward overwrites the gradient that it is given where that is safe, and sums the weight's gradient in fp32
        first, one row for each multiprocessor. The output has the dtype of `x`, whatever the weight's.

        Args:
            name: Name of the module.
            x: Hidden states.
            width: Columns to normalize over, such as those of one head; None for all of them.
            order: Has no effect here.
        """
        columns = width or x.width
        weight = self.parameter(f"{name}.weight", columns, self.dtypes.other, trains=self.trains_base)
        with self.tape.module(weight.module):
            return self._whole(self._normalized(name, x, weight))

    def _normalized(self, name: str, x: Tensor, weight: Tensor) -> Tensor:
        """Returns rows of as many columns as the weight has, each normalized."""
        rows, columns = x.per_sample // weight.fixed, weight.fixed
        out = self.tensor(x.per_sample, columns, x.itemsize, f"{name} output", x, weight)
        root = Tensor(self.tape.storage(0, rows * FP32, f"{name} rstd"), 0, rows, 1, FP32, None)
        if out.variable is None:
            return out
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
        return out

    def activation(self, function: str, x: Tensor) -> Tensor:
        """Marks `x` as a gate; the product that follows applies the activation, whatever the `function`."""
        return _Activated(x.storage, x.fixed, x.per_sample, x.width, x.itemsize, x.variable)

    def mul(self, a: Tensor, b: Tensor, name: str = "product") -> Tensor:
        """Returns the product of two tensors, by the kernel of a gated MLP if one of them is a marked gate."""
        if not isinstance(a, _Activated) and not isinstance(b, _Activated):
            return super().mul(a, b, name)
        return self._gated(a, b)

    def _gated(self, a: Tensor, b: Tensor) -> Tensor:
        """Returns `LigerSiLUMulFunction` or `LigerGELUMulFunction` of a gate and a factor.

        Both inputs are saved, and backward overwrites each with its own gradient.
        """
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
        """Returns `x`, or a copy of it if it is a slice, since kernels take no slices; the gradient is the slice's."""
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
        """Returns `LigerRopeFunction` of `x`: in place in forward and in backward, in the dtype of `x`.

        A gradient that attention leaves laid out head by head, as eager attention does, is copied first. The other
        arguments have no effect here.
        """
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
