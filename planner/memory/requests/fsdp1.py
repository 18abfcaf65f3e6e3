"""Makes the requests of FSDP1: flat parameters that are gathered, and flat gradients that are reduced, by stream.

The bytes are those of `planner.memory.sharding.fsdp1`. Shards are cast on one stream, gathered on another, and reduced
on a third. A storage that a second stream uses serves nobody until the GPU has passed its end (`record_stream` in
torch/distributed/fsdp/_runtime_utils.py and _flat_param.py).
"""

from __future__ import annotations

from collections.abc import Sequence

from planner.allocator.streams import Stream
from planner.memory.requests.around import Around
from planner.memory.requests.fsdp1_loading import Wrapping, WrappingFactory
from planner.memory.requests.requests import Requests
from planner.memory.sharding.account import Unit
from planner.memory.sharding.fsdp1 import has_adapters
from strategies import Fsdp1, GradientSync


class AroundFsdp1(Around):
    """Gathers a flat parameter for each block, and one for embeddings and head, and reduces their flat gradients.

    Args:
        requests: Takes the requests.
        units: The parameters of each part: stem, blocks, head and loss.
        sharding: How the model is sharded.
        ranks: The number of ranks that divide each flat parameter.
        replicates: Whether other ranks hold the same shards, so that their gradients are summed over these as well.
        recomputes_units: Whether units run within reentrant checkpoints, so that backward gathers none ahead.
        wrapping: Makes the requests of wrapping the units.
    """

    def __init__(
        self,
        requests: Requests,
        units: Sequence[Unit],
        sharding: Fsdp1,
        ranks: int,
        *,
        replicates: bool,
        recomputes_units: bool,
        wrapping: WrappingFactory = Wrapping,
    ) -> None:
        each = sharding.gradient_sync is GradientSync.EACH
        super().__init__(requests, most_micro_batches=2 if each else 3)
        self._units, self._ranks, self._head = units, ranks, len(units) - 2
        self._reshards, self._on_host = sharding.reshards, sharding.on_host
        self._replicates = replicates
        self._prefetches = sharding.reshards and not recomputes_units
        self._each = each
        groups = [*((unit,) for unit in units[1 : self._head]), (units[0], units[self._head])]
        self._wrapping = wrapping(requests, groups, ranks, on_host=sharding.on_host)
        self._begun = False
        self._gathered: dict[int, int] = {}
        """Storages of gathered flat parameters, by part; that of embeddings and head is part 0's."""
        self._views: list[int] = []
        """Storages of the gradients of views of the flat parameter whose backward runs."""
        self._roots: list[int] = []
        """The same for embeddings and head."""
        self._flats: dict[int, int] = {}
        """Storages of accumulated flat gradients, by part."""
        self._now, self._reduces = 0, True

    def load(self) -> int:
        """Wraps the units."""
        return self._wrapping.wrap()

    def begin_micro_batch(self, *, is_last: bool) -> None:
        """Notes whether gradients are reduced, and gathers embeddings and head."""
        self.requests.wait()
        self._reduces = self._each or is_last
        if not self._begun:
            self._wrapping.prepare()
            self._begun = True
        if 0 not in self._gathered:
            self._gather(0, (self._units[0], self._units[self._head]))

    def enter_forward(self, i: int) -> None:
        """Gathers the part's unit."""
        self._gather_block(i)
        self._gather_adapters(i)

    def leave_forward(self, i: int) -> None:
        """Reshards the part's unit."""
        if self._reshards and 0 < i < self._head:
            self._reshard(i)

    def end_forward(self) -> None:
        """Lets parameters of embeddings and head be views of their shard; what was gathered of them stays."""
        if self._reshards:
            self._wrapping.reshard(self._head - 1)

    def enter_backward(self, i: int) -> None:
        """Gathers the part's unit, and the block before it: that of the loss, too, unless the head has adapters."""
        self._now = i
        self._gather_block(i)
        self._gather_adapters(i)
        if self._prefetches and (i <= self._head or not has_adapters(self._units[self._head])):
            self._gather_block(min(i, self._head) - 1)

    def leave_backward(self, i: int) -> None:
        """Joins and reduces the gradients of the part's unit; those of the head wait for the embeddings'."""
        units = (self._units[0], self._units[self._head]) if i == 0 else (self._units[i],)
        views, self._views = self._views, []
        flat = 0
        if i == self._head:
            self._roots += views
        elif has_adapters(self._units[i]):
            self._reduce(0, self._units[i].gradient_bytes)
        else:
            if i == 0:
                views, self._roots = views + self._roots, []
            flat = self._join(units, views)
        if self._reshards or self._reduces:
            self._reshard(i)
        if flat:
            self._accumulate(i, units, flat)

    def _join(self, units: Sequence[Unit], views: list[int]) -> int:
        """Joins the gradients of views to a flat one, and returns its storage; 0 where nothing trains."""
        if not views:
            return 0
        whole = sum(u.gathered_bytes for u in units)
        flat = self.requests.allocate(whole, Stream.COMPUTE, shared=self._reduces)
        for storage in views:
            self.requests.release(storage)
        views.clear()
        return flat

    def _accumulate(self, i: int, units: Sequence[Unit], flat: int) -> None:
        """Reduces a flat gradient once its unit is resharded, or adds it to what waits for the last micro-batch."""
        requests = self.requests
        if not self._reduces:
            if i in self._flats:
                requests.release(flat)
            else:
                self._flats[i] = flat
            return
        self._reduce(sum(u.cast_bytes for u in units), sum(u.gradient_bytes for u in units))
        requests.release(flat)
        requests.release(self._flats.pop(i, 0))

    def _reduce(self, low: int, stored: int) -> None:
        """Reduces gradients, sums them over replicas on a stream of its own, and casts the shard.

        Args:
            low: Bytes of the shard before its cast; 0 if it is not cast.
            stored: Bytes of the shard as stored.
        """
        allocate, last = self.requests.allocate, Stream.REPLICATE if self._replicates else Stream.REDUCE
        reduced = allocate(low or stored, Stream.REDUCE, shared=self._replicates)
        if low:
            low, reduced = reduced, allocate(stored, last)
        self._keep(reduced)
        self.requests.release(low)

    def _keep(self, shard: int) -> None:
        """Keeps a shard of gradients, or adds it to the one that exists, or moves it to the host."""
        if self._on_host or (self.exist and self._each):
            self.requests.release(shard)
        else:
            self.gradients.append(shard)

    def adds(self, *, is_last: bool) -> bool | None:
        """Returns None, since gradients are reduced."""
        return None

    def finish(self, gradient: int) -> None:
        """Takes the gradient of a view; a module that PEFT adds is a unit of its own and reduces its at once."""
        if has_adapters(self._units[self._now]):
            self.requests.release(gradient)
        else:
            self._views.append(gradient)

    def end_micro_batch(self) -> None:
        """Reshards what is still gathered, unless gradients wait for the last micro-batch."""
        for i in list(self._gathered) if self._reduces or self._reshards else ():
            self._reshard(i)
        super().end_micro_batch()

    def _gather_block(self, i: int) -> None:
        if 0 < i < self._head and i not in self._gathered:
            self._gather(i, (self._units[i],))

    def _gather_adapters(self, i: int) -> None:
        """Gathers and reshards the adapters of a part, each of which is a unit of its own; none stays gathered."""
        for share in self._units[i].shares[1:] if self._reshards else ():
            self.requests.release(self.requests.allocate(share * self._ranks, Stream.GATHER, shared=True))

    def _gather(self, i: int, units: Sequence[Unit]) -> None:
        """Gathers flat parameters from copies of the shards, where these are cast or on the host."""
        copied = sum(u.gathered_bytes // self._ranks if self._on_host else u.cast_bytes for u in units)
        copy = self.requests.allocate(copied, Stream.SHARD, shared=True)
        whole = sum(u.gathered_bytes for u in units)
        self._gathered[i] = self.requests.allocate(whole, Stream.GATHER, shared=True)
        self.requests.release(copy)

    def _reshard(self, i: int) -> None:
        self._wrapping.reshard(i - 1 if i else self._head - 1)
        self.requests.release(self._gathered.pop(i, 0))
