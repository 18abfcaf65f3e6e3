"""Computes what FSDP1 adds to each moment: gathered flat parameters, flat gradients, and the buffers between them.

FSDP1 is modelled as accelerate sets it up: every block is a unit, the root has embeddings, final norm and head, and is
gathered from the model's forward to the end of backward. Backward prefetches the unit before the one that runs. The
parameters of a unit are views of a flat parameter: backward makes a gradient of each view, joins them to a flat
gradient, and reduces that. Sources: torch/distributed/fsdp/_runtime_utils.py and _flat_param.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, groupby
from operator import add

from planner.memory.settings.parameters import module_of
from planner.memory.sharding.account import TrainedTensor, Unit
from planner.memory.sharding.backend import ShardedBackend
from planner.memory.sharding.flat import FlatAccount, first_shares
from planner.memory.sharding.host import OnHost, flat_shards
from planner.memory.sharding.layout import ONLY, Ends, Extra, Layout, MicroBatch, Turn
from planner.memory.sharding.partition import Partition
from planner.memory.sharding.replicated import tied_gradient
from strategies import AnyOptimizer, Fsdp1, GradientSync, Replicated


class Fsdp1Layout(Layout):
    """Computes the bytes around each part in forward and backward, on one rank.

    Args:
        units: The parameters of each part: stem, blocks, head and loss.
        sharding: How the model is sharded.
        world_size: The number of ranks.
        ends: How embedding and head hang together.
        micro_batch: Which micro-batch of the step runs. Where units run within reentrant checkpoints, backward does not
            gather the unit before the one that runs: a unit says in forward that backward will need it, but not in a
            forward without gradients (torch/distributed/fsdp/_runtime_utils.py, `_register_pre_backward_hooks`).
    """

    gathers = True
    grows = True
    prefetches_late = True
    reduces_within = True

    def __init__(
        self,
        units: Sequence[Unit],
        sharding: Fsdp1,
        world_size: int,
        ends: Ends,
        micro_batch: MicroBatch = ONLY,
    ) -> None:
        turn = micro_batch.turn
        self.units, self.ranks, self._head = units, sharding.ranks(world_size), len(units) - 2
        self._reshards, self._on_host = sharding.reshards, sharding.on_host
        self._prefetches = sharding.reshards and not micro_batch.recomputes_units
        whole = sharding.gradient_sync is GradientSync.LAST and turn is not Turn.ONLY
        """Whether whole gradients accumulate, as they do until the last micro-batch reduces them."""
        self._reduces = not whole or turn is Turn.LAST
        exist = turn.finds_gradients
        kept = [u.whole_gradient_bytes if whole else u.gradient_bytes for u in units]
        self._at_start: int = sum(kept) if exist else 0
        if not exist:
            self._change = kept
        elif whole and self._reduces:
            self._change = [u.gradient_bytes - u.whole_gradient_bytes for u in units]
        else:
            self._change = [0] * len(units)
        self._root_units = units[0], units[self._head]
        self._root = sum(u.gathered_bytes for u in self._root_units)
        self._gathered = [0, *(u.gathered_bytes for u in units[1 : self._head]), 0, 0]
        """Bytes of each block's unit."""
        self._copied = [u.gathered_bytes // self.ranks if self._on_host else u.cast_bytes for u in units]
        """Bytes of the copy of this rank's share that is gathered: one in the computation's dtype, or on the GPU."""
        apart = [u.whole_gradient_bytes if has_adapters(u) else 0 for u in units]
        self._gathered_before: tuple[int, ...] = (*accumulate(map(add, self._gathered, apart), initial=0),)
        """Bytes of the blocks' units before each part, with those of modules in them that are units of their own."""
        # Units that stay gathered after forward are resharded after backward only where gradients are reduced
        # (`_should_free_in_backward`).
        stay = not self._reshards and whole
        self._stay_in_forward, self._stay_in_backward = stay and exist, stay and not self._reduces
        apart_in_head = self._change[self._head] if has_adapters(units[self._head]) else 0
        blocks = [0, *self._change[1 : self._head], apart_in_head, 0]
        self._change_after: tuple[int, ...] = (*accumulate(reversed(blocks), initial=0),)[::-1]
        self._waits = tied_gradient(units[0]) if ends.tied and units[0].gathered_gradient_bytes else 0
        self._waits_from = self._head if ends.waits_from is None else ends.waits_from

    @property
    def at_step(self) -> int:
        """Bytes of gradients at the optimizer step; 0 where it runs on the host."""
        return 0 if self._on_host else sum(u.gradient_bytes for u in self.units)

    def own(self, i: int, num_bytes: int) -> int:
        """Returns the bytes that gradients of part `i` take of those that its backward has made so far.

        Gradients of views of one flat parameter stay until all are there. Modules that are units of their own reduce
        theirs at once.
        """
        unit = self.units[i]
        if not has_adapters(unit):
            return num_bytes
        return self._change[i] * num_bytes // sum(t.num_elements * t.computed_itemsize for t in unit.trained)

    def _finished(self, i: int) -> int:
        """Returns the bytes of gradients when the backward of part `i` begins.

        The head's wait for the embedding's, with which they share a flat gradient.
        """
        waiting = self.units[self._head].gathered_gradient_bytes if i < self._head else 0
        waiting += self._waits if i < self._waits_from else 0
        return self._at_start + self._change_after[i + 1] + waiting

    def _kept(self, i: int, *, stay: bool) -> int:
        """Returns the bytes of gathered parameters of the root, of part `i` and of what stays gathered."""
        if self._reshards:
            return self._root + self._gathered[i]
        return self._root + self._gathered_before[-1 if stay else i + 1]

    def forward(self, i: int) -> Extra:
        """Returns the bytes around the forward of part `i`: gathered parameters and existing gradients."""
        return Extra(self._kept(i, stay=self._stay_in_forward), 0, self._at_start)

    def gather(self, i: int) -> Extra:
        """Returns the bytes when part `i` is gathered in forward, from a copy of this rank's share."""
        copies = {0: self._copied[0] + self._copied[self._head], self._head: 0}
        return self.forward(i)._replace(communication=copies.get(i, self._copied[i]))

    def _ahead(self, i: int) -> int:
        """Returns the number of the block that is gathered when the backward of part `i` begins; 0 for none.

        Adapters of the head are units between the last block and the loss.
        """
        if not self._prefetches or (i > self._head and has_adapters(self.units[self._head])):
            return 0
        return max(min(i, self._head) - 1, 0)

    def backward(self, i: int) -> Extra:
        """Returns the bytes around the backward of part `i`: its unit, the prefetched one, and gradients."""
        kept = self._kept(i, stay=self._stay_in_backward)
        return Extra(kept, self._gathered[self._ahead(i)], self._finished(i))

    def before_prefetch(self, i: int) -> Extra:
        """Returns the bytes around the backward of part `i` while its own unit is gathered and none ahead."""
        return self.backward(i)._replace(communication=0)

    def prefetch(self, i: int) -> Extra:
        """Returns the bytes when the backward of part `i` begins and the unit before it is gathered."""
        extra, ahead = self.backward(i), self._ahead(i)
        gathering = extra.communication + (self._copied[ahead] if ahead else 0)
        return extra._replace(communication=max(gathering, self._copied_in_vain(i)))

    def _copied_in_vain(self, i: int) -> int:
        """Returns the bytes of shares that come from the host as the backward of part `i` begins, of gathered units.

        These are the root's in the beginning, and those of blocks that stay gathered (_flat_param.py, `pre_unshard`).
        A share that is cast is on the GPU in both dtypes.
        """
        if not self._on_host or (self._reshards and i <= self._head):
            return 0
        units = self._root_units if i > self._head else self.units[max(i - 1, 1) : i]
        return sum(u.cast_bytes + u.stored_bytes - u.buffer_bytes for u in units)

    def reduce(self, i: int) -> Extra:
        """Returns the bytes after the backward of part `i`, when its gradients are joined or reduced.

        First there are the gradients of all views and the flat one. Then the unit has been resharded, and there are the
        flat gradient, this rank's share of the sum, and the share's copy in the stored dtype. A flat gradient that was
        added to an accumulated one stays for so long: autograd's engine holds it for FSDP1's hook.
        """
        extra, units = self.backward(i), self._root_units if i == 0 else (self.units[i],)
        views = sum(u.gathered_gradient_bytes for u in units)
        if i >= self._head or not views:
            return extra
        flat = sum(u.gathered_bytes for u in units)
        before = self._finished(i) if i else self._at_start + self._change_after[1]
        joined = extra._replace(communication=extra.communication + flat, gradients=before + views)
        scattered = 0
        if self._reduces:
            low = sum(u.cast_bytes for u in units)
            scattered = low + sum(u.gradient_bytes for u in units)
        resharded = 0 if not self._reshards and not self._reduces else flat
        reduced = Extra(extra.unsharded - resharded, extra.communication + flat + scattered, before)
        return max(joined, reduced, key=sum)


def has_adapters(unit: Unit) -> bool:
    """Returns whether modules within a unit are units of their own, which reduce their gradients themselves."""
    return bool(unit.trained) and not unit.gathered_gradient_bytes


class Fsdp1Backend(ShardedBackend):
    """Joins the parameters of each unit to a flat one, and divides that among the ranks."""

    account = FlatAccount
    is_checkpointed = True
    casts_on_host = False  # accelerate raises the shards, which the GPU has by then

    def layout(
        self,
        units: Sequence[Unit],
        sharding: Fsdp1,
        world_size: int,
        ends: Ends,
        micro_batch: MicroBatch,
    ) -> Layout:
        """Returns what FSDP1 has around each part."""
        return Fsdp1Layout(units, sharding, world_size, ends, micro_batch)

    def partition(
        self,
        units: Sequence[Unit],
        optimizer: AnyOptimizer,
        sharding: Fsdp1,
        world_size: int,
        *,
        apart: bool,
        itemsize: int,
        in_fp16: bool = False,
    ) -> Partition:
        """Returns the first rank's tensors, whose parts of flat parameters are tensors of their own."""
        stem, *blocks, head, _ = units
        ranks = sharding.ranks(world_size)
        root = stem._replace(trained=stem.trained + head.trained, gathered_gradient_bytes=_joined(stem, head))
        mine = [u._replace(trained=tuple(_first_shares(u, ranks))) for u in (root, *blocks)]
        return Partition(mine, optimizer, Replicated(), 1, apart=apart)

    def on_host(
        self,
        units: Sequence[Unit],
        sharding: Fsdp1,
        world_size: int,
        partition: Partition,
        *,
        updates: bool,
        accumulates: bool,
    ) -> OnHost:
        """Returns pinned shards of flat parameters and gradients, and the optimizer's states."""
        return flat_shards(units, partition.states) if sharding.on_host else OnHost()


def _joined(*units: Unit) -> int:
    return sum(u.gathered_gradient_bytes for u in units)


def _first_shares(unit: Unit, ranks: int) -> list[TrainedTensor]:
    """Returns the first rank's tensors of a unit, whose trained tensors are one flat parameter, or one each."""
    if unit.gathered_gradient_bytes:
        return first_shares(unit.trained, ranks)
    modules = groupby(unit.trained, key=lambda tensor: module_of(tensor.name))
    return [share for _, tensors in modules for share in first_shares([*tensors], ranks)]
