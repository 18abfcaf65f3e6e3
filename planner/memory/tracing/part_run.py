"""Measures one part while its forward and backward run on symbolic tensors."""

from __future__ import annotations

from collections.abc import Sequence

from planner.memory.autograd.marks import Happened, Mark, happened
from planner.memory.autograd.storage import Logged
from planner.memory.autograd.tape import Snapshot, Tensor, Variable
from planner.memory.layers.layers import Layers
from planner.memory.settings.log import PartLog
from planner.memory.settings.parts import Part
from planner.memory.settings.snapshots import RawSnapshot, envelope, raised
from planner.memory.settings.work import Work


class PartRun:
    """Measures one part while its forward and backward run.

    It is made before the part's forward runs on `layers`; `forward` or `finish` is called after it.

    Args:
        layers: What runs the part, with a tape of its own.
    """

    def __init__(self, layers: Layers) -> None:
        self.layers, self.meter = layers, layers.tape.meter
        self._given = 0
        self._entry: Variable | None = None
        self.meter.mark()

    def given(self, x: Tensor) -> Tensor:
        """Says that `x` is the part's input, and returns it."""
        assert x.storage is not None
        self._given, self._entry = x.storage.number, x.variable
        return x

    def logged(self, start: int = 0, end: int | None = None) -> tuple[Logged, ...]:
        """Returns what has been logged from an entry on up to another; nothing where there is no log."""
        return tuple((self.meter.log or [])[start:end])

    def log_of_forward(self, out: Tensor, *, leaves_host: bool) -> PartLog | None:
        """Returns the log of a checkpointed part's own forward; None where there is no log."""
        if self.meter.log is None:
            return None
        output = out.storage.number if out.storage is not None else 0
        return PartLog(self.logged(), given=self._given, output=output, leaves_host=leaves_host)

    def _live_without(self, out: Tensor) -> tuple[int, int]:
        """Returns the live (fixed, per-sample) bytes without those of the output, unless it is saved."""
        storage = out.storage
        if storage is None or storage.saved:
            return self.meter.fixed, self.meter.per_sample
        return self.meter.fixed - storage.fixed, self.meter.per_sample - storage.per_sample

    def work(self) -> Work:
        """Returns the work since the run began."""
        return Work.of(self.layers.tape.done())

    def happened(self, snapshots: list[RawSnapshot], marks: Sequence[Mark]) -> tuple[Happened, ...]:
        """Returns what happens to parameters at marks among instants; nothing where the tape makes no marks."""
        return happened([Snapshot(*s) for s in snapshots], marks) if self.layers.tape.marked else ()

    def forward(self, out: Tensor) -> tuple[list[RawSnapshot], tuple[int, int]]:
        """Ends the part's forward.

        Args:
            out: The part's output.

        Returns:
            The instants of the forward, and the (fixed, per-sample) bytes that stay until the model's forward returns,
            without an output that is not saved.
        """
        snapshots = self.meter.mark()
        self.layers.probabilities = None
        self.layers.arguments.clear()
        return snapshots, self._live_without(out)

    def finish(
        self, out: Tensor, *, again: bool = False, reentrant: bool = False, holds_gradient: bool = False
    ) -> Part:
        """Ends the part's forward, runs its backward, and returns what was measured.

        Args:
            out: The part's output; its storage is released.
            again: Whether this is the recomputation of a checkpointed block, whose graph is gone after its backward, so
                that nothing is kept beyond.
            reentrant: Whether the recomputation runs to its end, and its output and the gradient of it are held until
                its backward is over (torch/utils/checkpoint.py, `CheckpointFunction.backward`: `outputs` and `args`).
            holds_gradient: Whether something else holds the gradient of the output until backward is over.
        """
        tape, meter = self.layers.tape, self.meter
        forward, held = self.forward(out)
        returns, output = len(meter.log or ()), out.storage.number if out.storage is not None else 0
        ends = tape.logged_at_last_save if again and not reentrant else returns
        marks = tape.take_marks()
        recomputed = forward if reentrant else forward[: tape.snapshots_at_last_save]
        exchange, body = self.layers.exchange, self.layers.unsaved_in_body(out)
        shares, reads = exchange.not_saved(self.layers.body), exchange.saved_of_others()
        self.layers.leave_forward()
        saved, forward_work, names = self._live_without(out), self.work(), tuple(tape.saved)
        size, variable = out.storage.per_sample if out.storage is not None else 0, out.variable
        frame = [out.storage] if reentrant else []
        out.storage = None
        if again:
            tape.kept.clear()
        exchange.receive(tape)
        meter.mark()
        begins, output_gradient, meter.multiplies = len(meter.log or ()), 0, False
        if variable is not None:
            gradients = [tape.storage(0, size)]
            output_gradient = gradients[0].number
            frame += gradients if reentrant or holds_gradient else []
            tape.backward(variable, gradients.pop())
        log = None
        if meter.log is not None:
            gradient = self._entry.gradient if self._entry is not None else None
            log = PartLog(
                self.logged(0, ends),
                self.logged(returns, begins),
                self.logged(begins),
                self._given,
                output,
                output_gradient,
                gradient.number if gradient is not None else 0,
            )
            del gradient
        frame.clear()
        total, backward, until = self.work(), meter.mark(), tape.snapshots_at_prefetch
        stops = again and not reentrant and bool(tape.work_at_last_save)
        before = (0, size) if reentrant or tape.before_first_use is None else tape.before_first_use
        again_marks = [mark for mark in marks if mark.place < len(recomputed)] if again else []
        return Part(
            forward=envelope(forward),
            backward=envelope(backward),
            before_prefetch=() if until is None else envelope(backward[:until]),
            after_prefetch=() if until is None else envelope(backward[until - 1 :]),
            held=held,
            saved=saved,
            kept=tape.kept_bytes(),
            gradients=meter.gradients,
            forward_work=Work.of(tape.work_at_last_save) if stops else forward_work,
            backward_work=Work(*(t - f for t, f in zip(total, forward_work, strict=True))),
            saved_tensors=names,
            output_requires_grad=variable is not None,
            output_itemsize=out.itemsize,
            output_bytes=size,
            frame_bytes=2 * size if reentrant else 0,
            recomputation=envelope([raised(s, *before) for s in recomputed]),
            leaf=self.layers.leaf_bytes,
            body=body,
            leaves_body=self.layers.leaves_body,
            shares=shares,
            reads=reads,
            leaves=exchange.leaves,
            takes=exchange.takes,
            forward_happened=self.happened(forward, marks),
            again_happened=self.happened([raised(s, *before) for s in recomputed], again_marks) if again else (),
            backward_happened=self.happened(backward, tape.take_marks()),
            log=log,
        )
