"""Lays the trained parameters out in the flat tensors of ZeRO 1 and 2, and divides each parameter as ZeRO-3 does."""

from __future__ import annotations

import re
from collections.abc import Hashable, Sequence
from functools import cached_property
from itertools import accumulate
from typing import NamedTuple

from planner.libraries.allocator import allocated
from planner.libraries.deepspeed import NOT_DECAYED, Piece, partition_size, pieces
from planner.memory.linear.quantized import Kind
from planner.memory.settings.parameters import module_of
from planner.memory.sharding.account import Account, Parameter, Trains, Unit
from strategies import Zero


class ParameterAccount(Account):
    """Adds up parameters as tensors of their own, and lists each of them."""

    def __init__(self, ranks: int, is_block: bool) -> None:
        super().__init__(1, is_block)
        self.parameters: list[Parameter] = []
        self._trains = False

    def keep(self, shape: tuple[int, ...], stored: int, computed: int, name: str = "") -> None:
        """Adds a parameter under its name."""
        super().keep(shape, stored, computed, name)
        self.parameters.append(Parameter.of(name, shape, computed, trains=self._trains))

    def quantize(self, shape: tuple[int, ...], kind: Kind, computed: int, name: str = "") -> None:
        """Adds a quantized weight: packed values are a parameter, in a dtype of `computed` bytes, scales are buffers.

        A parameter of integers has as many bytes, which stage 3 alone would not divide.
        """
        packed, buffers = kind.flat_bytes(*shape) if kind.flat_bytes is not None else ((), kind.stored_bytes(*shape))
        for num_bytes in packed:
            self.keep((-(-num_bytes // computed),), computed, computed, name)
        self.buffers += buffers

    def train(self, given: Trains) -> None:
        """Adds a parameter that trains."""
        self._trains = True
        super().train(given)
        self._trains = False

    def unit(self) -> Unit:
        """Returns the sums and the list."""
        return super().unit()._replace(parameters=tuple(self.parameters))


class Owned(NamedTuple):
    """A parameter at its place in the model."""

    number: int
    """Its number among all parameters of the model, in order."""
    part: int
    name: str
    num_elements: int
    itemsize: int
    trains: bool
    group: int
    """Number of its group among those with trained parameters."""
    place: int
    """Its number among the trained parameters of its group."""

    @property
    def num_bytes(self) -> int:
        """Bytes of the parameter, and of its gradient."""
        return self.num_elements * self.itemsize

    @property
    def module(self) -> str:
        """Name of its module within its part."""
        return module_of(self.name)


class Flat:
    """All parameters of a model, the trained ones in Trainer's two groups: with weight decay and without.

    Args:
        units: The parameters of each part.
        ranks: The number of ranks.
    """

    def __init__(self, units: Sequence[Unit], ranks: int) -> None:
        self.ranks, self.buffers = ranks, sum(unit.buffer_bytes for unit in units)
        self.parameters: list[Owned] = []
        listed = [(i, p) for i, unit in enumerate(units) for p in unit.parameters]
        kinds = sorted({_kind(p) for _, p in listed if p.trains})
        counts = [0] * len(kinds)
        for number, (part, p) in enumerate(listed):
            group = kinds.index(_kind(p)) if p.trains else -1
            place = counts[group] if p.trains else -1
            if p.trains:
                counts[group] += 1
            self.parameters.append(Owned(number, part, p.name, p.num_elements, p.itemsize, p.trains, group, place))
        self.groups: list[list[Owned]] = [[] for _ in kinds]
        for owned in self.parameters:
            if owned.trains:
                self.groups[owned.group].append(owned)
        self._by_name = {(p.part, p.name): p for p in self.parameters}
        self.originals = {p.name: p for p in self.parameters if not p.part and not self.runs(p)}
        """Parameters of the stem of whose modules PEFT trains copies: a tied head has the original."""

    def find(self, part: int, name: str) -> Owned:
        """Returns a parameter of a part; a tied one belongs to the stem."""
        return self._by_name.get((part, name)) or self.originals.get(name) or self._by_name[0, name]

    def runs(self, parameter: Owned) -> bool:
        """Returns whether a parameter's module runs: the original of a module of which PEFT trains a copy does not."""
        return self._by_name[parameter.part, parameter.name] is parameter

    @cached_property
    def key(self) -> Hashable:
        """What makes other flat parameters the same."""
        return tuple(self.parameters), self.ranks

    @cached_property
    def numels(self) -> list[list[int]]:
        """Elements of the parameters of each group."""
        return [[p.num_elements for p in group] for group in self.groups]

    @cached_property
    def offsets(self) -> list[list[int]]:
        """Number of the first element of each parameter in its group's flat tensor."""
        return [[*accumulate(numels, initial=0)] for numels in self.numels]

    @cached_property
    def itemsize(self) -> int:
        """Bytes per element of the trained parameters."""
        return self.groups[0][0].itemsize

    @cached_property
    def sizes(self) -> list[int]:
        """Elements of one rank's share of each group."""
        return [partition_size(numels, self.ranks) for numels in self.numels]

    def pieces(self, rank: int) -> list[list[Piece]]:
        """Returns the pieces of each group that lie in a rank's share."""
        return [list(pieces(numels, self.ranks, rank)) for numels in self.numels]

    def share(self, parameter: Owned) -> int:
        """Returns the elements of a rank's share of a parameter that is divided by itself."""
        return -(-parameter.num_elements // self.ranks)


def stored_weights(flat: Flat) -> int:
    """Returns the bytes of all weights on a rank of stage 1 or 2: trained ones in flat tensors, others as they are."""
    frozen = flat.buffers + sum(allocated(p.num_bytes) for p in flat.parameters if not p.trains)
    return frozen + sum(allocated(size * flat.ranks * flat.itemsize) for size in flat.sizes)


def divided_weights(flat: Flat) -> int:
    """Returns the bytes of a rank's shares of all weights in stage 3: trained ones in one tensor, others apart."""
    trained = sum(flat.share(p) for p in flat.parameters if p.trains)
    frozen = sum(allocated(flat.share(p) * p.itemsize) for p in flat.parameters if not p.trains)
    return allocated(trained * flat.itemsize) + frozen


def small_weights(flat: Flat, sharding: Zero) -> int:
    """Returns the bytes of the parameters that stay gathered in stage 3, except during the optimizer step.

    One rank gathers nothing: they are views of its share, unless that is on the host.
    """
    if flat.ranks == 1 and not sharding.on_host:
        return 0
    small = (p for p in flat.parameters if p.num_elements <= sharding.persistence_threshold)
    return sum(allocated(flat.share(p) * flat.ranks * p.itemsize) for p in small)


def divided_gradients(flat: Flat, sharding: Zero) -> int:
    """Returns the bytes of this rank's shares of all gradients, one tensor for the whole run; 0 if the host has them.

    Source: stage3.py, `grad_partitions_flat_buffer`.
    """
    shares = 0 if sharding.steps_on_host else sum(flat.share(p) for group in flat.groups for p in group)
    return allocated(shares * flat.itemsize)


def _kind(parameter: Parameter) -> bool:
    """Returns whether a parameter has no weight decay."""
    return bool(re.search(NOT_DECAYED, parameter.name.lower()))
