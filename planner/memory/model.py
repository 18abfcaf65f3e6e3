"""Computes memory and work of strategies on one cluster, from what their traced parts compose."""

from __future__ import annotations

from hardware import Cluster
from planner.libraries.deepspeed import filled_in
from planner.memory.composed import Composed
from planner.memory.memoized import memoized, remember_in
from planner.memory.rules import unevaluated, unpaired, violation
from planner.memory.settings.dtypes import Dtypes
from planner.memory.settings.parts import Part
from planner.memory.settings.setting import Setting
from planner.memory.settings.work import Work
from planner.memory.sharding.backends import backend_of
from planner.memory.sharding.layout import Turn
from planner.memory.step.footprint import Footprint
from planner.memory.step.pairs import COLUMNS
from planner.memory.step.process import Outside
from planner.memory.step.traced_model import TracedModel
from planner.memory.step.traffic import Traffic
from planner.memory.tracing.implementations import Implementations
from strategies import (
    Batching,
    DataParallel,
    Strategy,
    Zero,
)


class MemoryModel(Composed):
    """Computes footprints, work and traffic of strategies for one traced model on one cluster.

    A strategy decides settings, by which the pieces are composed; see `Composed` for the arguments.
    """

    @property
    def is_cheap(self) -> bool:
        """Whether another length or cluster costs nothing to ask about; True, since nothing is replayed."""
        return True

    @property
    def sequence_length(self) -> int:
        """Tokens per sequence."""
        return self.traced.sequence_length

    @property
    def real_tokens(self) -> int:
        """Tokens of a sequence that are not padding, on average."""
        if self.batching is Batching.PADDED and self.mean_length is not None:
            return min(self.mean_length, self.sequence_length)
        return self.sequence_length * (COLUMNS if self.is_paired else 1)

    def at_hand(self) -> MemoryModel:
        """Returns the same: nothing takes long."""
        return self

    def on(self, cluster: Cluster) -> MemoryModel:
        """Returns the same model on another cluster; what does not depend on the GPU is computed once for all."""
        found = self._with(self.traced, cluster)
        found._shared = self._shared
        remember_in(found, self._shared.setdefault(found._kind, {}))
        return found

    def at(self, sequence_length: int) -> MemoryModel:
        """Returns the same model at another sequence length, in tokens."""
        return self._with(self.traced.at(sequence_length), self.cluster)

    def by(self, implementations: Implementations) -> MemoryModel:
        """Returns the same model with kernels and losses that other libraries compute."""
        return self._with(self.traced.by(implementations), self.cluster)

    def _with(self, traced: TracedModel, cluster: Cluster) -> MemoryModel:
        given = self.evaluation_batch_size, self.batching, self.mean_length, self.loading, self.outputs
        return MemoryModel(traced, cluster, *given)

    def violation(self, strategy: Strategy) -> str | None:
        """Says why the model cannot be trained with a strategy; None if it can."""
        inventory, evaluates = self.traced.inventory, self.evaluation_batch_size is not None
        if reason := evaluates and unevaluated(inventory, strategy):
            return reason
        paired = unpaired(inventory, strategy, self.outputs, self.cluster.world_size)
        return paired or violation(inventory, strategy, self.batching)

    @memoized
    def setting(self, strategy: Strategy) -> Setting:
        """Returns what the bytes of the model's parts depend on under a strategy."""
        s, selection = strategy, self._selection.under(strategy.attention)
        dtypes = Dtypes.of(s.precision, s.finetuning, s.sharding)
        # With FSDP2 a unit's gradient shards, and so their updates, come after its backward: `Layout` counts them.
        updates = None if s.sharding.shards else s.optimizer_in_backward
        marked, by_zero3 = backend_of(s.sharding).marked, isinstance(s.sharding, Zero) and s.sharding.stage == 3
        again = backend_of(s.sharding).is_checkpointed and s.checkpointing.choice.facts.reentrant
        beside = updates, False, marked, by_zero3, again, self.outputs
        return self.traced.setting(dtypes, s.finetuning, s.attention, s.loss, s.kernels, selection, *beside)

    def sharding(self, strategy: Strategy) -> DataParallel:
        """Returns the sharding of a strategy, with the sizes that a library fills in from the model's."""
        sharding = strategy.sharding
        if isinstance(sharding, Zero):
            return filled_in(sharding, self.traced.inventory.architecture.hidden_size)
        return sharding

    def _turns(self, strategy: Strategy, micro_batches: int) -> tuple[Turn, ...]:
        """Returns the micro-batches of a step that can be the largest; the first, too, where it finds more gathered."""
        backend = backend_of(strategy.sharding)
        turns = backend.turns(strategy.sharding, min(micro_batches, 3))
        finds_more = backend.keeps_what_evaluations_gather and self.evaluation_batch_size is not None
        return (Turn.FIRST, *turns) if finds_more and micro_batches > 1 and Turn.FIRST not in turns else turns

    def footprint(self, strategy: Strategy, micro_batches: int) -> Footprint:
        """Returns the memory of a strategy on one rank.

        Args:
            strategy: A strategy that the model can be trained with.
            micro_batches: Micro-batches per optimizer step; gradients exist while all but the first run.
        """
        s, turns = strategy, self._turns(strategy, micro_batches)
        given = self.setting(s), s.optimizer, s.checkpointing, self.sharding(s), s.allocator, s.optimizer_in_backward
        found = self.composed(*given, turns, s.precision.facts.trained_bytes)
        return found.on(self._outside(s.sharding), self.cluster.host_memory_bytes)

    def _outside(self, sharding: DataParallel) -> Outside:
        """Returns the bytes of the process that are not tensors."""
        return self.outside.with_communicators(backend_of(sharding).communicators)

    def least_process_bytes(self, strategy: Strategy, micro_batches: int) -> int:
        """Returns the bytes of the process at the optimizer step, for which no part is traced; see `StepMemory`."""
        s, turns = strategy, self._turns(strategy, micro_batches)
        given = self.setting(s), s.optimizer, self.sharding(s)
        at_step = self.at_step(*given, s.optimizer_in_backward, turns[-1], s.precision.facts.trained_bytes)
        persistent = self.persistent(*given, s.precision.facts.trained_bytes)
        tensors = persistent.total + sum(at_step) + self.outside.workspace_bytes
        return self._outside(s.sharding).process_bytes(tensors)

    def parts(self, strategy: Strategy, micro_batch_size: int) -> list[Part]:
        """Returns stem, blocks, head and loss of a step; equal blocks are the same object."""
        setting = self.setting(strategy)
        chunk_tokens = self.traced.chunk_tokens(setting, micro_batch_size)
        return self.traced.parts(setting, strategy.checkpointing, chunk_tokens)

    def work(self, strategy: Strategy) -> Work:
        """Returns the work of forward and backward of one micro-batch: FLOPs and bytes moved, fixed and per sample."""
        return self.traced.work(self.setting(strategy), strategy.checkpointing).times(COLUMNS if self.is_paired else 1)

    def recomputation(self, strategy: Strategy) -> Work:
        """Returns the part of `work` that computes forward again."""
        return self.traced.recomputation(self.setting(strategy), strategy.checkpointing)

    def traffic(self, strategy: Strategy) -> Traffic:
        """Returns the bytes that one rank exchanges with others and moves in the optimizer step."""
        itemsize = strategy.precision.facts.trained_bytes
        return self.exchanged(self.setting(strategy), strategy.optimizer, self.sharding(strategy), itemsize)
