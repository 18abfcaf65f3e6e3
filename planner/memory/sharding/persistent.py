"""Defines what one rank keeps for the whole run."""

from typing import NamedTuple


class Persistent(NamedTuple):
    """Bytes that one rank keeps for the whole run."""

    parameters: int
    optimizer_states: int
    communication: int
    """Bytes of buffers in which gradients are reduced, such as DDP's buckets."""
    gradients: int = 0
    """Bytes of a tensor that is made once for this rank's shares of the gradients, as in ZeRO-3."""

    @property
    def total(self) -> int:
        """Their sum, in bytes."""
        return self.parameters + self.optimizer_states + self.communication + self.gradients
