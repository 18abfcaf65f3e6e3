"""Adds up what a rank stores of flat parameters, into which FSDP1 joins those of a unit.

Each parameter begins at a multiple of 16 bytes, in the dtype of the computation, and the whole is padded to a multiple
of the ranks, which have equal shares (torch/distributed/fsdp/_flat_param.py, `_init_flat_param_and_metadata` with
`use_orig_params`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod
from typing import NamedTuple

from planner.libraries.allocator import allocated
from planner.memory.linear.quantized import Kind
from planner.memory.settings.parameters import module_of
from planner.memory.sharding.account import Account, TrainedTensor, Trains, Unit

ALIGNMENT = 16
"""Bytes to whose multiples parameters are aligned within a flat parameter (`_get_aligned_numel`)."""


class _Member(NamedTuple):
    """Describes a parameter of a flat parameter by its elements, and bytes per element stored and computed."""

    elements: int
    stored: int
    computed: int


class FlatAccount(Account):
    """Adds up the flat parameters of a part: one of the base model, and one of each module that PEFT adds."""

    def __init__(self, ranks: int, is_block: bool) -> None:
        super().__init__(ranks, is_block)
        self._base: list[_Member] = []
        self._apart: dict[str, list[_Member]] = {}
        """Parameters of each module of PEFT's, by its name."""
        self._base_trains = False

    def keep(self, shape: tuple[int, ...], stored: int, computed: int, name: str = "") -> None:
        """Adds a parameter to the flat parameter of the base model; the arguments are those of `Account.keep`."""
        self._base.append(_Member(prod(shape), stored, computed))

    def quantize(self, shape: tuple[int, ...], kind: Kind, computed: int, name: str = "") -> None:
        """Adds a quantized weight, packed into elements of the computation's dtype; its scales stay whole."""
        assert kind.flat_bytes is not None, "rules refuse what cannot be joined"
        packed, buffers = kind.flat_bytes(*shape)
        self._base.extend(_Member(-(-num_bytes // computed), computed, computed) for num_bytes in packed)
        self.stored += buffers
        self.buffers += buffers

    def train(self, given: Trains) -> None:
        """Adds a parameter that trains, to the flat parameter of the base model or to one of a module of PEFT's."""
        tensor = self.trained_as(given, given.shape)
        if not given.apart:
            self.keep(given.shape, given.stored, given.computed)
            self._base_trains = True
            return
        member = _Member(tensor.num_elements, given.stored, given.computed)
        self._apart.setdefault(module_of(given.name), []).append(member)

    def _add_apart(self) -> None:
        """Adds the flat parameter of each module of PEFT's."""
        for members in self._apart.values():
            stored, computed = members[0].stored, members[0].computed
            whole = padded([m.elements for m in members], computed, self.ranks)
            share = whole // self.ranks * stored
            self.shares.append(share)
            self.stored += allocated(share)
            self.gradients += allocated(share)
            self.whole_gradients += allocated(whole * computed)

    def unit(self) -> Unit:
        """Returns the sums; what is gathered for the part is the base model's flat parameter alone."""
        self._add_apart()
        stored = max((m.stored for m in self._base), default=0)
        computed = max((m.computed for m in self._base), default=1)
        whole = padded([m.elements for m in self._base], computed, self.ranks)
        share, gradients, views, accumulated = whole // self.ranks, self.gradients, 0, self.whole_gradients
        if self._base_trains:
            gradients += allocated(share * stored)
            accumulated += allocated(whole * computed)
            views = sum(m.elements * m.computed for m in self._base)
        return Unit(
            self.stored + allocated(share * stored),
            tuple(self.trained),
            whole * computed,
            gradients,
            views,
            accumulated,
            self.buffers,
            share * computed if computed != stored else 0,
            shares=(share * stored, *self.shares),
            joined=tuple(m.elements * m.computed for m in self._base),
        )


def padded(elements: Sequence[int], itemsize: int, ranks: int) -> int:
    """Returns the elements of a flat parameter, given those of its parameters and their bytes per element."""
    *_, (_, end) = (0, 0), *_places(elements, itemsize)
    return -(-end // ranks) * ranks


def first_shares(tensors: Sequence[TrainedTensor], ranks: int) -> list[TrainedTensor]:
    """Returns what the first rank has of the parameters of one flat parameter, each flat as well.

    Its share is the first of equal shares, so that it has whole parameters and a part of one, and nothing of others.
    """
    if not tensors:
        return []
    elements, itemsize = [t.num_elements for t in tensors], tensors[0].computed_itemsize
    share, found = padded(elements, itemsize, ranks) // ranks, []
    for tensor, (start, end) in zip(tensors, _places(elements, itemsize), strict=True):
        if start < share:
            own = min(end, share) - start
            found.append(tensor._replace(shape=(own,), num_elements=own, is_hidden=False, is_linear=False))
    return found


def _places(elements: Sequence[int], itemsize: int) -> Iterator[tuple[int, int]]:
    """Yields where each parameter of a flat parameter begins and ends, in elements."""
    step, end = ALIGNMENT // itemsize, 0
    for number in elements:
        start = -(-end // step) * step
        end = start + number
        yield start, end
