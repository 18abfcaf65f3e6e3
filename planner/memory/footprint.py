"""The memory and work of strategies on one cluster: traced parts, composed and solved, each piece computed once."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import replace
from functools import wraps
from typing import Any, NamedTuple, ParamSpec, TypeVar

from hardware import Cluster
from planner.memory.evaluation import evaluation, saving
from planner.memory.numerics import Numerics
from planner.memory.process import Outside, Slack
from planner.memory.sdpa import SdpaKernel, Selection
from planner.memory.sharding import Layout, replication_buffers
from planner.memory.state import Unit, Units, state_bytes, step_counts, step_temporaries, table_bytes
from planner.memory.step import Line, Lines, Moment, Position, compose, largest_lines, positions
from planner.memory.time import Traffic
from planner.memory.trace import Part, Setting, Tracer, Work, joined
from planner.memory.trained import Trained, copies_modules, obstacle, trained_in_blocks
from planner.models import Inventory
from strategies import Allocator, Attention, Checkpointing, Lora, Loss, Method, Optimizer, Sharding, Strategy

P = ParamSpec("P")
R = TypeVar("R")


def memoized(method: Callable[P, R]) -> Callable[P, R]:
    """Remembers a method's results by its arguments, for as long as its instance lives."""
    name = method.__name__

    @wraps(method)
    def remembered(*args: P.args, **kwargs: P.kwargs) -> R:
        instance: Any = args[0]
        table: dict[Hashable, R] = instance.__dict__.setdefault(f"_{name}_results", {})
        key = args[1:]
        if key not in table:
            table[key] = method(*args, **kwargs)
        return table[key]

    return remembered


class Persistent(NamedTuple):
    """Bytes that one rank keeps for the whole run."""

    parameters: int
    optimizer_states: int
    communication: int

    @property
    def total(self) -> int:
        return self.parameters + self.optimizer_states + self.communication


class Peak(NamedTuple):
    """The largest instant of a step at one micro-batch: which moment, which line of it, and its tensors' bytes."""

    moment: Moment
    line: Line
    tensor_bytes: int


class Footprint(NamedTuple):
    """One strategy's memory on one rank, for every micro-batch: per moment the lines that can be its peak."""

    persistent: Persistent
    lines: Lines
    outside: Outside
    slack: Slack

    def moments(self, micro_batch_size: int) -> dict[Moment, int]:
        """Allocated bytes at the peak of each moment, cuBLAS workspaces included."""
        extra = self.persistent.total + self.outside.workspace_bytes
        return {m: extra + max(line.at(micro_batch_size) for line in lines) for m, lines in self.lines.items()}

    def peak(self, micro_batch_size: int) -> Peak:
        candidates = ((line.at(micro_batch_size), m, line) for m, lines in self.lines.items() for line in lines)
        size, moment, line = max(candidates, key=lambda c: c[0])
        return Peak(moment, line, size + self.persistent.total)

    def allocated_bytes(self, micro_batch_size: int) -> int:
        """What `torch.cuda.max_memory_allocated` would report."""
        return self.peak(micro_batch_size).tensor_bytes + self.outside.workspace_bytes

    def reserved_bytes(self, micro_batch_size: int) -> int:
        """What has to be reserved for the step to run; an estimate."""
        return self.slack.reserved_bytes(self.allocated_bytes(micro_batch_size))

    def process_bytes(self, micro_batch_size: int) -> int:
        """What the GPU has less while the process runs."""
        return self.outside.process_bytes(self.reserved_bytes(micro_batch_size))

    def largest_micro_batch(self, budget_bytes: int) -> int:
        """The largest micro-batch whose process fits into the budget; 0 if one sample does not. Every line gives a
        bound and the smallest bound holds: nothing is scanned."""
        allocated = self.slack.allocated_within(self.outside.reserved_within(budget_bytes))
        room = allocated - self.outside.workspace_bytes - self.persistent.total
        bounds = [(room - line.fixed) // (line.per_sample or 1) for lines in self.lines.values() for line in lines]
        return max(0, min(bounds))


class Traced:
    """A model at one sequence length: its parameters and traced parts under each setting, whatever the cluster."""

    def __init__(self, inventory: Inventory, sequence_length: int) -> None:
        self.inventory, self.sequence_length = inventory, sequence_length

    @memoized
    def setting(
        self,
        numerics: Numerics,
        method: Method,
        attention: Attention,
        loss: Loss,
        selection: Selection,
        evaluates: bool = False,
    ) -> Setting:
        return Setting(numerics, method, attention, loss, self.sequence_length, selection, evaluates)

    @memoized
    def units(self, setting: Setting, ranks: int) -> Units:
        """`ranks`: among which they are divided."""
        return Units.of(self.inventory, setting.method, setting.numerics, ranks)

    @memoized
    def work(self, setting: Setting, checkpointing: Checkpointing) -> Work:
        """FLOPs and bytes moved by forward and backward of one micro-batch."""
        total = Work()
        for part, count in _counted(self.parts(setting, checkpointing)):
            total = total.plus(part.forward_work.plus(part.backward_work).times(count))
        return total

    @memoized
    def positions(self, setting: Setting, checkpointing: Checkpointing, shards: bool) -> list[Position]:
        return positions(self.parts(setting, checkpointing), reach=int(shards))  # FSDP2 holds of a part's neighbours

    @memoized
    def parts(self, setting: Setting, checkpointing: Checkpointing) -> list[Part]:
        """Stem, blocks, head and loss."""
        # A frozen embedding's output needs no gradient, unless checkpointing asks for one, of whatever trains
        # (transformers' gradient_checkpointing_enable): then no block saves less than the others.
        checkpoints = checkpointing is not Checkpointing.NONE
        stem, itemsize = self._stem(setting, checkpointing, checkpoints)
        requires_grad, blocks = stem.output_requires_grad, []
        in_blocks = trained_in_blocks(setting.method, len(self.inventory.layer_kinds))
        for kind, trained in zip(self.inventory.layer_kinds, in_blocks, strict=True):
            if checkpoints and self.inventory.architecture.is_block(kind):
                block = self._checkpointed(setting, kind, trained, itemsize, requires_grad)
            else:
                block = self._block(setting, kind, trained, itemsize, requires_grad, checkpoints)
            requires_grad = block.output_requires_grad
            blocks.append(block)
        embedded_bytes = _hold_embedded(stem, blocks)
        head, loss = self._head(setting, itemsize, requires_grad, embedded_bytes)
        return joined([stem, *blocks, head, loss], checkpointed=checkpoints)

    @memoized
    def _tracer(self, setting: Setting) -> Tracer:
        return Tracer(self.inventory.architecture, setting)

    @memoized
    def _stem(self, setting: Setting, checkpointing: Checkpointing, output_requires_grad: bool) -> tuple[Part, int]:
        return self._tracer(setting).stem(checkpointing, output_requires_grad=output_requires_grad)

    @memoized
    def _block(
        self,
        setting: Setting,
        kind: Hashable,
        trained: Trained,
        itemsize: int,
        input_requires_grad: bool,
        checkpoints: bool,
        again: bool = False,
    ) -> Part:
        return self._tracer(setting).block(
            kind, trained, itemsize, input_requires_grad=input_requires_grad, checkpoints=checkpoints, again=again
        )

    @memoized
    def _checkpointed(
        self, setting: Setting, kind: Hashable, trained: Trained, itemsize: int, input_requires_grad: bool
    ) -> Part:
        plain = self._block(setting, kind, trained, itemsize, input_requires_grad, True, True)
        return self._tracer(setting).checkpointed_block(
            kind, trained, itemsize, plain, input_requires_grad=input_requires_grad
        )

    @memoized
    def _head(
        self, setting: Setting, itemsize: int, input_requires_grad: bool, embedded_bytes: int
    ) -> tuple[Part, Part]:
        tracer = self._tracer(setting)
        return tracer.head(itemsize, input_requires_grad=input_requires_grad, embedded_bytes=embedded_bytes)


def _hold_embedded(stem: Part, blocks: list[Part]) -> int:
    """Holds the embedding's output from the first block, whose input it is, or already from the stem to the end of the
    last. Returns its bytes per sample, 0 where it is saved anyway."""
    size = stem.embedded_bytes
    if stem.holds_output and blocks[0].saves_input:
        return 0
    for i, change in ((0, size if stem.holds_output else 0), (-1, -size)):
        fixed, per_sample = blocks[i].held
        blocks[i] = blocks[i]._replace(held=(fixed, per_sample + change))
    return size


class MemoryModel:
    """Footprints, work and traffic of strategies for one traced model on one cluster.

    Args:
        sdpa_kernel: which one a training script pins; None where torch selects.
        evaluation_batch_size: samples that are evaluated at once between steps; None where nothing is.
    """

    def __init__(
        self,
        traced: Traced,
        cluster: Cluster,
        sdpa_kernel: SdpaKernel | None = None,
        evaluation_batch_size: int | None = None,
    ) -> None:
        self.traced, self.cluster, self.sdpa_kernel = traced, cluster, sdpa_kernel
        self.evaluation_batch_size = evaluation_batch_size
        self.outside = Outside.of(cluster)

    @property
    def asks_freely(self) -> bool:
        return True

    @property
    def sequence_length(self) -> int:
        return self.traced.sequence_length

    def on(self, cluster: Cluster) -> MemoryModel:
        return MemoryModel(self.traced, cluster, self.sdpa_kernel, self.evaluation_batch_size)

    def at(self, sequence_length: int) -> MemoryModel:
        traced = Traced(self.traced.inventory, sequence_length)
        return MemoryModel(traced, self.cluster, self.sdpa_kernel, self.evaluation_batch_size)

    def obstacle(self, strategy: Strategy) -> str | None:
        """Why the model cannot be trained so."""
        return obstacle(self.traced.inventory, strategy)

    def setting(self, strategy: Strategy) -> Setting:
        s, gpu = strategy, self.cluster.gpu
        selection = Selection(self.sdpa_kernel, gpu.supports_flash_attention, gpu.prefers_cudnn_attention)
        numerics = Numerics.of(s.precision, s.finetuning, s.sharding)
        return self.traced.setting(numerics, s.finetuning, s.attention, s.loss, selection)

    def footprint(self, strategy: Strategy, *, accumulates: bool) -> Footprint:
        """`accumulates`: more than one micro-batch per optimizer step, so gradients exist while later ones run."""
        s = strategy
        return self._footprint(self.setting(s), s.optimizer, s.checkpointing, s.sharding, s.allocator, accumulates)

    def work(self, strategy: Strategy) -> Work:
        return self.traced.work(self.setting(strategy), strategy.checkpointing)

    def traffic(self, strategy: Strategy) -> Traffic:
        """Bytes that one rank exchanges with others and moves in the optimizer step."""
        return self._traffic(self.setting(strategy), strategy.optimizer, strategy.sharding)

    @memoized
    def _footprint(
        self,
        setting: Setting,
        optimizer: Optimizer,
        checkpointing: Checkpointing,
        sharding: Sharding,
        allocator: Allocator,
        accumulates: bool,
    ) -> Footprint:
        gradients = self._layout(setting, sharding, accumulates).all_gradients
        step = gradients + self._step_temporaries(setting, optimizer, sharding)
        lines = dict(self._lines(setting, checkpointing, sharding, accumulates))
        lines |= self._between_steps(setting, sharding)
        lines[Moment.OPTIMIZER_STEP] = (Line(step, self._ids_bytes, 0, 0, gradients, 0, 0),)
        persistent = self._persistent(setting, optimizer, sharding)
        slack = Slack.of(allocator, setting.attention, persistent.total + self.outside.workspace_bytes)
        return Footprint(persistent, lines, self.outside, slack)

    @memoized
    def _between_steps(self, setting: Setting, sharding: Sharding) -> Lines:
        """The trained batch is still there: its ids belong to the training loop."""
        found: Lines = {}
        if self.evaluation_batch_size is not None:
            s = setting
            method = replace(s.method, dropout=0.0) if isinstance(s.method, Lora) else s.method
            evaluated = self.traced.setting(s.numerics, method, s.attention, s.loss, s.selection, True)
            parts, size = self.traced.parts(evaluated, Checkpointing.NONE), self.evaluation_batch_size
            lines = evaluation(parts, self._layout(setting, sharding, False), size)
            ids = self._ids_bytes
            found[Moment.EVALUATION] = largest_lines(
                x._replace(fixed=x.fixed + ids * size, per_sample=ids) for x in lines
            )
        if sharding.shards:
            line = saving(self.traced.inventory, setting.numerics)
            found[Moment.SAVING] = (line._replace(per_sample=self._ids_bytes),)
        return found

    @memoized
    def _traffic(self, setting: Setting, optimizer: Optimizer, sharding: Sharding) -> Traffic:
        states = self._persistent(setting, optimizer, sharding).optimizer_states
        return Traffic.of(self._units(setting, sharding), sharding, self.cluster.world_size, states)

    @property
    def _ids_bytes(self) -> int:
        """Of what is fed for one sample, held by the caller throughout."""
        return self.traced.inventory.architecture.batch_bytes(self.traced.sequence_length)

    @memoized
    def _layout(self, setting: Setting, sharding: Sharding, gradients_exist: bool) -> Layout:
        architecture, ranks = self.traced.inventory.architecture, self.cluster.world_size
        units = self._units(setting, sharding)
        again, rooted = architecture.embeds_again, not architecture.head_is_unit
        tied = architecture.tied_to is not None and not copies_modules(setting.method)
        if again is None:
            return Layout(units, sharding, ranks, tied, gradients_exist, rooted)
        return Layout(units, sharding, ranks, True, gradients_exist, rooted, None if tied else again + 1)

    @memoized
    def _lines(self, setting: Setting, checkpointing: Checkpointing, sharding: Sharding, accumulates: bool) -> Lines:
        places = self.traced.positions(setting, checkpointing, sharding.shards)
        lines = compose(places, self._layout(setting, sharding, accumulates))
        ids = self._ids_bytes
        return {m: tuple(x._replace(per_sample=x.per_sample + ids) for x in found) for m, found in lines.items()}

    @memoized
    def _persistent(self, setting: Setting, optimizer: Optimizer, sharding: Sharding) -> Persistent:
        units = self._units(setting, sharding)
        states = sum(n * sum(state_bytes(optimizer, t) for t in u.trained) for u, n in _counted(units))
        whole = sum(step_counts(optimizer, u) for u in units) + table_bytes(optimizer, units)
        stored = sum(u.stored_bytes for u in units)
        buckets = replication_buffers(units, sharding, self.cluster.world_size)
        return Persistent(stored, states + whole, buckets)

    @memoized
    def _step_temporaries(self, setting: Setting, optimizer: Optimizer, sharding: Sharding) -> int:
        return step_temporaries(optimizer, [(u.trained, n) for u, n in _counted(self._units(setting, sharding))])

    def _units(self, setting: Setting, sharding: Sharding) -> tuple[Unit, ...]:
        return self.traced.units(setting, self.cluster.world_size if sharding.shards else 1).all


def _counted(items: list[R] | tuple[R, ...]) -> list[tuple[R, int]]:
    """Distinct objects and how often each occurs."""
    counts: dict[int, tuple[R, int]] = {}
    for item in items:
        counts[id(item)] = (item, counts.get(id(item), (item, 0))[1] + 1)
    return list(counts.values())
