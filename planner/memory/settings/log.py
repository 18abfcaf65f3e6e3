"""Lists what a part's forward and backward allocate and release, in order, and storages shared with others."""

from typing import NamedTuple

from planner.memory.autograd.storage import Logged


class PartLog(NamedTuple):
    """Holds the allocations and releases of one part, by the numbers of its storages; 0 stands for no storage."""

    forward: tuple[Logged, ...]
    """Those of its forward, from its input on."""
    body: frozenset[int] = frozenset()
    """What nothing but variables of the model's body keeps alive, until that returns."""
    returned: tuple[Logged, ...] = ()
    """Those when the forward of the whole model returns."""
    backward: tuple[Logged, ...] = ()
    """Those of its backward, from the gradient of its output on."""
    given: int = 0
    """Its input, which is the output of the part before."""
    output: int = 0
    output_gradient: int = 0
    """The gradient of its output, which is that of the input of the part after."""
    given_gradient: int = 0
    """The gradient of its input."""
    again: "PartLog | None" = None
    """The recomputation of a checkpointed part, and the backward after it; None if it is not checkpointed."""
    stays: frozenset[int] = frozenset()
    """What a checkpointed part keeps until its recomputation; anything else goes when the model's forward returns."""
    taken: frozenset[int] = frozenset()
    """What the recomputation takes of it, and allocates in its own log."""
    leaf_stays: bool = False
    """Whether the leaf that a checkpointed part is computed from again stays with its gradient until backward ends."""
    leaves_host: bool = False
    """Whether the input of a checkpointed part is in the host's memory until the recomputation."""
