"""Lists tensors that several parts of a model read, such as an encoder's output or position biases.

Each part is traced alone. The part that makes such a tensor counts its bytes, and also the gradient that the readers
have gathered when the maker's own backward begins. A reader counts what it makes of that gradient.
"""

from collections.abc import Collection, Sequence
from typing import NamedTuple

from planner.memory.autograd.tape import Storage, Tape, Tensor, Variable


class Shared(NamedTuple):
    """Describes a tensor to the other parts that read it."""

    fixed: int
    """Elements that exist once for all samples."""
    per_sample: int
    """Elements per sample."""
    width: int
    """Elements of the last dimension."""
    itemsize: int
    """Bytes per element."""
    heads_first: bool
    """Whether its memory is laid out head by head instead of token by token."""
    needs_gradient: bool
    returned: bool
    """Whether the model's forward returns it in addition to the logits."""
    in_body: bool = False
    """Whether a variable of the model's body keeps it alive."""
    cast: bool = False
    """Whether FSDP2 casts it for each block that is called with it, before the checkpointed function."""

    @property
    def num_bytes(self) -> tuple[int, int]:
        """Returns the (fixed, per-sample) bytes of the tensor."""
        return self.fixed * self.itemsize, self.per_sample * self.itemsize


class Exchange:
    """Collects the tensors that one part shares with later parts, and those that it reads from earlier ones."""

    def __init__(self, known: dict[str, Shared] | None = None) -> None:
        """Starts with the tensors that earlier parts share, by name; `share` adds to this dictionary."""
        self.known: dict[str, Shared] = {} if known is None else known
        self.made: dict[str, Shared] = {}
        """Tensors that this part shares, by name."""
        self.leaves = self.takes = (0, 0)
        """(fixed, per-sample) bytes of gradients that backward leaves for earlier parts, and takes from later ones."""
        self._gathered: list[tuple[Variable, tuple[int, int]]] = []
        self._tensors: dict[str, Tensor] = {}
        self._read: dict[str, Storage] = {}

    def share(self, name: str, x: Tensor, *, gathers: bool = True, returned: bool = False, cast: bool = False) -> None:
        """Shares `x` with later parts.

        Args:
            name: The name that readers ask for.
            x: The tensor.
            gathers: Whether a later part reads `x` and so leaves a gradient for this part's backward.
            returned: Whether the model's forward returns it in addition to the logits.
            cast: Whether FSDP2 casts it for each block that is called with it.
        """
        needs_gradient = x.variable is not None
        shared = Shared(x.fixed, x.per_sample, x.width, x.itemsize, x.heads_first, needs_gradient, returned, cast=cast)
        self.known[name] = self.made[name] = shared
        self._tensors[name] = x
        if x.variable is not None and gathers:
            self._gathered.append((x.variable, shared.num_bytes))
            self.takes = _sum(self.takes, shared.num_bytes)

    def read(self, tape: Tape, name: str, *, last: bool) -> Tensor:
        """Returns a tensor that an earlier part shares; its storage is empty here, since that part counts its bytes.

        Args:
            tape: The tape of this part.
            name: Name of the tensor.
            last: Whether no later part reads it. Backward then begins to gather its gradient here, where it is counted.
        """
        shared = self.known[name]
        storage = self._read.setdefault(name, tape.storage(0, 0, name))
        variable = Variable() if shared.needs_gradient else None
        if variable is not None and last:
            self.leaves = _sum(self.leaves, shared.num_bytes)
        elif variable is not None:
            variable.gradient = tape.storage(0, 0)  # the last reader counts its bytes
        out = Tensor(storage, shared.fixed, shared.per_sample, shared.width, shared.itemsize, variable)
        out.heads_first = shared.heads_first
        return out

    def saved_of_others(self) -> frozenset[str]:
        """Returns the names of the tensors that this part reads and saves for backward."""
        return frozenset(name for name, storage in self._read.items() if storage.saved)

    def sizes_read(self, names: Collection[str]) -> list[tuple[int, int]]:
        """Returns the (fixed, per-sample) bytes of each tensor in `names` that this part reads."""
        return [self.known[name].num_bytes for name in self._read if name in names]

    def not_saved(self, body: Sequence[Storage] = ()) -> dict[str, Shared]:
        """Returns what this part shares but does not save; `body` lists what variables of the model's body keep."""
        storages = ((name, x.storage) for name, x in self._tensors.items() if x.storage is not None)
        return {name: self.made[name]._replace(in_body=s in body) for name, s in storages if not s.saved}

    def shares(self, storage: Storage) -> bool:
        """Returns whether a storage is that of a tensor that later parts read."""
        return any(x.storage is storage for x in self._tensors.values())

    def forget_storages(self) -> None:
        """Drops the shared tensors when the model's forward has returned."""
        self._tensors.clear()

    def receive(self, tape: Tape) -> None:
        """Allocates the gradients that later parts have gathered when this part's backward begins."""
        for variable, size in self._gathered:
            variable.gradient = tape.storage(*size)


def _sum(a: tuple[int, int], b: tuple[int, int]) -> tuple[int, int]:
    return a[0] + b[0], a[1] + b[1]
