"""Measures one part while its forward and backward run on symbolic tensors."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from planner.memory.autograd.marks import Happened, Mark, happened
from planner.memory.autograd.storage import Logged
from planner.memory.autograd.tape import Saved, Snapshot, Tensor, Variable
from planner.memory.layers.layers import Layers
from planner.memory.settings.exchange import Shared
from planner.memory.settings.log import PartLog
from planner.memory.settings.parts import Part
from planner.memory.settings.snapshots import RawSnapshot, envelope, envelope_of_backward, raised
from planner.memory.settings.work import Work


class _Ended(NamedTuple):
    """Holds what was measured of a forward, and the variable with which its backward begins.

    Attributes:
        forward: Its instants.
        at_last_save: How many of them there were when it saved a tensor for the last time.
        held: (fixed, per-sample) bytes that stay until the model's forward returns.
        saved: (fixed, per-sample) bytes that are live when backward begins, without those of an output that is not
            saved.
        saved_tensors: What it saved for backward.
        work: Its work.
        marks: Its marks.
        body: (fixed, per-sample) bytes that the model's body holds.
        in_body: Numbers of the storages that the model's body alone holds.
        shares: Tensors that it shares with later parts.
        reads: Names of the tensors of earlier parts that it saved.
        size: Bytes per sample of its output.
        output: Number of the output's storage, 0 if it has none.
        variable: The output's variable; None if it needs no gradient.
        logged: What a recomputation, or else the forward, has logged.
        returns: Entries of the log when it returned.
    """

    forward: list[RawSnapshot]
    at_last_save: int | None
    held: tuple[int, int]
    saved: tuple[int, int]
    saved_tensors: tuple[Saved, ...]
    work: Work
    marks: Sequence[Mark]
    body: tuple[int, int]
    in_body: frozenset[int]
    shares: Mapping[str, Shared]
    reads: frozenset[str]
    size: int
    output: int
    variable: Variable | None
    logged: tuple[Logged, ...]
    returns: int


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
        tape, meter, exchange = self.layers.tape, self.meter, self.layers.exchange
        ended = self._ended(out, again=again, reentrant=reentrant)
        frame = [out.storage] if reentrant else []
        out.storage = None
        if again:
            tape.kept.clear()
        exchange.receive(tape)
        meter.mark()
        begins, output_gradient, meter.multiplies = len(meter.log or ()), 0, False
        if ended.variable is not None:
            gradients = [tape.storage(0, ended.size)]
            output_gradient = gradients[0].number
            frame += gradients if reentrant or holds_gradient else []
            tape.backward(ended.variable, gradients.pop())
        log = self._log(ended, begins, output_gradient)
        frame.clear()
        total, backward, until = self.work(), meter.mark(), tape.snapshots_at_prefetch
        stops = again and not reentrant and bool(tape.work_at_last_save)
        before = (0, ended.size) if reentrant or tape.before_first_use is None else tape.before_first_use
        recomputed = ended.forward if reentrant else ended.forward[: ended.at_last_save]
        recomputation = [raised(s, *before) for s in recomputed]
        again_marks = [mark for mark in ended.marks if mark.place < len(recomputed)]
        return Part(
            forward=envelope(ended.forward),
            backward=envelope_of_backward(backward),
            before_prefetch=() if until is None else envelope(backward[:until]),
            after_prefetch=() if until is None else envelope(backward[until - 1 :]),
            held=ended.held,
            saved=ended.saved,
            kept=tape.kept_bytes(),
            gradients=meter.gradients,
            forward_work=Work.of(tape.work_at_last_save) if stops else ended.work,
            backward_work=Work(*(t - f for t, f in zip(total, ended.work, strict=True))),
            saved_tensors=ended.saved_tensors,
            output_requires_grad=ended.variable is not None,
            output_itemsize=out.itemsize,
            output_bytes=ended.size,
            frame_bytes=2 * ended.size if reentrant else 0,
            recomputation=envelope(recomputation),
            leaf=self.layers.leaf_bytes,
            body=ended.body,
            leaves_body=self.layers.leaves_body,
            shares=ended.shares,
            reads=ended.reads,
            leaves=exchange.leaves,
            takes=exchange.takes,
            forward_happened=self.happened(ended.forward, ended.marks),
            again_happened=self.happened(recomputation, again_marks) if again else (),
            backward_happened=self.happened(backward, tape.take_marks()),
            log=log,
        )

    def _ended(self, out: Tensor, *, again: bool, reentrant: bool) -> _Ended:
        """Ends the part's forward; see `finish` for the arguments."""
        tape, meter, exchange = self.layers.tape, self.meter, self.layers.exchange
        forward, held = self.forward(out)
        returns, output = len(meter.log or ()), out.storage.number if out.storage is not None else 0
        ends = tape.logged_at_last_save if again and not reentrant else returns
        marks, at_last_save = tape.take_marks(), tape.snapshots_at_last_save
        body, in_body = self.layers.unsaved_in_body(out), self.layers.in_body_alone(out)
        shares, reads = exchange.not_saved(self.layers.body), exchange.saved_of_others()
        self.layers.leave_forward()
        return _Ended(
            forward=forward,
            at_last_save=at_last_save,
            held=held,
            saved=self._live_without(out),
            saved_tensors=tuple(tape.saved),
            work=self.work(),
            marks=marks,
            body=body,
            in_body=in_body,
            shares=shares,
            reads=reads,
            size=out.storage.per_sample if out.storage is not None else 0,
            output=output,
            variable=out.variable,
            logged=self.logged(0, ends),
            returns=returns,
        )

    def _log(self, ended: _Ended, begins: int, output_gradient: int) -> PartLog | None:
        """Returns the log of the part, whose backward began at the entry `begins`; None where there is no log."""
        if self.meter.log is None:
            return None
        gradient = self._entry.gradient if self._entry is not None else None
        return PartLog(
            ended.logged,
            ended.in_body,
            self.logged(ended.returns, begins),
            self.logged(begins),
            self._given,
            ended.output,
            output_gradient,
            gradient.number if gradient is not None else 0,
        )
