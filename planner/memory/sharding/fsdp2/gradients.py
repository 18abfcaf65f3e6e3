"""Computes the gradients that FSDP2 has around each part's backward, and what reduces them.

Source: torch/distributed/fsdp/_fully_shard/_fsdp_param_group.py and _fsdp_collectives.py, `foreach_reduce`.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from planner.libraries.allocator import allocated
from planner.memory.sharding.account import TrainedTensor, Unit
from planner.memory.sharding.layout import Ends, MicroBatch, Turn
from planner.memory.sharding.optimizers import rule_of
from planner.memory.sharding.replicated import tied_gradient
from strategies import Fsdp2, GradientSync


class Gradients:
    """Computes the bytes of gradients, and of their collectives, on one rank; see `Fsdp2Layout` for the arguments."""

    def __init__(
        self,
        units: Sequence[Unit],
        sharding: Fsdp2,
        world_size: int,
        ends: Ends,
        micro_batch: MicroBatch,
    ) -> None:
        turn, updates = micro_batch.turn, micro_batch.updates
        self.units, self.ranks, self.head = units, sharding.ranks(world_size), len(units) - 2
        self.tied, self.rooted = ends.tied, ends.rooted
        self._joins = ends.joined and self.rooted
        """Whether the stem's gradients and the head's are reduced at once, as those of the root."""
        self.exist = turn.finds_gradients
        self.keeps_whole = sharding.gradient_sync is GradientSync.LAST and turn is not Turn.ONLY
        """Whether whole gradients accumulate, as they do until the last micro-batch reduces them."""
        self.reduces = not self.keeps_whole or turn is Turn.LAST
        self._on_host, self._replicates = sharding.on_host, sharding.replicas(world_size) > 1
        self._updates = rule_of(updates) if updates is not None else None
        self._waits_from = self.head if ends.waits_from is None else ends.waits_from
        self.tied_gradient = tied_gradient(units[0]) if self.tied else 0
        self._stay = not self._on_host and updates is None
        self._suffix = _sums_from([u.gradient_bytes if self._stay else 0 for u in units])
        self._whole_suffix = _sums_from([u.whole_gradient_bytes if self.keeps_whole else 0 for u in units])
        root = self.head if self.rooted else None  # which is reduced when all of backward is over
        self.reduced_from = _sums_from([0 if i == root else self._reduced(u) for i, u in enumerate(units)])
        """Bytes of all-reduced gradients that stay beside the gradients, of each unit and all after it."""
        self.scattered = [u.gathered_gradient_bytes if self.reduces and i != root else 0 for i, u in enumerate(units)]
        """Bytes of the input of each unit's reduce-scatter."""
        if self._joins and self.reduces:
            self.scattered[0] += units[self.head].gathered_gradient_bytes
        self.apart = units[0].regrouped if self.rooted and not self.tied else None
        """The units of the embedding and of the root, where the root has what the stem has beside the embedding."""
        self._root_waits = self._waiting(units[self.head]) if self.rooted and self.reduces else 0

    @property
    def grow(self) -> bool:
        """Whether the gradients that a part finishes add to the existing ones while its backward runs.

        Otherwise each is added in place to a whole gradient that exists, and freed.
        """
        return not (self.keeps_whole and self.exist)

    @property
    def all(self) -> int:
        """Bytes of this rank's shards of all gradients; 0 where they are on the host or updates run in backward."""
        return self._suffix[0]

    def finished(self, i: int) -> int:
        """Returns the bytes of gradients that exist when the backward of part `i` begins.

        After the head's backward (or that of part `waits_from`) its gradient of the tied weight waits for the
        embedding's: unsharded, and in addition to a gradient that exists already.
        """
        return self.existing(i + 1) + (self.tied_gradient if i < self._waits_from else 0)

    def existing(self, done: int) -> int:
        """Returns the bytes of gradients once the backward of part `done`, and of all after it, is over."""
        waiting = self._root_waits if done <= self.head else 0
        if not self.keeps_whole:
            return waiting + (self.all if self.exist else self._suffix[done])
        if not self.exist:
            return self._whole_suffix[done]
        if not self.reduces:
            return self._whole_suffix[0]
        return waiting + self._whole_suffix[0] - self._whole_suffix[done] + self._suffix[done]

    def _waiting(self, root: Unit) -> int:
        """Returns the bytes that the root's unsharded gradients take, until backward ends, beyond what is left then."""
        kept = 0 if self.exist and not self.keeps_whole else root.gradient_bytes
        return root.whole_gradient_bytes - (kept if self._stay else 0)

    def _reduced(self, unit: Unit) -> int:
        """Returns the bytes of a unit's all-reduce over the replicas that stay until backward ends.

        FSDP2 keeps them in `_all_reduce_state`. They are a tensor of their own only where the result is added to an
        existing gradient, cast to another dtype, or moved to the host; otherwise they are the gradient itself.
        """
        added = self.exist and not self.keeps_whole
        apart = added or self._on_host or _is_cast(unit)
        if not self.reduces:
            return 0
        return self._share(unit.gathered_gradient_bytes) if self._replicates and apart else 0

    def reducing(self, i: int) -> int:
        """Returns the peak bytes while unit `i`'s gradients are reduce-scattered, without the input of that collective.

        At first all unsharded gradients exist. After the copy into the input only the last one is left, which a loop
        variable of `foreach_reduce` keeps alive, plus this rank's shard and its cast copy if the stored dtype differs.
        If the update runs in backward, the optimizer's temporaries follow: the hooks run when all shards exist.
        """
        group, waited = [self.units[i]], 0
        if self._joins and not i:  # the head's whole gradients, which have waited, are freed by the copy as well
            group.append(self.units[self.head])
            waited = self.units[self.head].whole_gradient_bytes
        return self._reducing(group, self._last(i), self.units[i].gathered_gradient_bytes, waited)

    def _reducing(self, group: Sequence[Unit], last: TrainedTensor | None, whole: int, waited: int = 0) -> int:
        """Returns the peak bytes while gradients of a group of parameters are reduce-scattered; see `reducing`.

        Args:
            group: The units that have the parameters.
            last: The last of them.
            whole: Bytes of the whole gradients.
            waited: Bytes of further ones, which the caller counts and the copy frees.
        """
        left = allocated(last.num_elements * last.computed_itemsize) if last else 0
        reduced = self._share(sum(unit.gathered_gradient_bytes for unit in group))
        share = sum(unit.gradient_bytes for unit in group) if any(map(_is_cast, group)) else 0
        updated = (share or reduced) + (reduced if share and self._replicates else 0)
        if self._updates is not None and not self._on_host:
            trained = [tensor for unit in group for tensor in unit.trained]
            updated += max((self._updates.temporaries_of(t, self.ranks) for t in trained), default=0)
        return max(whole, left - waited + reduced + share, left - waited + updated)

    def reducing_apart(self, embedding: Unit, root: Unit) -> tuple[int, int]:
        """Returns the peak bytes of gradients while the root's are reduced, and while the embedding's are after them.

        At the end of backward the root comes first (`_root_post_backward_final_callback`).
        """
        stem, head = self.units[0], self.units[self.head]
        others = self.finished(0) - head.whole_gradient_bytes - (stem.whole_gradient_bytes if self.keeps_whole else 0)
        kept = root.gradient_bytes if self._stay and (self.keeps_whole or not self.exist) else 0
        first, second = (
            self._reducing([unit], unit.trained[-1] if unit.trained else None, unit.whole_gradient_bytes)
            for unit in (root, embedding)
        )
        return others + embedding.whole_gradient_bytes + first, others + kept + second

    def _last(self, i: int) -> TrainedTensor | None:
        """Returns the last tensor of unit `i` that trains; None where there is none.

        A tied embedding comes after the final norm, and before the head's bias, which has an element for each word
        (accelerate/utils/fsdp_utils.py, `tail_modules`). Where the head belongs to the root, so does what the stem has
        beside the embedding.
        """
        trained = self.units[i].trained
        if not i and self._joins:  # the root's parameters in the order of its modules
            trained = (*trained, *self.units[self.head].trained)
        if i or self._joins or not (self.tied or self.rooted):
            return trained[-1] if trained else None
        embedding = tuple(t for t in trained if t.is_embedding)[:1]
        of_head = self.units[self.head].trained if self.tied else ()
        bias = tuple(t for t in of_head if embedding and t.shape == embedding[0].shape[:1])
        found = bias or embedding or of_head or trained
        return found[-1] if found else None

    def _share(self, num_bytes: int) -> int:
        """Returns one rank's share of bytes that are divided among all ranks, rounded up."""
        return -(-num_bytes // self.ranks)


def _is_cast(unit: Unit) -> bool:
    """Whether any gradient is stored in a wider dtype than the one in which backward makes it."""
    return any(t.itemsize > t.computed_itemsize for t in unit.trained)


def _sums_from(numbers: Sequence[int]) -> tuple[int, ...]:
    """Returns the sum of the numbers from each place on, and 0 at the end."""
    return (*accumulate(reversed(numbers), initial=0),)[::-1]
