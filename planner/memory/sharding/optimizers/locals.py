"""The bytes behind the local variables of a function, line by line, as Python keeps them alive."""

from __future__ import annotations

from planner.memory.sharding.state import allocated


class Locals:
    """A name's old tensor dies when the new one has been made. `peak`: the most bytes at once, on one of `ranks` that
    share every tensor which is not said to be whole."""

    def __init__(self, ranks: int = 1) -> None:
        self.ranks = ranks
        self._sizes: dict[str, int] = {}
        self._live = self.peak = 0

    def let(self, name: str, num_bytes: int, *, whole: bool = False) -> None:
        """`name = ...`, a new tensor of that size; with 0, of no bytes of its own."""
        new = allocated(num_bytes if whole else -(-num_bytes // self.ranks))
        self._live += new
        self.peak = max(self.peak, self._live)
        self._live -= self._sizes.get(name, 0)
        self._sizes[name] = new

    def passing(self, *num_bytes: int) -> None:
        """Tensors that exist together within one line."""
        self.peak = max(self.peak, self._live + sum(allocated(-(-size // self.ranks)) for size in num_bytes))

    def rename(self, name: str, to: str) -> None:
        """The tensor of one name gets another, in place of that one's."""
        self._live -= self._sizes.get(to, 0)
        self._sizes[to] = self._sizes.pop(name, 0)
