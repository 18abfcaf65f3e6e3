"""One rule per operation: what it allocates, what autograd saves for it, what its backward allocates, what it costs.

The rules follow torch's derivatives.yaml and its CUDA kernels. Inputs are saved before the result is allocated, since a
recomputation stops as soon as it has everything that backward needs. An operation on tensors that need no gradient
records nothing. Backward functions hold sizes, never tensors, so that bytes are freed when torch's would be.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Literal, NamedTuple

from planner.memory.autograd.recompute import Results, Sizes
from planner.memory.autograd.tape import MATMUL_FP32, MATMUL_HALF, Storage, Tape, Tensor, Variable
from strategies import Operation

FP32, HALF, BOOL = 4, 2, 1


class Target(NamedTuple):
    """Describes a gradient that a backward function makes, in bytes.

    Source of the reduction and the cast: torch/csrc/autograd/engine.cpp, `validate_outputs`.
    """

    variable: Variable
    """The variable that gathers the gradient."""
    made_fixed: int
    made_per_sample: int
    """Fixed and per-sample bytes that the formula of the derivative yields."""
    fixed: int
    per_sample: int
    """Fixed and per-sample bytes after reduction to the shape, and cast to the dtype, of the tensor."""


class Ops:
    """Implements operations on the symbolic tensors of one tape."""

    def __init__(self, tape: Tape, *, autocast: int | None, sequence_length: int) -> None:
        """Starts without cached casts.

        Args:
            tape: Records the operations.
            autocast: Bytes per element of the dtype that autocast casts to; None without autocast.
            sequence_length: Tokens per sample.
        """
        self.tape, self.autocast, self.sequence_length = tape, autocast, sequence_length
        self.mask_itemsize = HALF
        """Bytes per element of the causal mask. A wider mask widens the scores that it is added to."""
        self.probabilities: Storage | None = None
        """Probabilities that eager attention returns with its output; a variable keeps them until the block returns."""
        self.made = Results(tape)
        """Makes the results of matrix products and fused attention, or takes those that a checkpoint has kept."""
        self._cast_cache: dict[Variable, Tensor] = {}

    def tensor(self, per_sample: int, width: int, itemsize: int, name: str, *inputs: Tensor) -> Tensor:
        """Allocates the result of an operation that reads `inputs` and writes this tensor.

        Args:
            per_sample: Elements per sample.
            width: Elements of the last dimension.
            itemsize: Bytes per element.
            name: Name among saved tensors.
            *inputs: What the operation reads; the result needs a gradient if one of them does.

        Returns:
            The result. The bytes that the operation moves are counted; saving and backward are left to the caller.
        """
        variable, moved = None, per_sample * itemsize
        for x in inputs:
            moved += x.per_sample * x.itemsize
            if x.variable is not None and variable is None:
                variable = Variable()
        self.tape.cost.bytes_per_sample += moved
        storage = Storage(self.tape.meter, 0, per_sample * itemsize, name)
        return Tensor(storage, 0, per_sample, width, itemsize, variable)

    def product(
        self,
        per_sample: int,
        width: int,
        itemsize: int,
        name: str,
        *inputs: Tensor,
        flops: int,
        operation: Operation | None = None,
    ) -> Tensor:
        """Allocates the result of a matrix multiplication, and counts its FLOPs instead of the bytes that it moves.

        Args:
            per_sample: Elements per sample.
            width: Elements of the last dimension.
            itemsize: Bytes per element of operands and result.
            name: Name among saved tensors.
            *inputs: The operands; the result needs a gradient if one of them does.
            flops: FLOPs per sample.
            operation: Its kind for selective checkpointing; None if no policy knows it.

        Returns:
            The result; saving and backward are left to the caller.
        """
        needs_gradient = any(x.variable is not None for x in inputs)
        (storage,) = self.results(operation, ((0, per_sample * itemsize, name),), itemsize, flops)
        return Tensor(storage, 0, per_sample, width, itemsize, Variable() if needs_gradient else None)

    def results(self, operation: Operation | None, sizes: Sizes, itemsize: int, flops: int) -> list[Storage]:
        """Returns storages of all results of an operation; counts its FLOPs unless a recomputation finds them kept.

        Args:
            operation: Its kind for selective checkpointing; None if no policy knows it.
            sizes: (fixed bytes, per-sample bytes, name) of each result.
            itemsize: Bytes per element of the operands.
            flops: FLOPs per sample.
        """
        storages, runs = self.made.of(operation, sizes)
        if runs:
            self.multiply(itemsize, flops)
        return storages

    def fixed(self, elements: int, itemsize: int, name: str, *inputs: Tensor, saved: Sequence[Tensor] = ()) -> Tensor:
        """Returns a new tensor that exists once for all samples, with its backward recorded.

        Args:
            elements: Elements of the result.
            itemsize: Bytes per element.
            name: Name among saved tensors.
            *inputs: What the operation reads; each that needs a gradient gets one in its own shape and dtype.
            saved: Tensors that are saved for backward if the result needs a gradient.
        """
        storage = self.tape.storage(elements * itemsize, 0, name)
        self.tape.cost.fixed_bytes += elements * itemsize * (1 + len(inputs))
        variable = Variable() if any(x.variable is not None for x in inputs) else None
        out = Tensor(storage, elements, 0, elements, itemsize, variable)
        kept = [self.tape.save(x) for x in saved] if variable is not None else []
        return self.differentiate(out, self.own_targets(*inputs), kept)

    def input(self, width: int, itemsize: int, requires_grad: bool, name: str) -> Tensor:
        """Returns hidden states that come from elsewhere: `sequence_length x width` elements per sample."""
        x = self.tensor(self.sequence_length * width, width, itemsize, name)
        x.variable = Variable() if requires_grad else None
        return x

    @staticmethod
    def _targets(out: Tensor, *inputs: Tensor) -> list[Target]:
        """Returns the gradients that an elementwise operation makes.

        Each is made as large as the result, then summed to its input's shape where that was broadcast, and cast to the
        input's dtype.
        """
        made = out.fixed * out.itemsize, out.per_sample * out.itemsize
        return [
            Target(x.variable, *made, x.fixed * x.itemsize, x.per_sample * x.itemsize)
            for x in inputs
            if x.variable is not None
        ]

    def differentiate(
        self,
        out: Tensor,
        targets: Sequence[Target],
        saved: Sequence[Storage | None] = (),
        *,
        temporaries: int = 0,
        flops: int = 0,
    ) -> Tensor:
        """Records the backward of an operation, which makes all gradients before it passes the first one on.

        Args:
            out: Result of the operation; nothing is recorded if it needs no gradient.
            targets: The gradients to make.
            saved: What `Tape.save` returned for the tensors that backward needs.
            temporaries: Number of tensors as large as `out` that backward makes before the gradients.
            flops: FLOPs per sample of a backward that is bound by compute; 0 if it is bound by the bytes it moves.

        Returns:
            `out`.
        """
        if out.variable is not None:
            extra_size, itemsize = out.per_sample * out.itemsize * temporaries, out.itemsize

            def backward(gradient: Storage) -> Callable[[], None]:
                cost = self.tape.cost
                meter = self.tape.meter
                _extra = Storage(meter, 0, extra_size, "") if extra_size else None
                gradients = [Storage(meter, t.made_fixed, t.made_per_sample, "") for t in targets]
                if flops:
                    self.multiply(itemsize, flops)
                    for made in gradients:
                        made.viewed = True
                else:
                    for target in targets:
                        cost.bytes_per_sample += 3 * target.made_per_sample
                        cost.fixed_bytes += 3 * target.made_fixed
                return partial(self._hand_on, targets, gradients)

            self.tape.record(out.variable, backward, *saved)
        return out

    def _hand_on(self, targets: Sequence[Target], gradients: list[Storage]) -> None:
        """Passes gradients on, each first reduced and cast to the shape and dtype of its tensor."""
        tape = self.tape
        for target in targets:
            made = gradients.pop(0)
            if (target.made_fixed, target.made_per_sample) != (target.fixed, target.per_sample):
                made = tape.storage(target.fixed, target.per_sample)
            tape.accumulate(target.variable, made)
            del made

    # --- dtypes ---

    def to(self, x: Tensor, itemsize: int, name: str) -> Tensor:
        """Casts like `x.to(dtype)`: returns `x` if it has that item size, else a copy; backward casts the gradient."""
        if x.itemsize == itemsize:
            return x
        storage = self.tape.storage(x.fixed * itemsize, x.per_sample * itemsize, name)
        variable = Variable() if x.variable is not None else None
        out = Tensor(storage, x.fixed, x.per_sample, x.width, itemsize, variable)
        cost, moved = self.tape.cost, x.itemsize + itemsize
        cost.bytes_per_sample += x.per_sample * moved
        cost.fixed_bytes += x.fixed * moved
        return self.differentiate(out, self.own_targets(x))

    def autocast_input(self, x: Tensor, name: str) -> Tensor:
        """Casts an input of a matmul as autocast does: anew at each call, since autocast caches weights only."""
        return x if self.autocast is None else self.to(x, self.autocast, name)

    def autocast_weight(self, weight: Tensor, name: str) -> Tensor:
        """Returns a weight in autocast's dtype.

        The copy of an fp32 leaf that needs a gradient is cached: it lives until autocast's context ends, and all users
        of the weight share it (ATen/autocast_mode.cpp, `cached_cast`).
        """
        if self.autocast is None or weight.itemsize == self.autocast:
            return weight
        if weight.variable is None:
            return self.to(weight, self.autocast, name)
        if weight.variable not in self._cast_cache:
            self._cast_cache[weight.variable] = self.to(weight, self.autocast, name)
        return self._cast_cache[weight.variable]

    def leave_autocast(self) -> None:
        """Drops the cached copies of weights, as the end of autocast's context does."""
        self._cast_cache.clear()

    @contextmanager
    def without_autocast(self) -> Iterator[None]:
        """Switches autocast off within the context, as inside an operation whose inputs autocast has already cast."""
        autocast, self.autocast = self.autocast, None
        try:
            yield
        finally:
            self.autocast = autocast

    # --- elementwise ---

    def unary(
        self,
        x: Tensor,
        name: str,
        *,
        saves: Literal["input", "output", "nothing"] = "nothing",
        itemsize: int | None = None,
        temporaries: int = 0,
    ) -> Tensor:
        """Applies an elementwise function of one tensor.

        Args:
            x: The input.
            name: Name of the result among saved tensors.
            saves: What is saved for backward.
            itemsize: Bytes per element of the result if it differs, as in a product with a shared fp32 table.
            temporaries: Number of tensors as large as the result that backward makes before the gradient.
        """
        saved = [self.tape.save(x)] if saves == "input" and x.variable is not None else []
        out = self.tensor(x.per_sample, x.width, itemsize or x.itemsize, name, x)
        if x.variable is None:
            return out
        if saves == "output":
            saved.append(self.tape.save(out))
        return self.differentiate(out, self._targets(out, x), saved, temporaries=temporaries)

    def mul(self, a: Tensor, b: Tensor, name: str) -> Tensor:
        """Multiplies elementwise, one perhaps broadcast over the other; saves each factor for the other's gradient."""
        big = a if a.per_sample >= b.per_sample else b
        saved = [self.tape.save(other) for one, other in ((a, b), (b, a)) if one.variable is not None]
        out = self.tensor(big.per_sample, big.width, max(a.itemsize, b.itemsize), name, a, b)
        return self.differentiate(out, self._targets(out, a, b), saved)

    def mean(self, x: Tensor, name: str) -> Tensor:
        """Computes the means of rows; the gradient is expanded to the size of x and divided (`mean_backward`)."""
        out = self.tensor(x.per_sample // x.width, 1, x.itemsize, name, x)
        return self.differentiate(out, self._targets(x, x))

    def softmax(self, x: Tensor, itemsize: int) -> Tensor:
        """Computes a softmax with `itemsize` bytes per element, and saves its output.

        CUDA reads half precision and writes fp32 in one kernel, and in backward returns a gradient in half precision,
        after a temporary product of gradient and output
        (aten/src/ATen/native/cuda/SoftMax.cu, `softmax_backward_cuda_out`).
        """
        out = self.tensor(x.per_sample, x.width, itemsize, "softmax", x)
        saved = [self.tape.save(out)] if x.variable is not None else []
        return self.differentiate(out, self.own_targets(x), saved, temporaries=1)

    def broadcast(self, x: Tensor, per_sample: int, name: str) -> Tensor:
        """Returns a contiguous copy, repeated to `per_sample` elements per sample; its gradient is summed back."""
        out = self.tensor(per_sample, x.width, x.itemsize, name, x)
        return self.differentiate(out, self.own_targets(x))

    def cap(self, x: Tensor, name: str = "capped") -> Tensor:
        """Computes `tanh(x / cap) * cap`; tanh saves its output.

        Every result is assigned to the variable of the one before, so that `x` itself gives up its storage here.
        """
        quotient = self.unary(x, f"{name} quotient")
        x.storage = None
        x = self.unary(quotient, f"{name} tanh", saves="output")
        del quotient
        return self.unary(x, name)

    def dropout(self, x: Tensor, probability: float, name: str) -> Tensor:
        """Drops elements as `native_dropout`, which saves a mask of one byte each; returns `x` at probability 0."""
        if probability == 0.0:
            return x
        out = self.tensor(x.per_sample, x.width, x.itemsize, name, x)
        mask = Tensor(self.tape.storage(0, x.per_sample, f"{name} mask"), 0, x.per_sample, x.width, BOOL, None)
        saved = [self.tape.save(mask)] if x.variable is not None else []
        return self.differentiate(out, self._targets(out, x), saved)

    def add(self, a: Tensor, b: Tensor, name: str) -> Tensor:
        """Adds two tensors, where one may be broadcast over the other, and saves nothing.

        Backward passes the gradient itself on to both terms, cast or summed where a term's dtype or shape differs.
        """
        out = self.tensor(max(a.per_sample, b.per_sample), a.width, max(a.itemsize, b.itemsize), name, a, b)
        return self.pass_on(out, (a, b))

    def cat(self, parts: Sequence[Tensor], name: str) -> Tensor:
        """Joins tensors along columns; backward passes views of its gradient on."""
        width, itemsize = sum(p.width for p in parts), max(p.itemsize for p in parts)
        out = self.tensor(sum(p.per_sample for p in parts), width, itemsize, name, *parts)
        return self.pass_on(out, parts)

    def pass_on(self, out: Tensor, inputs: Sequence[Tensor]) -> Tensor:
        """Records a backward that passes the gradient of `out` itself on to each input, and returns `out`.

        An input that exists once for all samples, or has another dtype, gets a gradient of its own size instead.
        """
        if out.variable is not None:
            made = out.itemsize
            targets = [
                (x.variable, x.itemsize != made or bool(x.fixed), x.fixed * x.itemsize, x.per_sample * x.itemsize)
                for x in inputs
                if x.variable is not None
            ]

            def backward(gradient: Storage) -> None:
                for variable, own, fixed, per_sample in targets:
                    self.tape.accumulate(variable, self.tape.storage(fixed, per_sample) if own else gradient)

            self.tape.record(out.variable, backward)
        return out

    def fill_slices(self, first: Tensor, shared: Tensor, heads: int, name: str) -> Tensor:
        """Makes an empty tensor and copies two tensors into slices of it with `copy_`.

        Backward of each copy makes a copy of the whole gradient, which it passes on, and a clone of its slice
        (torch/csrc/autograd/functions/tensor.cpp, `CopySlices`). Backward of the second copy also makes zeros for what
        it overwrote; that of the first finds nothing there that needs a gradient.

        Args:
            first: Copied into the first columns of each head.
            shared: Copied into the other columns of each head, expanded over the heads.
            heads: Number of heads.
            name: Name of the result among saved tensors.
        """
        columns = shared.per_sample * heads
        out = self.tensor(
            first.per_sample + columns, first.width + shared.width * heads, first.itemsize, name, first, shared
        )
        if out.variable is None:
            return out
        tape, base, size, itemsize = self.tape, Variable(), out.per_sample * out.itemsize, first.itemsize
        parts = [
            (x.variable, elements * itemsize, elements * x.itemsize, x.per_sample * x.itemsize)
            for x, elements in ((first, first.per_sample), (shared, columns))
        ]

        def copied(variable: Variable | None, clone: int, cast: int, summed: int, *, overwrites: bool) -> Storage:
            whole, made = tape.storage(0, size), tape.storage(0, clone)
            tape.cost.bytes_per_sample += 2 * size + 2 * clone
            _zeros = tape.storage(0, clone) if overwrites else None
            for wanted in (cast, summed):
                made = made if wanted == made.per_sample else tape.storage(0, wanted)
            if variable is not None:
                tape.accumulate(variable, made)
            return whole

        def of_first(gradient: Storage) -> None:
            copied(*parts[0], overwrites=False)

        def of_shared(gradient: Storage) -> None:
            tape.accumulate(base, copied(*parts[1], overwrites=True))

        tape.record(base, of_first)
        tape.record(out.variable, of_shared)
        return out

    def slices(self, x: Tensor, widths: Sequence[int], *, split: bool = False) -> list[Tensor]:
        """Returns views of consecutive columns of the given widths.

        The gradient of each slice is a zero-filled tensor as large as x (`slice_backward`). With `split`, which stands
        for torch's `split` and `chunk`, one concatenation of all parts' gradients takes their place.
        """
        rows = x.per_sample // x.width
        parts = [
            Tensor(x.storage, 0, rows * width, width, x.itemsize, Variable() if x.variable is not None else None)
            for width in widths
        ]
        if x.variable is None:
            return parts
        variables = [part.variable for part in parts if part.variable is not None]
        variable, size = x.variable, x.per_sample * x.itemsize

        def backward(gradient: Storage) -> None:
            self.tape.cost.bytes_per_sample += 2 * size
            whole = self.tape.storage(0, size)
            if split:
                for v in variables:
                    v.gradient = None
            self.tape.accumulate(variable, whole)

        for v in variables[:1] if split else variables:
            self.tape.record(v, backward)
        return parts

    def first_token(self, x: Tensor) -> Tensor:
        """Returns a view of each sample's first row; its gradient is zero-filled, as large as x (`select_backward`)."""
        out = Tensor(x.storage, 0, x.width, x.width, x.itemsize, Variable() if x.variable is not None else None)
        return self.differentiate(out, self.own_targets(x))

    # --- matrix multiplication ---

    def multiply(self, itemsize: int, flops_per_sample: int) -> None:
        """Counts FLOPs of a matrix product whose operands have `itemsize` bytes per element."""
        self.tape.cost.flops_per_sample[MATMUL_FP32 if itemsize == FP32 else MATMUL_HALF] += flops_per_sample

    def linear(self, x: Tensor, weight: Tensor, bias: Tensor | None, out_features: int, name: str) -> Tensor:
        """Computes `x @ weight.T + bias`, with autocast's casts of all three.

        It saves x for the weight's gradient and the weight for x's gradient; with a frozen weight it does not save x
        (derivatives.yaml, `mm` and `addmm`).
        """
        x = self.autocast_input(x, f"{name} input")
        weights = [self.autocast_weight(w, f"{name} weight") for w in (weight, bias) if w is not None]
        saved = [self.tape.save(x)] if weights[0].variable is not None else []
        if x.variable is not None:
            saved.append(self.tape.save(weights[0]))
        rows = x.per_sample // x.width
        flops, operation = 2 * x.per_sample * out_features, Operation.MM if bias is None else Operation.ADDMM
        out = self.product(
            rows * out_features,
            out_features,
            x.itemsize,
            f"{name} output",
            x,
            *weights,
            flops=flops,
            operation=operation,
        )
        if out.variable is None:
            return out
        return self.differentiate(out, self.own_targets(*weights[1:], x, weights[0]), saved, flops=flops * len(saved))

    def matmul(self, a: Tensor, b: Tensor, out_per_sample: int, out_width: int, flops: int, name: str) -> Tensor:
        """Multiplies two batches of activations (`bmm`); each is saved for the other's gradient.

        Args:
            a: Left operand.
            b: Right operand.
            out_per_sample: Elements of the result per sample.
            out_width: Elements of the result's last dimension.
            flops: FLOPs per sample.
            name: Name of the result among saved tensors.
        """
        a, b = self.autocast_input(a, f"{name} left"), self.autocast_input(b, f"{name} right")
        saved = [self.tape.save(other) for one, other in ((a, b), (b, a)) if one.variable is not None]
        out = self.product(out_per_sample, out_width, a.itemsize, name, a, b, flops=flops, operation=Operation.BMM)
        return self.differentiate(out, self.own_targets(a, b), saved, flops=flops * len(saved))

    @staticmethod
    def own_targets(*inputs: Tensor) -> list[Target]:
        """Returns the gradients of those inputs that need one, each made in its input's own shape and dtype."""
        sizes = [(x.fixed * x.itemsize, x.per_sample * x.itemsize) for x in inputs]
        pairs = zip(inputs, sizes, strict=True)
        return [Target(x.variable, *size, *size) for x, size in pairs if x.variable is not None]
