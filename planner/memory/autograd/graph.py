"""Makes results of operations and their backward functions: the part of autograd that all operations share.

Inputs are saved before the result is allocated, since a recomputation stops as soon as it has everything that backward
needs. An operation on tensors that need no gradient records nothing. Backward functions hold sizes, never tensors, so
that bytes are freed when torch's would be.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from planner.memory.autograd.recompute import Results, Sizes
from planner.memory.autograd.tape import MATMUL_FP32, MATMUL_HALF, Storage, Tape, Tensor, Variable
from strategies import Operation

FP32, HALF, BOOL = 4, 2, 1
NARROW = 128
"""Columns, and no more, of a matrix that leave its product waiting for memory: one read element takes part in as many
multiplications as the other matrix has columns, and an A100 or H100 does 140 to 200 products for each byte."""


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


class Graph:
    """Makes the symbolic tensors of one tape, and records what backward does for them."""

    def __init__(self, tape: Tape, *, autocast: int | None, sequence_length: int) -> None:
        """Makes operations for one tape.

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
        self.entry: Variable | None = None
        """That of the input of the part that runs; None where nobody asks what becomes of it."""
        self.casts_entry = False
        """Whether autocast casts this input itself, as no norm before it does."""
        self.leaves: set[Variable] = set()
        """Those of inputs that are leaves of autograd's graph."""
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
            The result; saving and backward are left to the caller. A narrow product waits for memory: the bytes that it
            reads are counted, too.
        """
        needs_gradient = any(x.variable is not None for x in inputs)
        made, runs = self.made.of(operation, ((0, per_sample * itemsize, name),))
        if runs:
            self.multiply(itemsize, flops)
            self.tape.cost.written_per_sample += per_sample * itemsize
            for x in inputs if min(width, *(x.width for x in inputs)) <= NARROW else ():
                self.tape.cost.read_per_sample += x.per_sample * x.itemsize
        (storage,) = made
        return Tensor(storage, 0, per_sample, width, itemsize, Variable() if needs_gradient else None)

    def attended(self, operation: Operation | None, sizes: Sizes, itemsize: int, flops: int) -> list[Storage]:
        """Returns storages of the results of fused attention; counts its FLOPs unless a recomputation has them kept.

        Args:
            operation: Its kind for selective checkpointing; None if no policy knows it.
            sizes: (fixed bytes, per-sample bytes, name) of each result.
            itemsize: Bytes per element of the operands.
            flops: FLOPs per sample.
        """
        storages, runs = self.made.of(operation, sizes)
        if runs and itemsize == FP32:
            self.tape.cost.attention_fp32 += flops
        elif runs:
            self.tape.cost.attention_forward += flops
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

    @staticmethod
    def own_targets(*inputs: Tensor) -> list[Target]:
        """Returns the gradients of those inputs that need one, each made in its input's own shape and dtype."""
        found = []
        for x in inputs:
            if x.variable is not None:
                fixed, per_sample = x.fixed * x.itemsize, x.per_sample * x.itemsize
                found.append(Target(x.variable, fixed, per_sample, fixed, per_sample))
        return found

    def differentiate(
        self,
        out: Tensor,
        targets: Sequence[Target],
        saved: Sequence[Storage | None] = (),
        *,
        temporaries: int = 0,
        flops: int = 0,
        reads: int = 0,
        begins: int = 0,
    ) -> Tensor:
        """Records the backward of an operation, which makes all gradients before it passes the first one on.

        Args:
            out: Result of the operation; nothing is recorded if it needs no gradient.
            targets: The gradients to make.
            saved: What `Tape.save` returned for the tensors that backward needs.
            temporaries: Number of tensors as large as `out` that backward makes before the gradients.
            flops: FLOPs per sample of a backward that is bound by compute; 0 if it is bound by the bytes it moves.
            reads: Bytes per sample that products of such a backward wait for, because they are narrow.
            begins: The number of the gradient that is made first, after which the others follow in turn.

        Returns:
            `out`.
        """
        if out.variable is not None:
            size, itemsize = out.per_sample * out.itemsize, out.itemsize
            first = begins % len(targets) if targets else 0
            order = (*targets[first:], *targets[:first])

            def backward(gradient: Storage) -> Callable[[], None]:
                cost = self.tape.cost
                meter = self.tape.meter
                _temporaries = [Storage(meter, 0, size, "") for _ in range(temporaries)]
                made = []
                for target in order:
                    made.append(Storage(meter, target.made_fixed, target.made_per_sample, ""))
                    if flops:
                        meter.multiply()
                gradients = made[len(order) - first :] + made[: len(order) - first]
                if flops:
                    self.multiply(itemsize, flops)
                    cost.read_per_sample += reads
                    for one in gradients:
                        one.viewed = True
                        cost.written_per_sample += one.per_sample
                        cost.written_fixed += one.fixed
                else:
                    for target in targets:
                        cost.bytes_per_sample += 3 * target.made_per_sample
                        cost.fixed_bytes += 3 * target.made_fixed
                return partial(self._cast_gradients, targets, gradients)

            self.tape.record(out.variable, backward, *saved)
        return out

    def _cast_gradients(self, targets: Sequence[Target], gradients: list[Storage]) -> None:
        """Accumulates gradients, each reduced and cast to the shape and dtype of its tensor (`validate_outputs`)."""
        tape = self.tape
        for target in targets:
            made = gradients.pop(0)
            if (target.made_fixed, target.made_per_sample) != (target.fixed, target.per_sample):
                made = tape.storage(target.fixed, target.per_sample)
            tape.accumulate(target.variable, made)
            del made

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

    def multiply(self, itemsize: int, flops_per_sample: int) -> None:
        """Counts FLOPs of a matrix product whose operands have `itemsize` bytes per element."""
        self.tape.meter.multiply()
        self.tape.cost.flops_per_sample[MATMUL_FP32 if itemsize == FP32 else MATMUL_HALF] += flops_per_sample
