"""Records backward functions of tensors without values on a tape, with a meter of live bytes: autograd for bytes.

A forward pass written as in the real library runs on these tensors in microseconds. As in torch, CPython's reference
counts free a storage. One run answers for every micro-batch size: sizes are `fixed + per_sample x micro_batch_size`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from planner.memory.autograd.marking import NO_STEPS, Backward, Marking, Node
from planner.memory.autograd.marks import Happening
from planner.memory.autograd.storage import Meter, Saved, Snapshot, Storage
from planner.memory.autograd.tensor import MATMUL_FP8, MATMUL_FP32, MATMUL_HALF, Cost, Tensor, Variable

__all__ = [
    "MATMUL_FP8",
    "MATMUL_FP32",
    "MATMUL_HALF",
    "NO_STEPS",
    "Cost",
    "Meter",
    "Saved",
    "Snapshot",
    "Storage",
    "Tape",
    "Tensor",
    "Variable",
]


class Tape(Marking):
    """Records backward functions while a forward pass runs, and runs them in reverse, as torch's engine does."""

    def __init__(
        self,
        *,
        keep_saved: bool = True,
        steps: Mapping[str, int] = NO_STEPS,
        recomputed: bool = False,
        marked: bool = False,
        logs: bool = False,
    ) -> None:
        super().__init__(Meter(logs=logs), marked=marked)
        self.cost = Cost()
        self.keep_saved, self.steps, self.recomputed = keep_saved, steps, recomputed
        self.pops_saved = recomputed
        """Whether nothing else refers to a saved tensor once backward has unpacked it."""
        self.saved: list[Saved] = []
        self.kept: list[Storage] = []
        """Storages that live until the whole graph is gone."""
        self.shared = ""
        """Name of the parameter that several parts use; empty if there is none."""
        self.snapshots_at_last_save = self.num_saves = self.logged_at_last_save = 0
        self.work_at_last_save: tuple[int, ...] = ()
        """What `done` said when the last tensor was saved, where this is a recomputation, which stops there."""
        self.before_first_use: tuple[int, int] | None = None
        """(fixed, per-sample) bytes of gradients when backward first needs a saved tensor: recomputation begins."""
        self.first_unit: Variable | None = None
        """Output of the first module of a unit of its own in the part, whose backward prefetches the part before."""
        self.snapshots_at_prefetch: int | None = None
        """Instants of backward before it came to `first_unit`; None if it has not."""
        self._last_unit: tuple[str, int] | None = None
        """Name of the last module of a unit of its own, and the number of functions recorded when its forward ended."""
        self._ready: list[tuple[Variable, Storage]] = []
        """Parameters to update, with their gradients, when the backward function that made these has returned."""
        self._made: list[tuple[Variable, Storage]] | None = None
        """Gradients that the running function has made, to be passed on when it has returned; None if none runs."""

    def storage(self, fixed: int, per_sample: int, name: str = "") -> Storage:
        """Allocates `fixed + per_sample x micro_batch_size` bytes."""
        return Storage(self.meter, fixed, per_sample, name)

    @contextmanager
    def once(self) -> Iterator[None]:
        """Counts what is allocated within, and in backward for it, as fixed bytes: it exists once for all samples.

        The FLOPs within are not counted: those of a whole batch are many times as many.
        """
        cost, self.cost, self.meter.once = self.cost, Cost(), True
        try:
            yield
        finally:
            cost.fixed_bytes += self.cost.fixed_bytes + self.cost.bytes_per_sample
            cost.launched += self.cost.launched
            self.cost, self.meter.once = cost, False

    def save(self, tensor: Tensor) -> Storage | None:
        """Saves a tensor for backward and returns its storage for `record`, or None where a checkpoint drops it."""
        storage = tensor.storage
        self.num_saves += 1
        if storage is None or not self.keep_saved:
            return None
        if not storage.saved:
            storage.mark_saved()
            self.saved.append(_described(tensor, storage))
        if self.meter.grown:
            self.meter.take()
        self.snapshots_at_last_save = len(self.meter.snapshots)
        self.logged_at_last_save = len(self.meter.log or ())
        if self.recomputed:
            self.work_at_last_save = self.done()
        return storage

    def done(self) -> tuple[int, ...]:
        """Returns the work so far: FLOPs of products in half precision, fp32 and fp8, bytes, attention, kernels."""
        cost = self.cost
        of = cost.flops_per_sample
        return (
            *(of[MATMUL_HALF], of[MATMUL_FP32], of[MATMUL_FP8]),
            *(cost.bytes_per_sample + cost.read_per_sample, cost.fixed_bytes),
            *(cost.written_per_sample, cost.written_fixed),
            *(cost.attention_forward, cost.attention_backward, self.meter.allocations + cost.launched),
            cost.attention_fp32,
        )

    def keep(self, tensor: Tensor) -> None:
        """Keeps a tensor's bytes until the graph is gone, as an autograd node's attribute does, checkpointed or not."""
        storage = tensor.storage
        if storage is None or any(storage is other for other in self.kept):
            return
        if not storage.saved:
            storage.mark_saved()
            self.saved.append(_described(tensor, storage))
        self.kept.append(storage)

    def kept_bytes(self, but: Sequence[Storage] = ()) -> tuple[int, int]:
        """Returns the (fixed, per-sample) bytes of what is kept, except for the storages `but`."""
        kept = [storage for storage in self.kept if storage not in but]
        return sum(s.fixed for s in kept), sum(s.per_sample for s in kept)

    def record(self, variable: Variable, backward: Backward, *saved: Storage | None) -> None:
        """Records `backward`, to be called with the gradient of `variable`; `saved` lives until it has returned."""
        if self.meter.once:
            backward = self._once(backward)
        self._nodes.append(Node(variable, backward, saved))

    def _once(self, backward: Backward) -> Backward:
        def run(gradient: Storage) -> None:
            with self.once():
                backward(gradient)

        return run

    def enter_unit(self, name: str) -> None:
        """Remembers the module whose forward has just ended: so far it is the last one that is a unit of its own."""
        self._last_unit = name, len(self._nodes)

    @property
    def reached_first(self) -> str | None:
        """Module, a unit of its own, that backward reaches before it needs any saved tensor; None if there is none."""
        if self._last_unit is None:
            return None
        name, number = self._last_unit
        return None if any(node.saved for node in self._nodes[number:]) else name

    def forget(self) -> None:
        """Drops all recorded functions, where no backward will run."""
        self._nodes.clear()

    def backward(self, output: Variable, gradient: Storage) -> None:
        """Runs the recorded functions in reverse, from the `gradient` of `output`.

        A function's saved tensors and the gradient it was called with live while the gradients it made are cast. They
        are freed before these are passed on (torch/csrc/autograd/engine.cpp: `call_function` ends with
        `validate_outputs`, then `evaluate_function` releases the variables and adds to the input buffers). Those of a
        block that non-reentrant checkpointing recomputed are freed before the casts, since nothing else refers to them
        (torch/utils/checkpoint.py, `unpack_hook` pops them). A gradient of a module's input is passed on when the hook
        on its backward has been called (`PostBackwardFunction`).
        """
        output.gradient = gradient
        del gradient
        nodes, held, marked = self._nodes, dict[str, Storage](), self.marked
        while nodes:
            node = nodes.pop()
            variable, leaves, made = node.variable, node.leaves, []
            if variable.gradient is not None:
                if marked:
                    self._mark(Happening.ENTERS_BACKWARD, node.enters)
                if node.holds:
                    held[node.enters] = variable.gradient
                if node.saved and self.before_first_use is None:
                    meter = self.meter
                    self.before_first_use = meter.fixed - meter.saved_fixed, meter.per_sample - meter.saved_per_sample
                if variable is self.first_unit:
                    self.meter.take()
                    self.snapshots_at_prefetch = len(self.meter.snapshots)
                made = self._call(node)
                node.saved = ()
                self._pass_on(made, waits=marked and bool(leaves))
            else:
                leaves, node.saved = "", ()
            for name in node.views:
                self._mark(Happening.LETS_GO, name)
            self._update_parameters()
            if marked:
                self._mark(Happening.LEAVES_BACKWARD, "" if leaves in self._first else leaves)
                held.pop(leaves, None)
                self._pass_on(made, waits=False)

    def _call(self, node: Node) -> list[tuple[Variable, Storage]]:
        """Calls a function with the gradient of its variable, and returns the gradients that it made."""
        gradient, node.variable.gradient = node.variable.gradient, None
        assert gradient is not None
        made: list[tuple[Variable, Storage]] = []
        self._made = made
        cast = node.backward(gradient)
        if cast is not None:
            if self.pops_saved:
                node.saved = ()
            cast()
        self._made = None
        return made

    def _pass_on(self, made: list[tuple[Variable, Storage]], *, waits: bool) -> None:
        """Accumulates the gradients in `made` in turn; those of parameters alone where the others' module `waits`."""
        for _ in range(len(made)):
            variable, gradient = made.pop(0)
            if waits and not variable.parameter:
                made.append((variable, gradient))
            else:
                self._accumulate(variable, gradient)
            del variable, gradient  # each lives no longer than its turn

    def accumulate(self, variable: Variable, gradient: Storage) -> None:
        """Adds a gradient to what `variable` has gathered so far, once the function that made it has returned."""
        if self._made is None:
            self._accumulate(variable, gradient)
        else:
            self._made.append((variable, gradient))

    def _accumulate(self, variable: Variable, gradient: Storage) -> None:
        """Adds a gradient to the one that `variable` has gathered so far.

        The sum is made in place if the buffer has no other owner and is no view, else in a new buffer
        (torch/csrc/autograd/input_buffer.cpp, `can_accumulate_inplace`). A parameter's gradient is final: it leaves the
        block's account and is counted with the step's gradients (accumulate_grad.h, "steal the gradient").
        """
        waiting = variable.gradient
        if variable.step_bytes is not None:
            self._ready.append((variable, gradient))
        elif waiting is None:
            variable.gradient = gradient
            if variable.parameter:
                self.meter.finish(gradient, awaited=variable.name == self.shared)
                if self.meter.grown:  # up to here it is a further tensor, even if it is then added to an existing one
                    self.meter.take()
                self.meter.gradients += gradient.fixed
        elif waiting.viewed or sys.getrefcount(waiting) > _SOLE_OWNER:
            total = self.storage(gradient.fixed, gradient.per_sample)
            if not variable.parameter:
                variable.gradient = total
            elif variable.name == self.shared:
                self.meter.finish(total, awaited=True)

    def _update_parameters(self) -> None:
        """Allocates for the optimizer steps of the parameters whose gradients are complete, and frees the gradients.

        An earlier gradient (of a tied weight) that waited for this one is on another part's account, and so is the sum.
        """
        while self._ready:
            variable, gradient = self._ready.pop(0)
            waiting, variable.gradient = variable.gradient, None
            if waiting is not None:
                total = self.storage(gradient.fixed if waiting.viewed else 0, 0)
                del total  # of the two and their sum one is left: that is the gradient from here on
                self._mark(Happening.GRADIENT, variable.name)
                del gradient
            else:
                self._mark(Happening.GRADIENT, variable.name)
            if variable.step_bytes:
                step = self.storage(variable.step_bytes, 0)
                del step
            gradient = variable = waiting = None  # type: ignore[assignment]  # freed here, before anything else happens


def _described(tensor: Tensor, storage: Storage) -> Saved:
    """Describes a saved storage, with the shape of its tensor unless that is a view of a part."""
    size = tensor.fixed * tensor.itemsize, tensor.per_sample * tensor.itemsize
    shape = (tensor.width, tensor.itemsize) if size == (storage.fixed, storage.per_sample) else ()
    return Saved(storage.name, storage.fixed, storage.per_sample, *shape)


def _references_of_sole_owner() -> int:
    """Returns `sys.getrefcount` of a storage that one attribute and one local variable refer to (CPythons differ)."""
    variable = Variable()
    variable.gradient = Storage(Meter(), 0, 0, "")
    waiting = variable.gradient
    return sys.getrefcount(waiting)


_SOLE_OWNER = _references_of_sole_owner()
