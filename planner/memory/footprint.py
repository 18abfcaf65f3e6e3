"""The memory and work of strategies on one cluster: traced parts, composed and solved, each piece computed once."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from functools import wraps
from typing import Any, NamedTuple, ParamSpec, TypeVar

from hardware import Cluster
from planner.memory.numerics import Numerics
from planner.memory.process import Outside, Slack
from planner.memory.sdpa import SdpaKernel, Selection
from planner.memory.sharding import Layout, replication_buffers
from planner.memory.state import Units, state_bytes, step_counts, step_temporaries
from planner.memory.step import Line, Lines, Moment, Position, compose, positions
from planner.memory.time import Traffic
from planner.memory.trace import Part, Setting, Tracer, Work, joined
from planner.models import Inventory
from strategies import Allocator, Attention, Checkpointing, Full, Loss, Method, Optimizer, Sharding, Strategy

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
        self, numerics: Numerics, method: Method, attention: Attention, loss: Loss, selection: Selection
    ) -> Setting:
        return Setting(numerics, method, attention, loss, self.sequence_length, selection)

    @memoized
    def units(self, setting: Setting) -> Units:
        return Units.of(self.inventory, setting.method, setting.numerics)

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
        # A frozen embedding's output needs no gradient, unless checkpointing asks for one
        # (PEFT's enable_input_require_grads): then the first block saves less than the others.
        from_stem = isinstance(setting.method, Full) or checkpointing is not Checkpointing.NONE
        stem, itemsize = self._stem(setting, checkpointing, from_stem)
        blocks: list[Part] = []
        for kind in self.inventory.layer_kinds:
            requires_grad = blocks[-1].output_requires_grad if blocks else from_stem
            if checkpointing is Checkpointing.NONE or not self.inventory.architecture.is_block(kind):
                checkpointed = checkpointing is not Checkpointing.NONE
                blocks.append(self._block(setting, kind, itemsize, requires_grad, checkpointed))
            else:
                blocks.append(self._checkpointed(setting, kind, itemsize))
        if not blocks[0].saves_input and checkpointing is Checkpointing.NONE:
            stem = stem.kept_by_body(blocks[0].input_bytes)
        parts = [stem, *blocks, *self._head(setting, itemsize)]
        return joined(parts, checkpointed=checkpointing is not Checkpointing.NONE)

    @memoized
    def _tracer(self, setting: Setting) -> Tracer:
        return Tracer(self.inventory.architecture, setting)

    @memoized
    def _stem(self, setting: Setting, checkpointing: Checkpointing, output_requires_grad: bool) -> tuple[Part, int]:
        return self._tracer(setting).stem(checkpointing, output_requires_grad=output_requires_grad)

    @memoized
    def _block(
        self, setting: Setting, kind: Hashable, itemsize: int, input_requires_grad: bool, checkpointed: bool
    ) -> Part:
        tracer = self._tracer(setting)
        return tracer.block(kind, itemsize, input_requires_grad=input_requires_grad, checkpointed=checkpointed)

    @memoized
    def _checkpointed(self, setting: Setting, kind: Hashable, itemsize: int) -> Part:
        minds = self.inventory.architecture.minds_checkpointing
        plain = self._block(setting, kind, itemsize, True, minds)
        return self._tracer(setting).checkpointed_block(kind, itemsize, plain)

    @memoized
    def _head(self, setting: Setting, itemsize: int) -> tuple[Part, Part]:
        return self._tracer(setting).head(itemsize)


class MemoryModel:
    """Footprints, work and traffic of strategies for one traced model on one cluster.

    Args:
        sdpa_kernel: which one a training script pins; None where torch selects.
    """

    def __init__(self, traced: Traced, cluster: Cluster, sdpa_kernel: SdpaKernel | None = None) -> None:
        self.traced, self.cluster, self.sdpa_kernel = traced, cluster, sdpa_kernel
        self.outside = Outside.of(cluster)

    @property
    def asks_freely(self) -> bool:
        return True

    @property
    def sequence_length(self) -> int:
        return self.traced.sequence_length

    def on(self, cluster: Cluster) -> MemoryModel:
        return MemoryModel(self.traced, cluster, self.sdpa_kernel)

    def at(self, sequence_length: int) -> MemoryModel:
        return MemoryModel(Traced(self.traced.inventory, sequence_length), self.cluster, self.sdpa_kernel)

    def obstacle(self, strategy: Strategy) -> str | None:
        """Why the model cannot be trained so."""
        return None

    def setting(self, strategy: Strategy) -> Setting:
        s, selection = strategy, Selection(self.sdpa_kernel, self.cluster.gpu.supports_flash_attention)
        numerics = Numerics.of(s.precision, s.finetuning, s.sharding)
        numerics = numerics if self.traced.inventory.architecture.minds_fp16 else numerics.alike()
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
        lines[Moment.OPTIMIZER_STEP] = (Line(step, self._ids_bytes, 0, 0, gradients, 0, 0),)
        persistent = self._persistent(setting, optimizer, sharding)
        slack = Slack.of(allocator, setting.attention, persistent.total + self.outside.workspace_bytes)
        return Footprint(persistent, lines, self.outside, slack)

    @memoized
    def _traffic(self, setting: Setting, optimizer: Optimizer, sharding: Sharding) -> Traffic:
        states = self._persistent(setting, optimizer, sharding).optimizer_states
        return Traffic.of(self.traced.units(setting).all, sharding, self.cluster.world_size, states)

    @property
    def _ids_bytes(self) -> int:
        """Of what is fed for one sample, held by the caller throughout."""
        return self.traced.inventory.architecture.batch_bytes(self.traced.sequence_length)

    @memoized
    def _layout(self, setting: Setting, sharding: Sharding, gradients_exist: bool) -> Layout:
        architecture, units = self.traced.inventory.architecture, self.traced.units(setting).all
        again, rooted = architecture.embeds_again, not architecture.head_is_unit
        if again is None:
            tied = architecture.tied_to is not None
            return Layout(units, sharding, self.cluster.world_size, tied, gradients_exist, rooted)
        waits_from = None if architecture.tied_to is not None else again + 1
        return Layout(units, sharding, self.cluster.world_size, True, gradients_exist, rooted, waits_from)

    @memoized
    def _lines(self, setting: Setting, checkpointing: Checkpointing, sharding: Sharding, accumulates: bool) -> Lines:
        places = self.traced.positions(setting, checkpointing, sharding.shards)
        lines = compose(places, self._layout(setting, sharding, accumulates))
        ids = self._ids_bytes
        return {m: tuple(x._replace(per_sample=x.per_sample + ids) for x in found) for m, found in lines.items()}

    @memoized
    def _persistent(self, setting: Setting, optimizer: Optimizer, sharding: Sharding) -> Persistent:
        units, ranks = self.traced.units(setting).all, self._ranks(sharding)
        states = sum(n * sum(state_bytes(optimizer, t) for t in u.trained) for u, n in _counted(units))
        counts, stored = sum(step_counts(optimizer, u) for u in units), sum(u.stored_bytes for u in units)
        buckets = replication_buffers(units, sharding, self.cluster.world_size)
        return Persistent(-(-stored // ranks), -(-states // ranks) + counts, buckets)

    @memoized
    def _step_temporaries(self, setting: Setting, optimizer: Optimizer, sharding: Sharding) -> int:
        groups = [(u.trained, n) for u, n in _counted(self.traced.units(setting).all)]
        return -(-step_temporaries(optimizer, groups) // self._ranks(sharding))

    def _ranks(self, sharding: Sharding) -> int:
        """Over how many ranks the model is divided."""
        return self.cluster.world_size if sharding.shards else 1


def _counted(items: list[R] | tuple[R, ...]) -> list[tuple[R, int]]:
    """Distinct objects and how often each occurs."""
    counts: dict[int, tuple[R, int]] = {}
    for item in items:
        counts[id(item)] = (item, counts.get(id(item), (item, 0))[1] + 1)
    return list(counts.values())
