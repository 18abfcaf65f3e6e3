"""One rule per operation: what it allocates, what autograd saves for it, what its backward allocates, what it costs.

The rules follow torch's derivatives.yaml and its CUDA kernels. What is saved of an input is saved before the result is
allocated: a recomputation stops when it has everything. An operation on tensors that need no gradient records
nothing. Backward functions hold sizes, never tensors, so that bytes die when torch's would.
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
    """A gradient to make: the bytes its formula yields, and the bytes after reduction and cast to its tensor's dtype
    (torch/csrc/autograd/engine.cpp, `validate_outputs`)."""

    variable: Variable
    made_fixed: int
    made_per_sample: int
    fixed: int
    per_sample: int


class Ops:
    """Operations on the symbolic tensors of one tape; `autocast` is the item size that autocast casts to, or None."""

    def __init__(self, tape: Tape, *, autocast: int | None, sequence_length: int) -> None:
        self.tape, self.autocast, self.sequence_length = tape, autocast, sequence_length
        self.mask_itemsize = HALF
        """Of the causal mask: a wider one widens the scores that it is added to."""
        self.probabilities: Storage | None = None
        """What eager attention returns beside its output; a variable of the block keeps it until the block returns."""
        self.made = Results(tape)
        self._cast_cache: dict[Variable, Tensor] = {}

    def tensor(self, per_sample: int, width: int, itemsize: int, name: str, *inputs: Tensor) -> Tensor:
        """A fresh result of an operation that reads its inputs and writes this; it needs a gradient when one of them
        does."""
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
        """The result of a matrix multiplication, which is bound by its FLOPs."""
        needs_gradient = any(x.variable is not None for x in inputs)
        (storage,) = self.results(operation, ((0, per_sample * itemsize, name),), itemsize, flops)
        return Tensor(storage, 0, per_sample, width, itemsize, Variable() if needs_gradient else None)

    def results(self, operation: Operation | None, sizes: Sizes, itemsize: int, flops: int) -> list[Storage]:
        """All results of an operation, which does so many FLOPs unless a recomputation finds them kept."""
        storages, runs = self.made.of(operation, sizes)
        if runs:
            self.multiply(itemsize, flops)
        return storages

    def fixed(self, elements: int, itemsize: int, name: str, *inputs: Tensor, saved: Sequence[Tensor] = ()) -> Tensor:
        """A fresh result of which there is one for all samples."""
        storage = self.tape.storage(elements * itemsize, 0, name)
        self.tape.cost.fixed_bytes += elements * itemsize * (1 + len(inputs))
        variable = Variable() if any(x.variable is not None for x in inputs) else None
        out = Tensor(storage, elements, 0, elements, itemsize, variable)
        kept = [self.tape.save(x) for x in saved] if variable is not None else []
        return self.differentiate(out, self.own_targets(*inputs), kept)

    def input(self, width: int, itemsize: int, requires_grad: bool, name: str) -> Tensor:
        """Hidden states from elsewhere: `sequence_length x width` elements per sample."""
        x = self.tensor(self.sequence_length * width, width, itemsize, name)
        x.variable = Variable() if requires_grad else None
        return x

    @staticmethod
    def _targets(out: Tensor, *inputs: Tensor) -> list[Target]:
        """Gradients of an elementwise operation: each is made as large as the result, then summed to its input's
        shape where that was broadcast, and cast to its dtype."""
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
        """Records an operation whose backward makes `temporaries` tensors as large as its result, then all `targets`,
        and only then hands the first on. `flops`: per sample, if it is bound by compute rather than by bytes moved."""
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
        """Gradients in the shapes and dtypes of their tensors."""
        tape = self.tape
        for target in targets:
            made = gradients.pop(0)
            if (target.made_fixed, target.made_per_sample) != (target.fixed, target.per_sample):
                made = tape.storage(target.fixed, target.per_sample)
            tape.accumulate(target.variable, made)
            del made

    # --- dtypes ---

    def to(self, x: Tensor, itemsize: int, name: str) -> Tensor:
        """`x.to(dtype)`: nothing when the dtype is already that, a copy otherwise; backward casts the gradient."""
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
        """Autocast casts each input of a matmul anew; only weights are cached."""
        return x if self.autocast is None else self.to(x, self.autocast, name)

    def autocast_weight(self, weight: Tensor, name: str) -> Tensor:
        """A weight in autocast's dtype. The copy of an fp32 leaf that needs a gradient lives until autocast's context
        ends, whoever uses it (ATen/autocast_mode.cpp, `cached_cast`)."""
        if self.autocast is None or weight.itemsize == self.autocast:
            return weight
        if weight.variable is None:
            return self.to(weight, self.autocast, name)
        if weight.variable not in self._cast_cache:
            self._cast_cache[weight.variable] = self.to(weight, self.autocast, name)
        return self._cast_cache[weight.variable]

    def leave_autocast(self) -> None:
        self._cast_cache.clear()

    @contextmanager
    def without_autocast(self) -> Iterator[None]:
        """Within an operation that autocast has cast the inputs of."""
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
        """A function of one tensor. `itemsize`: the result's where it differs, as in a product with a shared fp32
        table. `temporaries`: whole tensors that the backward formula makes before the gradient."""
        saved = [self.tape.save(x)] if saves == "input" and x.variable is not None else []
        out = self.tensor(x.per_sample, x.width, itemsize or x.itemsize, name, x)
        if x.variable is None:
            return out
        if saves == "output":
            saved.append(self.tape.save(out))
        return self.differentiate(out, self._targets(out, x), saved, temporaries=temporaries)

    def mul(self, a: Tensor, b: Tensor, name: str) -> Tensor:
        """Product; each factor is saved for the other's gradient. One of them may be broadcast over the other."""
        big = a if a.per_sample >= b.per_sample else b
        saved = [self.tape.save(other) for one, other in ((a, b), (b, a)) if one.variable is not None]
        out = self.tensor(big.per_sample, big.width, max(a.itemsize, b.itemsize), name, a, b)
        return self.differentiate(out, self._targets(out, a, b), saved)

    def mean(self, x: Tensor, name: str) -> Tensor:
        """Mean of each row; its gradient is expanded and divided into a whole tensor (`mean_backward`)."""
        out = self.tensor(x.per_sample // x.width, 1, x.itemsize, name, x)
        return self.differentiate(out, self._targets(x, x))

    def softmax(self, x: Tensor, itemsize: int) -> Tensor:
        """Saves its output. CUDA computes fp32 from half in one kernel and its gradient back in half, after a product
        of gradient and output (aten/src/ATen/native/cuda/SoftMax.cu, `softmax_backward_cuda_out`)."""
        out = self.tensor(x.per_sample, x.width, itemsize, "softmax", x)
        saved = [self.tape.save(out)] if x.variable is not None else []
        return self.differentiate(out, self.own_targets(x), saved, temporaries=1)

    def broadcast(self, x: Tensor, per_sample: int, name: str) -> Tensor:
        """A contiguous copy repeated to `per_sample` elements; its gradient is summed back."""
        out = self.tensor(per_sample, x.width, x.itemsize, name, x)
        return self.differentiate(out, self.own_targets(x))

    def cap(self, x: Tensor, name: str = "capped") -> Tensor:
        """`tanh(x / cap) * cap`, where each result takes the variable of the one before: tanh saves its output."""
        quotient = self.unary(x, f"{name} quotient")
        x.storage = None
        x = self.unary(quotient, f"{name} tanh", saves="output")
        del quotient
        return self.unary(x, name)

    def dropout(self, x: Tensor, probability: float, name: str) -> Tensor:
        """`native_dropout`: saves a mask of one byte per element; nothing happens at probability 0."""
        if probability == 0.0:
            return x
        out = self.tensor(x.per_sample, x.width, x.itemsize, name, x)
        mask = Tensor(self.tape.storage(0, x.per_sample, f"{name} mask"), 0, x.per_sample, x.width, BOOL, None)
        saved = [self.tape.save(mask)] if x.variable is not None else []
        return self.differentiate(out, self._targets(out, x), saved)

    def add(self, a: Tensor, b: Tensor, name: str) -> Tensor:
        """Saves nothing; hands its gradient itself on to both terms, cast or summed where a term's dtype or shape
        differs."""
        out = self.tensor(max(a.per_sample, b.per_sample), a.width, max(a.itemsize, b.itemsize), name, a, b)
        return self.pass_on(out, (a, b))

    def cat(self, parts: Sequence[Tensor], name: str) -> Tensor:
        """Joins columns; hands views of its gradient on."""
        width, itemsize = sum(p.width for p in parts), max(p.itemsize for p in parts)
        out = self.tensor(sum(p.per_sample for p in parts), width, itemsize, name, *parts)
        return self.pass_on(out, parts)

    def pass_on(self, out: Tensor, inputs: Sequence[Tensor]) -> Tensor:
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
        """An empty tensor with two `copy_` into slices of it, `shared` expanded over the heads. In backward each hands
        on a copy of the whole gradient and a clone of its slice (torch/csrc/autograd/functions/tensor.cpp,
        `CopySlices`); the second makes zeros for what it overwrote, the first finds nothing that needs a gradient."""
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
        """Views of consecutive columns. The gradient of each is a zero-filled tensor as large as x (`slice_backward`);
        that of `split` and `chunk` is one concatenation of all parts' gradients."""
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
        """A view of each sample's first row; the gradient is a zero-filled tensor as large as x (`select_backward`)."""
        out = Tensor(x.storage, 0, x.width, x.width, x.itemsize, Variable() if x.variable is not None else None)
        return self.differentiate(out, self.own_targets(x))

    # --- matrix multiplication ---

    def multiply(self, itemsize: int, flops_per_sample: int) -> None:
        self.tape.cost.flops_per_sample[MATMUL_FP32 if itemsize == FP32 else MATMUL_HALF] += flops_per_sample

    def linear(self, x: Tensor, weight: Tensor, bias: Tensor | None, out_features: int, name: str) -> Tensor:
        """`x @ weight.T + bias`: saves x for the weight's gradient and the weight for x's; a frozen weight saves no x
        (derivatives.yaml, `mm` and `addmm`)."""
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
        """Batched product of two activations (`bmm`); each is saved for the other's gradient."""
        a, b = self.autocast_input(a, f"{name} left"), self.autocast_input(b, f"{name} right")
        saved = [self.tape.save(other) for one, other in ((a, b), (b, a)) if one.variable is not None]
        out = self.product(out_per_sample, out_width, a.itemsize, name, a, b, flops=flops, operation=Operation.BMM)
        return self.differentiate(out, self.own_targets(a, b), saved, flops=flops * len(saved))

    @staticmethod
    def own_targets(*inputs: Tensor) -> list[Target]:
        """Gradients that are made in their inputs' own shapes and dtypes."""
        sizes = [(x.fixed * x.itemsize, x.per_sample * x.itemsize) for x in inputs]
        pairs = zip(inputs, sizes, strict=True)
        return [Target(x.variable, *size, *size) for x, size in pairs if x.variable is not None]
