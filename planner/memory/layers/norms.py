"""Implements normalization layers on symbolic tensors, each as transformers writes it."""

from __future__ import annotations

from planner.memory.autograd.marks import NORM
from planner.memory.autograd.ops import FP32
from planner.memory.autograd.tape import Storage, Tensor, Variable
from planner.memory.settings.parameters import Parameters
from planner.models.vocabulary.forms import LayerNormForm, NormOrder


class Norms(Parameters):
    """Adds RMSNorm and LayerNorm to operations and parameters."""

    def rms_norm(
        self, name: str, x: Tensor, *, width: int | None = None, order: NormOrder = "cast_then_scale"
    ) -> Tensor:
        """Returns the RMSNorm of `x`, operation by operation as transformers writes it, with squares in fp32.

        Args:
            name: Name of the module.
            x: Hidden states.
            width: Columns to normalize over, such as those of one head; None for all of them.
            order: Where the result returns to the input's dtype, and how its weight is applied (see `NormOrder`).
        """
        given, columns = x.itemsize, width or x.width
        x = Tensor(x.storage, x.fixed, x.per_sample, columns, x.itemsize, x.variable)
        narrow, x = x, self.to(x, FP32, f"{name} input in fp32")
        squares = self.unary(x, f"{name} input", saves="input", temporaries=2)
        variance = self.mean(squares, f"{name} variance")
        del squares
        if order == "t5":
            del x
            weight = self.parameter(f"{name}.weight", columns, self.dtypes.other, trains=self.trains_base)
            x = self.mul(narrow, self.unary(variance, f"{name} rsqrt", saves="output"), f"{name} normalized")
            x = self.to(x, weight.itemsize, f"{name} normalized")
            with self.tape.module(weight.module):
                return self._whole(self.mul(weight, x, f"{name} output"))
        del narrow
        with self.tape.module(NORM if order == "unscaled" else ""):
            x = self.mul(x, self.unary(variance, f"{name} rsqrt", saves="output"), f"{name} normalized")
        if order == "unscaled":
            return self._whole(self.to(x, given, f"{name} output"))
        weight = self.parameter(f"{name}.weight", columns, self.dtypes.other, trains=self.trains_base)
        if order == "cast_then_scale":
            half = self.to(x, given, f"{name} normalized")  # the fp32 `hidden_states` lives until the return
            with self.tape.module(weight.module):
                return self._whole(self.mul(weight, half, f"{name} output"))
        if order == "scale_in_fp32":
            weight = self.to(weight, FP32, f"{name} weight")
            storage = self.tape.storage(columns * FP32, 0, f"{name} weight + 1")
            offset = Tensor(storage, columns, 0, columns, FP32, weight.variable)
            del storage
            with self.tape.module(name):
                x = self.mul(x, offset, f"{name} scaled")
        else:
            with self.tape.module(name):
                x = self.mul(weight, x, f"{name} scaled")
        return self._whole(self.to(x, given, f"{name} output"))

    def _whole(self, x: Tensor) -> Tensor:
        """Returns `x` with all columns of a token as its width again, after a norm over each head."""
        return Tensor(x.storage, 0, x.per_sample, x.per_sample // self.sequence_length, x.itemsize, x.variable)

    def layer_norm(
        self,
        name: str,
        x: Tensor,
        *,
        width: int | None = None,
        bias: bool = True,
        affine: bool = True,
        form: LayerNormForm = "fused",
    ) -> Tensor:
        """Returns the LayerNorm of `x`: `native_layer_norm`, unless it is written out operation by operation.

        The kernel saves its input, mean and rstd. Autocast runs it in fp32, except for the form "one_plus_weight",
        which runs in autocast's own dtype.

        Args:
            name: Name of the module.
            x: Hidden states.
            width: Columns to normalize over, such as those of one head; None for all of them.
            bias: Whether an affine layer has a bias.
            affine: Whether the layer has a weight.
            form: How the layer is computed (see `LayerNormForm`).
        """
        if form == "written_out":
            return self._written_out(name, x, width or x.width)
        given = x.itemsize
        x = Tensor(x.storage, x.fixed, x.per_sample, width or x.width, x.itemsize, x.variable)
        names = [f"{name}.weight", f"{name}.bias"][: affine + (affine and bias)]
        weights = [self.parameter(n, x.width, self.dtypes.other, trains=self.trains_base) for n in names]
        if form == "one_plus_weight":
            weights[0] = self._one_plus(weights[0], name)
            itemsize = self.autocast or x.itemsize
            x, weights = (
                self.to(x, itemsize, f"{name} input"),
                [self.to(w, itemsize, f"{name} weight") for w in weights],
            )
        elif form == "fused_in_fp32" or self.autocast is not None:
            x = self.to(x, FP32, f"{name} input")
            weights = [self.to(w, FP32, f"{name} weight in fp32") for w in weights]
        with self.tape.module(name if weights else NORM):
            out = self._native(name, x, weights)
        out = self.to(out, given, f"{name} output") if form == "fused_in_fp32" else out
        return self._whole(out) if width else out

    def _native(self, name: str, x: Tensor, weights: list[Tensor]) -> Tensor:
        """Returns `native_layer_norm` of `x`, which saves input, weights and, for each row, mean and rstd in fp32."""
        out = self.tensor(x.per_sample, x.width, x.itemsize, f"{name} output", x, *weights)
        rows = x.per_sample // x.width
        statistics = Tensor(self.tape.storage(0, 2 * rows * FP32, f"{name} mean and rstd"), 0, 2 * rows, 2, FP32, None)
        saved = [self.tape.save(t) for t in (x, *weights, statistics)] if out.variable is not None else []
        return self.differentiate(out, self.own_targets(x, *weights), saved)

    def _one_plus(self, weight: Tensor, name: str) -> Tensor:
        """Returns `weight + 1`, whose gradient is handed on to the weight."""
        storage = self.tape.storage(weight.fixed * weight.itemsize, 0, f"{name} one plus weight")
        variable = Variable() if weight.variable is not None else None
        out = Tensor(storage, weight.fixed, 0, weight.width, weight.itemsize, variable)
        return self.differentiate(out, self.own_targets(weight))

    def _written_out(self, name: str, x: Tensor, columns: int) -> Tensor:
        """Returns `weight * (x - mean) * rsqrt(mean((x - mean) ** 2))`, operation by operation in fp32.

        `x - mean` is computed twice and saved twice.
        """
        given, elements = x.itemsize, x.width
        weight = self.parameter(f"{name}.weight", elements, self.dtypes.other, trains=self.trains_base)
        x = self.to(x, FP32, f"{name} input in fp32")
        x = Tensor(x.storage, x.fixed, x.per_sample, columns, x.itemsize, x.variable)
        mean = self.mean(x, f"{name} mean")
        squares = self.unary(self._sub(x, mean, f"{name} centered"), f"{name} squares", saves="input", temporaries=2)
        variance = self.mean(squares, f"{name} variance")
        del squares
        centered, scale = self._sub(x, mean, f"{name} centered"), self.unary(variance, f"{name} rsqrt", saves="output")
        x = self.mul(centered, scale, f"{name} normalized")
        del centered, scale
        with self.tape.module(name):
            x = self.mul(self.to(weight, FP32, f"{name} weight"), x, f"{name} scaled")
        return self._whole(self.to(x, given, f"{name} output"))

    def _sub(self, x: Tensor, mean: Tensor, name: str) -> Tensor:
        """Returns `x - mean` of each row.

        The gradient is handed on to `x` itself; the mean's gradient is its negative, summed over the row.
        """
        out = self.tensor(x.per_sample, x.width, x.itemsize, name, x, mean)
        if out.variable is None or x.variable is None or mean.variable is None:
            return out
        to_x, to_mean = x.variable, mean.variable
        size, mean_size = out.per_sample * out.itemsize, mean.per_sample * mean.itemsize

        def backward(gradient: Storage) -> None:
            negative = self.tape.storage(0, size)
            self.tape.cost.bytes_per_sample += 3 * size
            self.tape.accumulate(to_x, gradient)
            summed = self.tape.storage(0, mean_size)
            del negative
            self.tape.accumulate(to_mean, summed)

        self.tape.record(out.variable, backward)
        return out
