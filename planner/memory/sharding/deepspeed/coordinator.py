"""Follows which parameters ZeRO-3 has gathered: when a module is entered, ahead of it, and until they are released.

Source: deepspeed/runtime/zero/partitioned_param_coordinator.py and partition_parameters.py, DeepSpeed 0.19.8. A step
after the first is followed, whose order of modules is known (`ZeRoTraceMode.COMPLETE`). Where an evaluation leaves that
order, nothing is gathered ahead any more, and a module's parameters are released with it.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence

from planner.libraries.allocator import allocated
from planner.memory.sharding.deepspeed.flat import Flat, Owned
from planner.memory.sharding.deepspeed.order import Module, Order
from planner.memory.sharding.deepspeed.run import Alive
from strategies import Zero


class Gather:
    """An all-gather of several parameters: a flat buffer, from which tensors of their own are copied.

    The buffer stays until the module of each parameter has been entered, since all of them refer to the handle.
    """

    def __init__(self, buffer_bytes: int, parameters: Sequence[Owned]) -> None:
        self.buffer_bytes, self.parameters = buffer_bytes, parameters
        self.waiting, self.is_complete = len(parameters), False


class Coordinator:
    """Follows the parameters of one micro-batch.

    Args:
        flat: The parameters.
        sharding: How they are divided, with all sizes filled in.
        alive: The bytes that are alive.
        order: Every module in the order in which it is entered.
    """

    def __init__(self, flat: Flat, sharding: Zero, alive: Alive, order: Order) -> None:
        self.flat, self.sharding, self.alive, self.order = flat, sharding, alive, order
        self._knows_order = True
        self._handles: dict[int, Gather | None] = {}
        """Parameters in flight; None for one that was gathered alone, into its own tensor."""
        self._sizes: dict[int, int] = {}
        """Bytes of each gathered parameter that is not in flight in a buffer."""
        self._active: dict[int, set[Module]] = defaultdict(set)
        self._views: dict[int, int] = {}
        """Bytes of released parameters of which saved views keep the memory; 0 of those that are still gathered."""
        self._decided: dict[tuple[Module, int], list[Owned]] = {}
        """Parameters that are released with a module at a place in the order."""
        self.begin()

    def begin(self) -> None:
        """Follows `reset_step`, at the start of a forward pass: what is gathered, and not in flight, stays."""
        self._release_in_flight()
        self._queue = deque(self.order.parameters_in_order)
        self._step = self._live = 0
        self._fetched_for: dict[int, int] = defaultdict(lambda: -1)

    def _release_in_flight(self) -> None:
        """Follows `_clean_inflight_param_registry`."""
        for number in list(self._handles):
            self._wait(self._handles.pop(number))
            self._drop_buffer()
            self._release(self.flat.parameters[number])

    def _check_order(self, module: Module) -> None:
        """Follows `trace_prologue`: another module than the known order has means that none is known any more."""
        if self._knows_order and not self.order.has(module, self._step):
            self._knows_order = False
            self._release_in_flight()

    def persists(self, parameter: Owned) -> bool:
        """Returns whether a parameter is so small that it stays gathered."""
        return parameter.num_elements <= self.sharding.persistence_threshold

    def enter(self, module: Module) -> Iterator[int]:
        """Follows `fetch_sub_module`, and yields the bytes of temporaries at each instant that can be the largest."""
        self._check_order(module)
        parameters = self.order.parameters(module)
        yield from self._gather([p for p in parameters if self._is_missing(p)])
        for parameter in parameters:
            self._active[parameter.number].add(module)
            if parameter.number in self._handles:
                self._wait(self._handles.pop(parameter.number))
                yield 0
                self._drop_buffer()
        if self._knows_order:
            yield from self._go_on(parameters)
        self._step += 1
        yield 0

    def _go_on(self, parameters: Sequence[Owned]) -> Iterator[int]:
        """Takes a module's parameters off the queue, and gathers what comes next."""
        new = {p.number for p in parameters if self._fetched_for[p.number] < self._step}
        popped: set[int] = set()
        while self._queue and len(popped) < len(new):
            queued, step = self._queue.popleft()
            self._fetched_for[queued.number] = step
            popped.add(queued.number)
        yield from self._prefetch()

    def _prefetch(self) -> Iterator[int]:
        """Gathers what comes next, about as many elements as the prefetch bucket, unless too many are gathered."""
        most = min(self.sharding.max_live_parameters - self._live, self.sharding.prefetch_bucket)
        found: dict[int, Owned] = {}
        elements = 0
        while self._queue and elements < most:
            queued, step = self._queue.popleft()
            self._fetched_for[queued.number] = max(self._fetched_for[queued.number], step)
            if self._is_missing(queued) and queued.number not in found:
                found[queued.number] = queued
                elements += queued.num_elements
        yield from self._gather(list(found.values()))

    def _is_missing(self, parameter: Owned) -> bool:
        known = parameter.number in self._sizes or parameter.number in self._handles
        return not known and not self.persists(parameter)

    def _gather(self, parameters: list[Owned]) -> Iterator[int]:
        """Follows `all_gather_coalesced`: one parameter goes into its own tensor, several into a buffer.

        One rank gathers nothing, but copies what is on the host (`NoGatherCoalescedHandle`).
        """
        if not parameters:
            return
        self._live += sum(p.num_elements for p in parameters)
        if self.flat.ranks == 1:
            for parameter in parameters:
                self._hold(parameter, allocated(parameter.num_bytes) if self.sharding.on_host else 0)
                self._handles[parameter.number] = None
            return
        if len(parameters) == 1:
            (parameter,) = parameters
            size = allocated(self.flat.share(parameter) * self.flat.ranks * parameter.itemsize)
            self._hold(parameter, size)
            self._handles[parameter.number] = None
        else:
            size = sum(self.flat.share(p) for p in parameters) * self.flat.ranks * parameters[0].itemsize
            gather = Gather(allocated(size), parameters)
            self.alive.communication += gather.buffer_bytes
            for parameter in parameters:
                self._handles[parameter.number] = gather
        if self.sharding.on_host:  # this rank's shares are copied to the GPU first
            yield sum(allocated(self.flat.share(p) * p.itemsize) for p in parameters)

    def _hold(self, parameter: Owned, size: int) -> None:
        self._sizes[parameter.number] = size
        self.alive.unsharded += size

    def _wait(self, gather: Gather | None) -> None:
        """Follows `AllGatherCoalescedHandle.wait`, which copies all its parameters out of the buffer."""
        self._left = gather
        if gather is None:
            return
        gather.waiting -= 1
        if not gather.is_complete:
            gather.is_complete = True
            for parameter in gather.parameters:
                self._hold(parameter, allocated(parameter.num_bytes))

    def _drop_buffer(self) -> None:
        """Frees the buffer of the gather that was waited for when no parameter refers to it any more."""
        if self._left is not None and not self._left.waiting:
            self.alive.communication -= self._left.buffer_bytes

    def leave(self, module: Module, also: Iterable[Owned] = ()) -> None:
        """Follows `release_sub_module`.

        Args:
            module: The module that has run.
            also: Frozen parameters of a recomputation, which are released with it whatever comes next.
        """
        at_once = list(also)
        releasable = self._releasable(module)
        for parameter in (*self.order.parameters(module), *at_once):
            self._active[parameter.number].discard(module)
        for parameter in {p.number: p for p in (*releasable, *at_once)}.values():
            self._release(parameter)

    def _releasable(self, module: Module) -> Sequence[Owned]:
        """Returns the parameters of a module that are released with it (`__params_to_release`).

        DeepSpeed decides once for each module and place in the order: its `lru_cache` answers in every later pass.
        """
        if not self._knows_order:
            return self.order.parameters(module)
        at = module, self._step
        if at not in self._decided:
            self._decided[at] = [p for p in self.order.parameters(module) if self._is_done(p)]
        return self._decided[at]

    def _is_done(self, parameter: Owned) -> bool:
        """Returns whether no use of a parameter is near."""
        if self._fetched_for[parameter.number] > self._step:
            return False
        distance = self.order.distance(parameter, self._step)
        return distance is None or distance >= self.sharding.max_reuse_distance

    def _release(self, parameter: Owned) -> None:
        available = parameter.number in self._sizes and parameter.number not in self._handles
        if available and not self._active[parameter.number] and not self.persists(parameter):
            self._free(parameter.number)
            self._live -= parameter.num_elements

    def _free(self, number: int) -> None:
        size = self._sizes.pop(number)
        if number in self._views:
            self._views[number] = size
        else:
            self.alive.unsharded -= size

    def view(self, parameter: Owned) -> None:
        """Follows a view that is saved, on the memory that the parameter has at that time."""
        if parameter.number in self._sizes:
            self._views[parameter.number] = 0

    def drop_view(self, parameter: Owned) -> None:
        """Follows the end of a view, with which the memory goes that the parameter has let go of."""
        self.alive.unsharded -= self._views.pop(parameter.number, 0)

    def activate(self, parameter: Owned, module: Module) -> None:
        """Keeps a parameter gathered until a module has run backward (`update_recompute_parameters`)."""
        self._active[parameter.number].add(module)

    def end(self) -> None:
        """Releases what is left at the end of backward, such as the embedding, whose input has no gradient."""
        for number in list(self._sizes):
            self._free(number)
        for gather in {id(g): g for g in self._handles.values() if g is not None}.values():
            self.alive.communication -= gather.buffer_bytes
        self._handles.clear()
        self._active.clear()
