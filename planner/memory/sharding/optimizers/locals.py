"""Counts the bytes that a function's local variables keep alive, line by line, as Python does."""

from __future__ import annotations

from planner.libraries.allocator import allocated


class Locals:
    """Counts the bytes of tensors by variable name: a name's old tensor is freed after its new one has been made.

    Args:
        ranks: The number of ranks that share every tensor, except those that are assigned as whole.

    Attributes:
        peak: The largest number of bytes alive at once, on one of these ranks.
    """

    def __init__(self, ranks: int = 1) -> None:
        self.ranks = ranks
        self._sizes: dict[str, int] = {}
        self._live = self.peak = 0

    def let(self, name: str, num_bytes: int, *, whole: bool = False) -> None:
        """Assigns a new tensor to a name.

        Args:
            name: The variable.
            num_bytes: Bytes of the unsharded tensor; 0 if it has no bytes of its own, as a view or None.
            whole: Whether each rank has the whole tensor instead of a share.
        """
        new = allocated(num_bytes if whole else -(-num_bytes // self.ranks))
        self._live += new
        self.peak = max(self.peak, self._live)
        self._live -= self._sizes.get(name, 0)
        self._sizes[name] = new

    def passing(self, *num_bytes: int) -> None:
        """Counts unnamed tensors, by their unsharded bytes, that exist together within one line."""
        self.peak = max(self.peak, self._live + sum(allocated(-(-size // self.ranks)) for size in num_bytes))

    def rename(self, name: str, to: str) -> None:
        """Moves the tensor of a name to the name `to`, whose old tensor is freed."""
        self._live -= self._sizes.get(to, 0)
        self._sizes[to] = self._sizes.pop(name, 0)
