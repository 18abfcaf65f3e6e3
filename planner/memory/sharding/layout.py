"""Defines what a backend adds to each part's bytes: gathered parameters, communication buffers and gradients."""

from collections.abc import Iterator
from enum import Enum
from typing import Any, Final, NamedTuple

from planner.models import Architecture
from strategies import AnyOptimizer


class Turn(Enum):
    """Names the micro-batches of a step that differ in the gradients that exist while they run."""

    ONLY = "only"
    """The step has one micro-batch."""
    FIRST = "first"
    """No gradient exists when it begins, and later ones add to those that it leaves."""
    LATER = "later"
    """All gradients exist when it begins and when it ends."""
    LAST = "last"
    """All gradients exist when it begins; then comes the optimizer step."""

    @classmethod
    def of(cls, micro_batches: int) -> "tuple[Turn, ...]":
        """Returns the turns of a step with 1, 2, or more micro-batches."""
        return {1: (cls.ONLY,), 2: (cls.FIRST, cls.LAST)}.get(micro_batches, (cls.FIRST, cls.LATER, cls.LAST))

    @property
    def finds_gradients(self) -> bool:
        """Whether all gradients exist when it begins."""
        return self in (Turn.LATER, Turn.LAST)


class MicroBatch(NamedTuple):
    """Says which micro-batch of a step runs, and what happens around it.

    Attributes:
        turn: Which of the step's micro-batches it is.
        updates: The optimizer that steps parameters in backward, which leaves no gradients; None if it steps later.
        recomputes_units: Whether FSDP1's units run within reentrant checkpoints.
        evaluates: Whether the model is evaluated between steps.
    """

    turn: Turn = Turn.ONLY
    updates: AnyOptimizer | None = None
    recomputes_units: bool = False
    evaluates: bool = False


ONLY: Final = MicroBatch()
"""The only micro-batch of a step, of a model that is not evaluated."""


class Ends(NamedTuple):
    """Says how a model's embedding and head hang together.

    Attributes:
        tied: Whether another part uses the token embedding as well.
        rooted: Whether the head is no unit of its own but belongs to the root.
        waits_from: Index of the last part that uses a tied embedding, whose gradient waits from there on for the
            stem's; None: the head.
        joined: Whether embedding and head both belong to the root, since further modules use the embedding's weight.
    """

    tied: bool = False
    rooted: bool = False
    waits_from: int | None = None
    joined: bool = False

    @classmethod
    def of(cls, architecture: Architecture, *, copies: bool) -> "Ends":
        """Returns how embedding and head of a model hang together; `copies` says that PEFT trains copies of them."""
        again, tied = architecture.embeds_again, architecture.tied_to is not None and not copies
        waits_from = None if tied or again is None else again + 1
        return cls(tied or again is not None, not architecture.head_is_unit, waits_from, joined=again is not None)


class Extra(NamedTuple):
    """Bytes at one moment that do not belong to the trace of a part.

    Attributes:
        unsharded: Bytes of gathered parameters.
        communication: Bytes of communication buffers.
        gradients: Bytes of gradients that exist besides those of the running part.
    """

    unsharded: int = 0
    communication: int = 0
    gradients: int = 0


class Layout:
    """Computes the bytes around each part in forward and backward, on one rank.

    Parts are numbered `0` (stem), `1 ... n-3` (blocks), `n-2` (head) and `n-1` (loss). A backend's layout overrides
    what differs from a whole model on one rank.
    """

    gathers: bool
    """Whether parameters are gathered for a part: then `gather`, `prefetch` and `reduce` are instants of a step."""

    is_followed = False
    """Whether parameters are gathered for modules, in an order that the library learns: `runs` says when."""

    def runs(self) -> Iterator[Any]:
        """Yields the bookkeeping of the ranks that are followed, where a library acts on each parameter."""
        raise NotImplementedError

    @property
    def grows(self) -> bool:
        """Whether the gradients that a part finishes add to the existing ones while its backward runs."""
        raise NotImplementedError

    @property
    def at_step(self) -> int:
        """Bytes of gradients at the optimizer step."""
        raise NotImplementedError

    def own(self, i: int, num_bytes: int) -> int:
        """Returns the bytes that gradients of part `i` take of those that its backward has made so far."""
        return num_bytes if self.grows else 0

    def left(self, without_backward: int) -> int:
        """Returns the bytes of gathered parameters that are still there when the optimizer steps.

        Args:
            without_backward: The number of first parts whose backward never runs.
        """
        return 0

    def forward(self, i: int) -> Extra:
        """Returns the bytes around the forward of part `i`."""
        raise NotImplementedError

    def backward(self, i: int) -> Extra:
        """Returns the bytes around the backward of part `i`."""
        raise NotImplementedError

    def gather(self, i: int) -> Extra:
        """Returns the bytes at the moment when part `i` has been gathered in forward."""
        raise NotImplementedError

    def prefetch(self, i: int) -> Extra:
        """Returns the bytes when the backward of part `i` begins and part `i - 1` is gathered."""
        raise NotImplementedError

    reduces_within = False
    """Whether a part's gradients are reduced when the last of them is there, before its backward has returned."""
    prefetches_late = False
    """Whether a unit within a part prefetches the part before it, which is then at `before_prefetch` until it does."""

    def before_prefetch(self, i: int) -> Extra:
        """Returns the bytes around the backward of part `i` until a unit within it prefetches part `i - 1`."""
        return self.backward(i)

    def reduce(self, i: int) -> Extra:
        """Returns the bytes after the backward of part `i`, while its gradients are reduced over the ranks."""
        raise NotImplementedError
