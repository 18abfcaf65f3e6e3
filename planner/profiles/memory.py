"""Computes memory and time of strategies for a model that is known only by its replays."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from hardware import Cluster
from planner.memory.memoized import memoized, remember_in, results_of
from planner.memory.settings.work import Work
from planner.memory.sharding.account import Unit
from planner.memory.sharding.host import OnHost
from planner.memory.sharding.optimizers import rule_of
from planner.memory.sharding.persistent import Persistent
from planner.memory.sharding.replicated import replication_buffers
from planner.memory.step.footprint import Footprint
from planner.memory.step.host import Host
from planner.memory.step.process import Outside, Slack
from planner.memory.step.step import Line, Lines, Moment
from planner.memory.step.traffic import Traffic
from planner.profiles.asked import setting_of
from planner.profiles.known import Profiles
from planner.profiles.lines import of_evaluation, of_passes
from planner.profiles.model import ProfiledModel
from planner.profiles.records import Profile, Refusal
from planner.profiles.rules import exclusion
from strategies import AnyOptimizer, DataParallel, Strategy

MOST_TURNS: Final = 3
"""Micro-batches of a step that can differ: the first, one between, and the last."""


class ProfiledMemory:
    """Answers from profiles what `MemoryModel` derives: the memory and time of strategies on a cluster.

    Optimizer states and the allocator's reserve are derived as there.

    Args:
        model: The model.
        sequence_length: Tokens per sample.
        cluster: The GPUs to train on.
        replays: Whether what is not kept on disk is replayed; if not, it is refused.
        evaluation_batch_size: Samples that each GPU evaluates at once between steps; None for no evaluation.
        target_length: Tokens of the decoder's sequence, of an encoder-decoder; None for as many as the source has.

    Attributes:
        outside: Bytes of the process that are not tensors.
    """

    def __init__(
        self,
        model: ProfiledModel,
        sequence_length: int,
        cluster: Cluster,
        *,
        replays: bool = True,
        evaluation_batch_size: int | None = None,
        target_length: int | None = None,
    ) -> None:
        self.model, self.cluster, self._replays = model, cluster, replays
        self._evaluation_batch_size = evaluation_batch_size
        self._sequence_length, self._target_length = sequence_length, target_length
        self.outside = Outside.of(cluster)
        world_size, has_flash = _replayed_as(cluster)
        self._profiles = Profiles(
            model,
            sequence_length,
            world_size,
            has_flash=has_flash,
            replays=replays,
            evaluates=evaluation_batch_size is not None,
            target_length=target_length,
        )

    @property
    def is_cheap(self) -> bool:
        """Whether it costs nothing to ask about another length or number of ranks: each may need replays."""
        return not self._replays

    @property
    def sequence_length(self) -> int:
        """Tokens per sample."""
        return self._sequence_length

    @property
    def real_tokens(self) -> int:
        """Tokens per sample that are not padding: all of them."""
        return self._sequence_length

    def at_hand(self) -> ProfiledMemory:
        """Returns the same without replays: what is not kept on disk is refused."""
        return self._like(self.sequence_length, self.cluster, replays=False)

    def on(self, cluster: Cluster) -> ProfiledMemory:
        """Returns the memory of the same model and sequence length on another cluster."""
        other = self._like(self.sequence_length, cluster, replays=self._replays)
        if _replayed_as(cluster) == _replayed_as(self.cluster):
            other._profiles = self._profiles
            remember_in(other, results_of(self))
        return other

    def at(self, sequence_length: int) -> ProfiledMemory:
        """Returns the memory of the same model and cluster at another sequence length."""
        return self._like(sequence_length, self.cluster, replays=self._replays)

    def _like(self, sequence_length: int, cluster: Cluster, *, replays: bool) -> ProfiledMemory:
        """Returns the memory of the same model and evaluation at a length on a cluster."""
        return ProfiledMemory(
            self.model,
            sequence_length,
            cluster,
            replays=replays,
            evaluation_batch_size=self._evaluation_batch_size,
            target_length=self._target_length,
        )

    def violation(self, strategy: Strategy) -> str | None:
        """Returns why the model cannot be trained with this strategy, or None; replays it if nothing is kept."""
        if reason := exclusion(self.model, strategy):
            return reason
        found = self._profiles.of(strategy)
        return found.reason if isinstance(found, Refusal) else None

    def foresee(self, strategies: Iterable[Strategy]) -> None:
        """Replays in several processes what will be asked about these strategies, where nothing is kept."""
        self._profiles.foresee(s for s in strategies if exclusion(self.model, s) is None)

    def footprint(self, strategy: Strategy, micro_batches: int) -> Footprint:
        """Returns the strategy's memory on one rank, for every micro-batch size.

        Args:
            strategy: A strategy without a violation.
            micro_batches: Micro-batches per optimizer step; gradients exist while all but the first run.
        """
        found = self._profile(strategy)
        unit, ranks = self._unit(setting_of(strategy)), self._ranks(strategy.sharding)
        gradients = -(-unit.gradient_bytes // ranks)
        temporaries = rule_of(strategy.optimizer).temporaries([(unit.trained, 1)], ranks)
        lines = dict(self._lines(setting_of(strategy), min(micro_batches, MOST_TURNS)))
        lines[Moment.OPTIMIZER_STEP] = (Line(gradients + temporaries, found.inputs_bytes, 0, 0, gradients, 0, 0),)
        if (batch := self._evaluation_batch_size) is not None:
            lines[Moment.EVALUATION] = of_evaluation(found, batch)
        persistent = Persistent(
            found.parameters_bytes,
            self._states(strategy),
            replication_buffers([unit], strategy.sharding, self.cluster.world_size),
        )
        resident = persistent.total + self.outside.workspace_bytes
        slack = Slack.of(strategy.allocator, strategy.attention, resident)
        kept = OnHost(*rule_of(strategy.optimizer).on_host([(unit.trained, 1)]))
        host = Host.of(kept, (), self.cluster)
        return Footprint(persistent, lines, self.outside, slack, host=host)

    def least_process_bytes(self, strategy: Strategy, micro_batches: int) -> int:
        """Returns what the context and the communicator take: the profile, once it is known, tells the rest."""
        return self.outside.process_bytes(0)

    def work(self, strategy: Strategy) -> Work:
        """Returns the FLOPs and bytes of forward and backward of one micro-batch."""
        found = self._profile(strategy)
        flops = found.half_flops_per_sample, found.fp32_flops_per_sample
        return Work(*flops, found.bytes_per_sample, found.fixed_bytes, kernels=found.kernels)

    def recomputation(self, strategy: Strategy) -> Work:
        """Returns the FLOPs that compute forward again, for one sample."""
        found = self._profile(strategy)
        return Work(found.again_half_flops_per_sample, found.again_fp32_flops_per_sample)

    def traffic(self, strategy: Strategy) -> Traffic:
        """Returns the bytes that one rank exchanges with others, and those that its optimizer step moves."""
        unit = self._unit(setting_of(strategy))
        unit = unit._replace(gradient_bytes=-(-unit.gradient_bytes // self._ranks(strategy.sharding)))
        traffic = Traffic.of([unit], strategy.sharding, self.cluster, self._states(strategy))
        moved = rule_of(strategy.optimizer).moved([(unit.trained, 1)], self._ranks(strategy.sharding))
        return traffic._replace(step_with_host=moved[0], optimizer_flops=moved[1])

    def _profile(self, strategy: Strategy) -> Profile:
        """Returns the profile of a strategy that must have one."""
        found = self._profiles.of(strategy)
        if isinstance(found, Refusal):
            raise ValueError(f"a strategy that cannot run: {found.reason}")
        return found

    @memoized
    def _unit(self, setting: Strategy) -> Unit:
        """Returns all parameters of the model as one unit of sharding."""
        return self._profile(setting).unit()

    @memoized
    def _lines(self, setting: Strategy, micro_batches: int) -> Lines:
        """Returns the largest instants of forward and backward as lines in the micro-batch size."""
        return of_passes(self._profile(setting), micro_batches)

    def _states(self, strategy: Strategy) -> int:
        """Returns the bytes of the optimizer states on one rank."""
        return self._states_of(setting_of(strategy), strategy.optimizer, self._ranks(strategy.sharding))

    @memoized
    def _states_of(self, setting: Strategy, optimizer: AnyOptimizer, ranks: int) -> int:
        return rule_of(optimizer).resident([(self._unit(setting).trained, 1)], ranks)

    def _ranks(self, sharding: DataParallel) -> int:
        """Returns the number of ranks that parameters and gradients are divided over."""
        return sharding.ranks(self.cluster.world_size)


def _replayed_as(cluster: Cluster) -> tuple[int, bool]:
    """Returns what profiles depend on of a cluster: the number of ranks, and whether SDPA has its flash kernel."""
    return cluster.world_size, cluster.gpu.supports_flash_attention
