"""Composes what a model takes on a cluster from its traced parts, under given settings; each piece is computed once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hardware import Cluster
from planner.libraries.sdpa import Selection
from planner.memory.memoized import memoized, results_of
from planner.memory.settings.setting import Setting
from planner.memory.settings.trainable import copies_modules
from planner.memory.sharding.account import Unit
from planner.memory.sharding.backend import AtStep
from planner.memory.sharding.backends import backend_of
from planner.memory.sharding.layout import Ends, Layout, MicroBatch, Turn
from planner.memory.sharding.optimizers import rule_of
from planner.memory.sharding.persistent import Persistent
from planner.memory.step.evaluation import between_steps
from planner.memory.step.footprint import Footprint
from planner.memory.step.host import Host
from planner.memory.step.loading import Loaded
from planner.memory.step.outputs import KeptOutputs, raised
from planner.memory.step.pairs import paired, with_scores
from planner.memory.step.process import Outside, Slack
from planner.memory.step.step import Line, Lines, Moment, compose, largest_lines
from planner.memory.step.traced_model import TracedModel
from planner.memory.step.traffic import Traffic
from planner.models.architecture import INT64
from strategies import (
    Allocator,
    AnyOptimizer,
    Batching,
    Checkpoints,
    DataParallel,
    Loading,
    Lora,
    Outputs,
)

if TYPE_CHECKING:
    from planner.memory.step.courses import Courses


class Composed:
    """Composes footprints and traffic of one traced model on one cluster from what decides them.

    Args:
        traced: The model at one sequence length.
        cluster: The GPUs, one rank on each.
        evaluation_batch_size: Samples that are evaluated at once between steps; None without an evaluation.
        batching: How samples become sequences, which decides what is fed in addition to ids and labels.
        mean_length: Tokens of a sample on average; None where samples are full, or where it is not known.
        loading: Which ranks of a node have the whole model while it is loaded.
        outputs: How long the training loop keeps what the model returned.
    """

    def __init__(
        self,
        traced: TracedModel,
        cluster: Cluster,
        evaluation_batch_size: int | None = None,
        batching: Batching = Batching.FULL,
        mean_length: int | None = None,
        loading: Loading = Loading.AUTO,
        outputs: Outputs = Outputs.RELEASED,
    ) -> None:
        self.traced, self.cluster = traced, cluster
        self.evaluation_batch_size, self.batching, self.mean_length = evaluation_batch_size, batching, mean_length
        self.loading, self.outputs, self.outside, gpu = loading, outputs, Outside.of(cluster), cluster.gpu
        self._selection = Selection(None, gpu.supports_flash_attention, batching, gpu.prefers_cudnn_attention)
        self._kind = cluster.gpus_per_node, cluster.nodes, self._selection  # what decides the memoized results
        self._shared = {self._kind: results_of(self)}

    @property
    def _courses(self) -> Courses:
        """What libraries have around parts, as far as that has been followed."""
        return results_of(self).setdefault("courses", {})

    @memoized
    def composed(
        self,
        setting: Setting,
        optimizer: AnyOptimizer,
        checkpointing: Checkpoints,
        sharding: DataParallel,
        allocator: Allocator,
        updates: AnyOptimizer | None,
        turns: tuple[Turn, ...],
        master_itemsize: int,
    ) -> Footprint:
        """Returns the memory of one rank, without what lies outside of torch's allocator."""
        partition = self.partition(setting, optimizer, sharding, master_itemsize)
        step = self.at_step(setting, optimizer, sharding, updates, turns[-1], master_itemsize)
        layout = self._layout(setting, sharding, updates, turns[-1])
        left = layout.left(self.traced.without_backward(setting, checkpointing))
        outputs = self.kept_outputs(setting, checkpointing, self.traced.chunk_tokens(setting, 1))
        stepped = Line(sum(step) + left, self.ids_bytes, 0, 0, step.gradients, left, 0)
        others = self._between_steps(setting, checkpointing, sharding, left, outputs.between_steps) | {
            Moment.OPTIMIZER_STEP: tuple(raised([stepped], outputs.after_step))
        }

        def lines_of(micro_batch_size: int) -> Lines:
            chunk = self.traced.chunk_tokens(setting, micro_batch_size)
            lines = self._lines(setting, checkpointing, sharding, updates, turns, chunk) | others
            return with_scores(lines, micro_batch_size) if self.is_paired else lines

        persistent = self.persistent(setting, optimizer, sharding, master_itemsize)
        slack = Slack.of(allocator, setting.attention, persistent.total)
        varies = lines_of if setting.loss.is_fused or self.is_paired else None
        around = self.units(setting, sharding), sharding, self.cluster.world_size, partition
        parts = self.traced.parts(setting, checkpointing) if checkpointing.choice.facts.offloads else ()
        kept = backend_of(sharding).on_host(*around, updates=updates is not None, accumulates=Turn.ONLY not in turns)
        whole, per_node = self.traced.units(setting, 1).all, self.cluster.gpus_per_node
        how = setting.method, sharding, whole, around[0], self.loading, per_node, self.cluster.host_memory_bytes
        at_setup = backend_of(sharding).at_setup(sharding, partition)
        loaded = Loaded.of(self.traced.inventory, *how).at_least(at_setup)
        host = Host.of(kept, parts, self.cluster, loaded.host_bytes)
        return Footprint(persistent, lines_of(1), Outside(0, 0, 0), slack, varies, host, loaded)

    @memoized
    def at_step(
        self,
        setting: Setting,
        optimizer: AnyOptimizer,
        sharding: DataParallel,
        updates: AnyOptimizer | None,
        turn: Turn,
        master_itemsize: int,
    ) -> AtStep:
        """Returns the bytes at the optimizer step in addition to what persists, without what is left from forward."""
        layout = self._layout(setting, sharding, updates, turn)
        partition = self.partition(setting, optimizer, sharding, master_itemsize)
        found: AtStep = backend_of(sharding).at_step(layout, sharding, partition, updates)
        return found

    @memoized
    def _between_steps(
        self,
        setting: Setting,
        checkpointing: Checkpoints,
        sharding: DataParallel,
        left: int,
        kept: tuple[int, int],
    ) -> Lines:
        """Returns the lines of evaluating and saving; the loop still has the training batch, and `kept` bytes of it."""
        layout = self._layout(setting, sharding, None, Turn.ONLY)
        how = setting, checkpointing, sharding, layout
        lines = between_steps(self.traced, *how, self.evaluation_batch_size, self.ids_bytes, left)
        beside = kept[0], kept[1] + self.ids_bytes
        return {moment: tuple(raised(found, beside)) for moment, found in lines.items()}

    @memoized
    def exchanged(
        self, setting: Setting, optimizer: AnyOptimizer, sharding: DataParallel, master_itemsize: int
    ) -> Traffic:
        """Returns the bytes that one rank exchanges with others and moves in the optimizer step."""
        partition = self.partition(setting, optimizer, sharding, master_itemsize)
        again, units = setting.recomputes_units, self.units(setting, sharding)
        traffic = Traffic.of(units, sharding, self.cluster, partition.states, recomputes_units=again)
        if isinstance(setting.method, Lora) and setting.method.separates_experts:  # which run in a loop
            traffic = traffic.waiting()
        return traffic.stepped(partition.moved, rule_of(optimizer).passes_over_memory())

    @property
    def ids_bytes(self) -> int:
        """Bytes per sample of ids, labels, and a mask or positions where fed; the caller holds them throughout."""
        length, target = self.traced.sequence_length, self.traced.target_length
        beside = self.batching.facts.masks_samples * length * INT64
        return self.traced.inventory.architecture.batch_bytes(length, target) + beside

    @memoized
    def _layout(self, setting: Setting, sharding: DataParallel, updates: AnyOptimizer | None, turn: Turn) -> Layout:
        units, ranks = self.units(setting, sharding), self.cluster.world_size
        evaluates = self.evaluation_batch_size is not None
        micro_batch = MicroBatch(turn, updates, setting.recomputes_units, evaluates)
        return backend_of(sharding).layout(units, sharding, ranks, self.ends(setting), micro_batch)

    def ends(self, setting: Setting) -> Ends:
        """Returns how the model's embedding and head hang together."""
        architecture = self.traced.inventory.architecture
        return Ends.of(architecture, copies=copies_modules(setting.method, architecture.task))

    @memoized
    def _lines(
        self,
        setting: Setting,
        checkpointing: Checkpoints,
        sharding: DataParallel,
        updates: AnyOptimizer | None,
        turns: tuple[Turn, ...],
        chunk_tokens: int | None,
    ) -> Lines:
        layouts, ids = [self._layout(setting, sharding, updates, turn) for turn in turns], self.ids_bytes
        if setting.marked:
            from planner.memory.step.followed import Tied, followed  # of DeepSpeed alone

            parts = self.traced.parts(setting, checkpointing, chunk_tokens)
            stem, ends = self.traced.units(setting, 1).stem, self.ends(setting)
            tied = Tied.of(self.traced.inventory.architecture, ends, stem, head=len(parts) - 2)
            of_turns = [followed(parts, layout, tied, self._courses) for layout in layouts]
        else:
            places = self.traced.positions(setting, checkpointing, layouts[0].gathers, chunk_tokens)
            of_turns = [compose(places, layout) for layout in layouts]
        if self.is_paired:
            from planner.memory.sharding.pairs import both_passes

            around = self.units(setting, sharding), sharding, self.cluster.world_size
            reentrant = checkpointing.choice.facts.reentrant
            parts = self.traced.parts(setting, checkpointing, chunk_tokens)
            of_turns = [paired(places, parts, *both_passes(*around, turn, reentrant=reentrant)) for turn in turns]
        kept = self.kept_outputs(setting, checkpointing, chunk_tokens)
        of_turns = [kept.around(turn, lines) for turn, lines in zip(turns, of_turns, strict=True)]
        return {
            moment: largest_lines(
                x._replace(per_sample=x.per_sample + ids) for lines in of_turns for x in lines[moment]
            )
            for moment in of_turns[0]
        }

    @property
    def is_paired(self) -> bool:
        """Whether a sample is a pair of texts, each of which runs through the model."""
        return self.traced.inventory.architecture.objective == "each_pair"

    def kept_outputs(self, setting: Setting, checkpointing: Checkpoints, chunk_tokens: int | None) -> KeptOutputs:
        """Returns what the training loop keeps of a step."""
        return KeptOutputs.of(setting.outputs, self.traced.parts(setting, checkpointing, chunk_tokens))

    @memoized
    def persistent(
        self, setting: Setting, optimizer: AnyOptimizer, sharding: DataParallel, master_itemsize: int
    ) -> Persistent:
        """Returns what one rank keeps for the whole run."""
        units = self.units(setting, sharding)
        partition = self.partition(setting, optimizer, sharding, master_itemsize)
        return backend_of(sharding).persistent(units, sharding, self.cluster.world_size, partition)

    @memoized
    def partition(self, setting: Setting, optimizer: AnyOptimizer, sharding: DataParallel, master_itemsize: int) -> Any:
        """Returns what the optimizer of a rank keeps and allocates."""
        units, apart, ranks = self.units(setting, sharding), setting.updates is not None, self.cluster.world_size
        backend, in_fp16 = backend_of(sharding), setting.dtypes.half_is_fp16
        given = units, optimizer, sharding, ranks
        return backend.partition(*given, apart=apart, itemsize=master_itemsize, in_fp16=in_fp16)

    def units(self, setting: Setting, sharding: DataParallel) -> tuple[Unit, ...]:
        """Returns the parameters of each part, as a rank stores them."""
        return self.traced.units(setting, sharding.ranks(self.cluster.world_size), backend_of(sharding).account).all
