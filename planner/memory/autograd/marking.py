"""Makes marks of what happens to parameters on a tape, for libraries that act on each of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Final

from planner.memory.autograd.marks import Happening, Mark
from planner.memory.autograd.storage import Meter, Storage
from planner.memory.autograd.tensor import Variable

Backward = Callable[[Storage], Callable[[], None] | None]
"""Takes the gradient of an operation's result and accumulates those of its inputs, or returns a function that casts and
accumulates them."""

NO_STEPS: Mapping[str, int] = {}
"""`step_bytes` by parameter name where no parameter is updated in backward."""

_UNMARKED: Final = nullcontext()


@dataclass(slots=True)
class Node:
    """Describes a recorded operation: what runs in backward, and which modules begin and end there."""

    variable: Variable
    backward: Backward
    saved: tuple[Storage | None, ...]
    enters: str = ""
    """The module whose backward begins with this operation; it was the last of its forward."""
    leaves: str = ""
    """The module whose backward ends with this operation."""
    views: tuple[str, ...] = ()
    """The parameters whose views are saved."""
    holds: bool = False
    """Whether the gradient lives until the backward of the module that begins here is over."""


class Marking:
    """Marks modules and parameters while a forward pass is recorded.

    Args:
        meter: Counts the live bytes.
        marked: Whether marks are made.
    """

    def __init__(self, meter: Meter, *, marked: bool) -> None:
        self.meter, self.marked = meter, marked
        self._first: set[str] = set()
        """Modules whose input has no gradient."""
        self._marks: list[Mark] = []
        self._nodes: list[Node] = []
        self._whole = ""
        """The module in which others have no marks of their own; "" outside of such a one."""
        self._within = ""
        """The module that is being marked; an operation that marks it again is within it."""

    def module(self, name: str, *, is_first: bool = False) -> AbstractContextManager[None]:
        """Marks the forward of a module that has parameters, and its backward; a name of "" is no module.

        Args:
            name: The module's name.
            is_first: Whether its input has no gradient, so that nothing tells when its backward is over.
        """
        return self._marked_module(name, is_first=is_first) if self.marked else _UNMARKED

    @contextmanager
    def _marked_module(self, name: str, *, is_first: bool) -> Iterator[None]:
        name = "" if self._whole or name == self._within else name
        if is_first:
            self._first.add(name)
        self._mark(Happening.ENTERS, name)
        before, outer = len(self._nodes), self._within
        self._within = name or outer
        yield
        self._within = outer
        if name and len(self._nodes) > before:  # backward enters with the last operation of the module
            self._nodes[-1].enters, self._nodes[before].leaves = name, name
        self._mark(Happening.LEAVES, name)

    @contextmanager
    def whole(self, name: str, trains: Callable[[], bool]) -> Iterator[None]:
        """Marks a module as `module` does, but none of the modules in it.

        A hook that takes its parameters' gradients at once holds the gradient of its output until then
        (torch/utils/hooks.py, `BackwardHook`).

        Args:
            name: The module's name.
            trains: Says after its forward whether any of its parameters trains.
        """
        before = len(self._nodes)
        with self.module(name):
            self._whole = name
            yield
            self._whole = ""
        if self.marked and len(self._nodes) > before:
            self._nodes[-1].holds = trains()

    def read(self, name: str) -> None:
        """Marks that the forward of the model, or in the first part that of its body, reads a parameter of another."""
        self._mark(Happening.READS, name)

    def view(self, *names: str) -> None:
        """Marks that the operation that was recorded last saves views of parameters."""
        if self.marked and self._nodes:
            for name in names:
                self._mark(Happening.HOLDS, name)
            self._nodes[-1].views = names

    def reach(self, leaf: Variable, name: str) -> None:
        """Marks the backward of a module whose output is a leaf: only its gradient gets there."""
        self._first.add(name)
        if self.marked:
            self._nodes.append(Node(leaf, lambda gradient: setattr(leaf, "gradient", gradient), (), name, name))

    def take_marks(self) -> list[Mark]:
        """Returns the marks since the last call; their places count from the meter's last `mark`."""
        taken, self._marks = self._marks, []
        return taken

    def _mark(self, kind: Happening, name: str) -> None:
        if self.marked and name:
            self.meter.take()
            self._marks.append(Mark(kind, name, len(self.meter.snapshots) - 1))
