"""Autograd for bytes: tensors that have a size but no values, a tape of backward functions, and a meter of live bytes.

A forward pass written as the real library writes it runs on these tensors in microseconds. A storage is freed when its
last reference is dropped, exactly as torch frees it: CPython's reference count is the garbage collector of both. Sizes
are kept as `fixed + per_sample x micro_batch_size`, so that one run answers for every micro-batch.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

MATMUL_FP32, MATMUL_HALF, MATMUL_FP8 = 4, 2, 1
"""A matmul is counted by the item size of its operands: they decide which peak FLOP/s it can reach."""


class Snapshot(NamedTuple):
    """Live bytes at one instant, each pair as fixed and per sample; `gradients` are parameters' finished gradients."""

    fixed: int
    per_sample: int
    saved_fixed: int
    saved_per_sample: int
    gradients: int

    def above(self, saved: tuple[int, int]) -> Snapshot:
        """On top of what is saved."""
        return self._replace(
            fixed=self.fixed + saved[0],
            per_sample=self.per_sample + saved[1],
            saved_fixed=self.saved_fixed + saved[0],
            saved_per_sample=self.saved_per_sample + saved[1],
        )

    def at(self, micro_batch_size: int) -> int:
        return self.fixed + self.per_sample * micro_batch_size


class Meter:
    """Counts live bytes and remembers the instants since the last `mark` at which they were the most: before a release
    that follows an allocation."""

    __slots__ = ("fixed", "gradients", "grown", "once", "per_sample", "saved_fixed", "saved_per_sample", "snapshots")

    def __init__(self) -> None:
        self.fixed = self.per_sample = self.saved_fixed = self.saved_per_sample = self.gradients = 0
        self.grown = self.once = False
        self.snapshots: list[tuple[int, int, int, int, int]] = []

    def take(self) -> None:
        """Remembers the present instant."""
        self.grown = False
        self.snapshots.append((self.fixed, self.per_sample, self.saved_fixed, self.saved_per_sample, self.gradients))

    def mark(self) -> list[tuple[int, int, int, int, int]]:
        """Returns the instants since the last mark and starts anew, with the present as the first."""
        self.take()
        taken, self.snapshots = self.snapshots, self.snapshots[-1:]
        return taken


class Storage:
    """`fixed + per_sample x micro_batch_size` bytes that live as long as something refers to them."""

    __slots__ = ("fixed", "meter", "name", "per_sample", "saved", "viewed")

    def __init__(self, meter: Meter, fixed: int, per_sample: int, name: str) -> None:
        if meter.once:
            fixed, per_sample = fixed + per_sample, 0
        self.meter, self.fixed, self.per_sample, self.name, self.saved = meter, fixed, per_sample, name, False
        self.viewed = False
        """As a gradient: handed on as a view of itself, as a reshaped or transposed product is."""
        meter.fixed += fixed
        meter.per_sample += per_sample
        meter.grown = True

    def mark_saved(self) -> None:
        """From here on these bytes are an activation: backward needs them."""
        if not self.saved:
            self.saved = True
            self.meter.saved_fixed += self.fixed
            self.meter.saved_per_sample += self.per_sample

    def __del__(self) -> None:
        meter = self.meter
        if meter.grown:
            meter.take()
        meter.fixed -= self.fixed
        meter.per_sample -= self.per_sample
        if self.saved:
            meter.saved_fixed -= self.fixed
            meter.saved_per_sample -= self.per_sample


class Variable:
    """A tensor's place in the autograd graph: where its gradient is gathered. Holds no bytes of the tensor itself.

    `step_bytes`: of a parameter that is updated as soon as its gradient is there, which is then freed: what its
    optimizer step allocates.
    """

    __slots__ = ("gradient", "parameter", "step_bytes")

    def __init__(self, parameter: bool = False, step_bytes: int | None = None) -> None:
        self.gradient: Storage | None = None
        self.parameter, self.step_bytes = parameter, step_bytes


class Tensor:
    """`fixed + per_sample x micro_batch_size` elements of `itemsize` bytes, `width` of them in the last dimension."""

    __slots__ = ("beside", "fixed", "heads_first", "itemsize", "per_sample", "storage", "variable", "width")

    def __init__(
        self, storage: Storage | None, fixed: int, per_sample: int, width: int, itemsize: int, variable: Variable | None
    ) -> None:
        self.storage, self.fixed, self.per_sample = storage, fixed, per_sample
        self.width, self.itemsize, self.variable = width, itemsize, variable
        self.heads_first = False
        """Laid out head by head, as a concatenation of heads is, instead of token by token."""
        self.beside: tuple[Storage | None, ...] = ()
        """What the function that made it returned beside it: alive as long as the caller's variables."""

    def constant(self, itemsize: int) -> Tensor:
        """A tensor of this shape that takes part in an operation and needs no gradient."""
        return Tensor(None, self.fixed, self.per_sample, self.width, itemsize, None)


class Cost:
    """Work done: FLOPs of matrix multiplications by operand size, bytes moved by everything else; all per sample.

    `fixed_bytes` is moved once per pass whatever the micro-batch (casts of weights, for example).
    """

    __slots__ = ("bytes_per_sample", "fixed_bytes", "flops_per_sample")

    def __init__(self) -> None:
        self.flops_per_sample = {MATMUL_FP32: 0, MATMUL_HALF: 0, MATMUL_FP8: 0}
        self.bytes_per_sample = self.fixed_bytes = 0


Backward = Callable[[Storage], Callable[[], None] | None]
"""From the gradient of a function's result; what it returns hands the gradients that it made on."""


NO_STEPS: Mapping[str, int] = {}
"""`step_bytes` by the name of a parameter, where an update waits for the end of backward."""


class Tape:
    """Records backward functions while a forward pass runs, and runs them in reverse, as torch's engine does."""

    def __init__(
        self, *, keep_saved: bool = True, steps: Mapping[str, int] = NO_STEPS, recomputed: bool = False
    ) -> None:
        self.meter = Meter()
        self.cost = Cost()
        self.keep_saved, self.steps, self.recomputed = keep_saved, steps, recomputed
        self.saved: list[tuple[str, int, int]] = []
        self.kept: list[Storage] = []
        """What lives until the whole graph is gone."""
        self.snapshots_at_last_save = self.num_saves = 0
        self.before_first_use: tuple[int, int] | None = None
        """Fixed and per-sample bytes of gradients when backward first asks for something saved, which is when a
        checkpointed block is computed again."""
        self._ready: list[tuple[Variable, Storage]] = []
        """Parameters with their gradients that are updated when the function that made these has returned."""
        self._nodes: list[tuple[Variable, Backward, tuple[Storage | None, ...]]] = []

    def storage(self, fixed: int, per_sample: int, name: str = "") -> Storage:
        return Storage(self.meter, fixed, per_sample, name)

    @contextmanager
    def once(self) -> Iterator[None]:
        """What is made within, and in backward for it, is there once and not for each sample. Its FLOPs are not
        counted: those of a batch are many times as many."""
        cost, self.cost, self.meter.once = self.cost, Cost(), True
        try:
            yield
        finally:
            cost.fixed_bytes += self.cost.fixed_bytes + self.cost.bytes_per_sample
            self.cost, self.meter.once = cost, False

    def save(self, tensor: Tensor) -> Storage | None:
        """Keeps a tensor's bytes alive for backward; a checkpointed forward pass drops them and recomputes later."""
        storage = tensor.storage
        self.num_saves += 1
        if storage is None or not self.keep_saved:
            return None
        if not storage.saved:
            storage.mark_saved()
            self.saved.append((storage.name, storage.fixed, storage.per_sample))
        if self.meter.grown:
            self.meter.take()
        self.snapshots_at_last_save = len(self.meter.snapshots)
        return storage

    def keep(self, tensor: Tensor) -> None:
        """Keeps a tensor's bytes alive as long as the graph, as an attribute of an autograd node does: no checkpoint
        drops them, and no backward function frees them."""
        storage = tensor.storage
        if storage is None or any(storage is other for other in self.kept):
            return
        if not storage.saved:
            storage.mark_saved()
            self.saved.append((storage.name, storage.fixed, storage.per_sample))
        self.kept.append(storage)

    def kept_bytes(self, but: Sequence[Storage] = ()) -> tuple[int, int]:
        """Fixed and per-sample bytes of what is kept."""
        kept = [storage for storage in self.kept if storage not in but]
        return sum(s.fixed for s in kept), sum(s.per_sample for s in kept)

    def record(self, variable: Variable, backward: Backward, *saved: Storage | None) -> None:
        """`backward` will be called with the gradient of `variable`; `saved` lives until it has returned."""
        if self.meter.once:
            backward = self._once(backward)
        self._nodes.append((variable, backward, saved))

    def _once(self, backward: Backward) -> Backward:
        def run(gradient: Storage) -> None:
            with self.once():
                backward(gradient)

        return run

    def forget(self) -> None:
        """Drops the recorded functions: no backward will run."""
        self._nodes.clear()

    def backward(self, output: Variable, gradient: Storage) -> None:
        """Runs the recorded functions in reverse. A function's saved tensors die when it has handed its gradients on;
        those of a checkpointed block before, since nothing else refers to them (torch/utils/checkpoint.py,
        `unpack_hook` pops them)."""
        output.gradient = gradient
        del gradient
        nodes = self._nodes
        while nodes:
            variable, function, saved = nodes.pop()
            if variable.gradient is not None:
                if saved and self.before_first_use is None:
                    meter = self.meter
                    self.before_first_use = meter.fixed - meter.saved_fixed, meter.per_sample - meter.saved_per_sample
                taken, variable.gradient = variable.gradient, None
                hand_on = function(taken)
                if hand_on is not None:
                    if self.recomputed:
                        del saved
                        saved = ()
                    hand_on()
                del taken, hand_on
            del saved
            self._update_parameters()

    def accumulate(self, variable: Variable, gradient: Storage) -> None:
        """Adds a gradient where it is gathered: in place when this is the buffer's only owner and it is not a view,
        else into a new buffer (torch/csrc/autograd/input_buffer.cpp, `can_accumulate_inplace`).

        A parameter's gradient is final: it leaves the block's account and becomes one of the step's gradients
        (accumulate_grad.h, "steal the gradient").
        """
        waiting = variable.gradient
        if variable.step_bytes is not None:
            self._ready.append((variable, gradient))
        elif waiting is None:
            variable.gradient = gradient
            if variable.parameter:
                if self.meter.grown:  # until here it is one more tensor, also where it is then added to an existing one
                    self.meter.take()
                self.meter.gradients += gradient.fixed
        elif waiting.viewed or sys.getrefcount(waiting) > _SOLE_OWNER:
            total = self.storage(gradient.fixed, gradient.per_sample)
            if not variable.parameter:
                variable.gradient = total

    def _update_parameters(self) -> None:
        """The optimizer steps of those whose gradients are there, which are then freed. One that had waited for this
        gradient (of a tied weight) is on another part's account, and so is their sum."""
        while self._ready:
            variable, gradient = self._ready.pop(0)
            waiting, variable.gradient = variable.gradient, None
            if waiting is not None:
                total = self.storage(gradient.fixed if waiting.viewed else 0, 0)
                del gradient, total
            step = self.storage(variable.step_bytes or 0, 0)
            del step


def _references_of_sole_owner() -> int:
    """What `sys.getrefcount` says when an attribute and one local variable refer to a storage (CPythons differ)."""
    variable = Variable()
    variable.gradient = Storage(Meter(), 0, 0, "")
    waiting = variable.gradient
    return sys.getrefcount(waiting)


_SOLE_OWNER = _references_of_sole_owner()
