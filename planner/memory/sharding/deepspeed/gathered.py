"""Follows a micro-batch of ZeRO-3: gathered parameters, and gradients that are divided parameter by parameter.

Source: deepspeed/runtime/zero/stage3.py, DeepSpeed 0.19.8.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from planner.libraries.allocator import allocated
from planner.memory.autograd.marks import BODY, MODEL, WITHOUT_PARAMETERS, Happened, Happening
from planner.memory.sharding.deepspeed.coordinator import Coordinator
from planner.memory.sharding.deepspeed.flat import Flat, Owned
from planner.memory.sharding.deepspeed.modules import Containers
from planner.memory.sharding.deepspeed.offloaded import norms, sent_share
from planner.memory.sharding.deepspeed.order import Module, Order
from planner.memory.sharding.deepspeed.run import Run
from planner.memory.sharding.layout import Extra
from strategies import Zero


class Gathered(Run):
    """Follows one micro-batch of stage 3; the bucket and this rank's shares of gradients persist.

    Args:
        flat: The parameters.
        sharding: How they are divided, with all sizes filled in.
    """

    def __init__(self, flat: Flat, sharding: Zero) -> None:
        super().__init__((flat.key, sharding))
        self.flat, self.sharding = flat, sharding
        self.alive.communication += norms(flat, 0, divided=True) if sharding.steps_on_host else 0
        self._elements, self._waiting = 0, list[Owned]()
        self._large = 0
        """Bytes of gradients that did not fit into the bucket and wait for it to be reduced."""
        self._entered_backward: Module | None = None
        """The module of a part that entered backward first, to which a recomputation belongs."""
        self._recomputed: list[Owned] = []
        self._within: list[Owned] = []
        """Parameters in a module that is gathered whole, whose gradients are there."""
        self._read: dict[str, list[Owned]] = {}
        """Parameters of others that the forward of a module reads, by its name."""

    def complete(self, forward: list[Sequence[Happened]], backward: list[Sequence[Happened]]) -> None:
        """Adds the modules without parameters."""
        containers = Containers(forward, frozenset(p.module for p in self.flat.parameters))
        forward[:] = _each_once(containers.forward, forward)
        backward[:] = _each_once(containers.backward, backward)
        for name, reads in containers.reads.items():
            self._read[name] = self._read.get(name) or [self.flat.find(*found) for found in reads]

    def plans(self, order: Sequence[Module]) -> None:
        """Learns the order in which modules are entered."""
        known = [_module(*entered) for entered in order]
        self.order = Order(self.flat, known, self._read)
        self.coordinator = Coordinator(self.flat, self.sharding, self.alive, self.order)

    def begins(self) -> None:
        """Follows the start of a forward pass after another."""
        self.coordinator.begin()

    def happens(self, part: int, kind: Happening, name: str) -> Iterator[Extra]:
        """Follows a module that is entered or left, or a finished gradient."""
        module = _module(part, name)
        match kind:
            case Happening.HOLDS:
                self.coordinator.view(self.flat.find(part, name))
            case Happening.LETS_GO:
                self.coordinator.drop_view(self.flat.find(part, name))
            case Happening.ENTERS | Happening.ENTERS_BACKWARD:
                yield from self._enter(module, kind)
            case Happening.LEAVES:
                self.coordinator.leave(module)
            case Happening.LEAVES_BACKWARD:
                yield from self._add_all_of(module)
                also: list[Owned] = []
                if module == self._entered_backward:
                    also, self._recomputed, self._entered_backward = self._recomputed, [], None
                self.coordinator.leave(module, also)
            case Happening.GRADIENT:
                parameter = self.flat.find(part, name)
                if self.order.is_within(parameter):
                    self._within.append(parameter)
                    self.alive.gradients += allocated(parameter.num_bytes)
                else:
                    yield from self._add(parameter)

    def _enter(self, module: Module, kind: Happening) -> Iterator[Extra]:
        named = not module[1].startswith(WITHOUT_PARAMETERS)
        if named and kind is Happening.ENTERS_BACKWARD and self._entered_backward is None:
            self._entered_backward = module
        owner = self._entered_backward
        if kind is Happening.ENTERS and owner is not None:  # a recomputation
            for parameter in self.order.parameters(module):
                if not parameter.trains:
                    self.coordinator.activate(parameter, owner)
                    self._recomputed.append(parameter)
        for temporary in self.coordinator.enter(module):
            yield self.alive.extra(temporary)

    def _add_all_of(self, module: Module) -> Iterator[Extra]:
        """Follows `reduce_leaf_module_grads`, which takes all gradients in a module that is gathered whole."""
        if not self._within or module not in map(self.order.home, self._within):
            return
        for parameter in sorted(self._within):
            yield from self._add(parameter)
            self.alive.gradients -= allocated(parameter.num_bytes)
        self._within.clear()

    def _add(self, parameter: Owned) -> Iterator[Extra]:
        """Follows `reduce_independent_p_g_buckets_and_remove_grads`."""
        yield self.alive.extra()
        if self._elements and self._elements + parameter.num_elements > self.sharding.reduce_bucket:
            yield from self._reduce()
        if self._elements + parameter.num_elements > self.sharding.reduce_bucket:
            size = allocated(parameter.num_bytes)
            self._large += size
            self.alive.gradients += size
        self._elements += parameter.num_elements
        self._waiting.append(parameter)

    def _reduce(self) -> Iterator[Extra]:
        """Follows `__reduce_and_partition_ipg_grads`, which interleaves the shares of all ranks in a new tensor.

        A single gradient that the ranks divide evenly needs none (comm/coalesced_collectives.py).
        """
        if not self._waiting:
            return
        first, interleaved = self._waiting[0], 0
        if len(self._waiting) > 1 or first.num_elements % self.flat.ranks:
            elements = sum(self.flat.share(p) for p in self._waiting) * self.flat.ranks
            interleaved = allocated(elements * first.itemsize)
            yield self.alive.extra(interleaved)
        if self.sharding.steps_on_host:
            for parameter in self._waiting:
                yield self.alive.extra(interleaved + sent_share(self.flat.share(parameter), first.itemsize))
        self.alive.gradients -= self._large
        self._large = self._elements = 0
        self._waiting.clear()

    def ends(self) -> Iterator[Extra]:
        """Follows the reduction of what is left, and the release of what is gathered."""
        yield from self._reduce()
        yield self.alive.extra()
        self.coordinator.end()


def _each_once(
    add: Callable[[int, Sequence[Happened]], list[Happened]], parts: Sequence[Sequence[Happened]]
) -> list[list[Happened]]:
    """Adds modules to what happens in parts, to that of equal blocks once."""
    ends, found = (0, len(parts) - 2, len(parts) - 1), dict[tuple[int, int], list[Happened]]()
    keys = [(id(happened), i if i in ends else -1) for i, happened in enumerate(parts)]
    for i, key in enumerate(keys):
        if key not in found:
            found[key] = add(i, parts[i])
    return [found[key] for key in keys]


def _module(part: int, name: str) -> Module:
    """Returns a module of a part; the model's own module and its body are the same ones in every part."""
    return 0 if name in (MODEL, BODY) else part, name
