"""The memory and work of strategies on one cluster: traced parts, composed and solved, each piece computed once."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from hardware import Cluster
from planner.memory.numerics import Numerics
from planner.memory.process import Outside
from planner.memory.sharding import Layout, replication_buffers
from planner.memory.state import Units, state_bytes, step_temporaries
from planner.memory.step import Line, Lines, Moment, compose
from planner.memory.trace import Part, Setting, Tracer, Work
from planner.models import Inventory
from strategies import Checkpointing, Full, Method, Optimizer, Sharding, Strategy

INT64 = 8


class Persistent(NamedTuple):
    """Bytes that one rank keeps for the whole run."""

    parameters: int
    optimizer_states: int
    communication: int

    @property
    def total(self) -> int:
        return sum(self)


class Peak(NamedTuple):
    """The largest instant of a step at one micro-batch: which moment, which line of it, and its tensors' bytes."""

    moment: Moment
    line: Line
    tensor_bytes: int


@dataclass(frozen=True, slots=True)
class Footprint:
    """One strategy's memory on one rank, for every micro-batch: per moment the lines that can be its peak."""

    persistent: Persistent
    lines: Lines
    outside: Outside

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

    def largest_micro_batch(self, budget_bytes: int) -> int:
        """The largest micro-batch whose process fits into the budget; 0 if one sample does not. Every line gives a
        bound, the smallest bound holds: nothing is scanned."""
        room = self.outside.allocated_within(budget_bytes) - self.outside.workspace_bytes - self.persistent.total
        return max(0, min((room - line.fixed) // line.per_sample for line in self._growing(room)))

    def _growing(self, room: int) -> list[Line]:
        lines = [line for lines in self.lines.values() for line in lines]
        growing = [line for line in lines if line.per_sample > 0]
        if any(line.fixed > room for line in lines if line.per_sample == 0):
            return [Line(room + 1, 1, 0, 0, 0, 0, 0)]  # what does not depend on the micro-batch is already too much
        return growing


class _StepKey(NamedTuple):
    setting: Setting
    checkpointing: Checkpointing
    sharding: Sharding
    accumulates: bool


class MemoryModel:
    """Footprints of strategies for one model, sequence length and cluster. Equal sub-results are computed once."""

    def __init__(self, inventory: Inventory, sequence_length: int, cluster: Cluster) -> None:
        self.inventory, self.sequence_length, self.cluster = inventory, sequence_length, cluster
        self._traces: dict[Setting, _Traces] = {}
        self._lines: dict[_StepKey, Lines] = {}
        self._units: dict[tuple[Numerics, Method], Units] = {}
        self._persistent: dict[tuple[Numerics, Method, Optimizer, Sharding], tuple[Persistent, int]] = {}

    def footprint(self, strategy: Strategy, *, accumulates: bool) -> Footprint:
        """`accumulates`: more than one micro-batch per optimizer step, so gradients exist while later ones run."""
        setting = self.setting(strategy)
        units = self._units_of(setting.numerics, strategy.finetuning)
        key = (setting.numerics, strategy.finetuning, strategy.optimizer, strategy.sharding)
        if key not in self._persistent:
            self._persistent[key] = self._states(units, strategy.optimizer, strategy.sharding)
        persistent, temporaries = self._persistent[key]
        step = _StepKey(setting, strategy.checkpointing, strategy.sharding, accumulates)
        if step not in self._lines:
            self._lines[step] = self._compose(units, step)
        lines = dict(self._lines[step])
        gradients = sum(self._layout(units, strategy.sharding, False).resident_gradient(u) for u in units.all)
        ids = 2 * self.sequence_length * INT64
        lines[Moment.OPTIMIZER_STEP] = (Line(gradients + temporaries, ids, 0, 0, gradients, 0, 0),)
        return Footprint(persistent, lines, self.outside)

    @cached_property
    def outside(self) -> Outside:
        return Outside.of(self.cluster)

    def setting(self, strategy: Strategy) -> Setting:
        numerics = Numerics.of(strategy.precision, strategy.finetuning, strategy.sharding)
        return Setting(numerics, strategy.finetuning, strategy.attention, strategy.loss, self.sequence_length)

    def parts(self, setting: Setting, checkpointing: Checkpointing) -> list[Part]:
        """Stem, blocks and head of the whole model."""
        if setting not in self._traces:
            self._traces[setting] = _Traces(self.inventory, setting)
        return self._traces[setting].parts(checkpointing)

    def work(self, strategy: Strategy) -> Work:
        """FLOPs and bytes moved by forward and backward of one micro-batch."""
        parts = self.parts(self.setting(strategy), strategy.checkpointing)
        counts: dict[int, tuple[Part, int]] = {}
        for part in parts:
            counts[id(part)] = (part, counts.get(id(part), (part, 0))[1] + 1)
        total = Work()
        for part, n in counts.values():
            total = total.plus(part.forward_work.plus(part.backward_work).times(n))
        return total

    def units(self, strategy: Strategy) -> Units:
        return self._units_of(self.setting(strategy).numerics, strategy.finetuning)

    def _units_of(self, numerics: Numerics, method: Method) -> Units:
        key = (numerics, method)
        if key not in self._units:
            self._units[key] = Units.of(self.inventory, method, numerics)
        return self._units[key]

    def _states(self, units: Units, optimizer: Optimizer, sharding: Sharding) -> tuple[Persistent, int]:
        ranks = self.cluster.world_size if sharding.shards else 1
        counts: dict[int, int] = {}
        by_id = {id(u): u for u in units.all}
        for u in units.all:
            counts[id(u)] = counts.get(id(u), 0) + 1
        states = sum(n * sum(state_bytes(optimizer, t) for t in by_id[i].trained) for i, n in counts.items())
        stored = sum(u.stored_bytes for u in units.all)
        trained = [t for u in units.all for t in u.trained] if optimizer.facts.foreach_copies else [
            t for u in by_id.values() for t in u.trained
        ]  # fmt: skip
        temporaries = -(-step_temporaries(optimizer, trained) // ranks)
        buckets = replication_buffers(units.all, sharding, self.cluster.world_size)
        return Persistent(-(-stored // ranks), -(-states // ranks), buckets), temporaries

    def _layout(self, units: Units, sharding: Sharding, gradients_exist: bool) -> Layout:
        tied = self.inventory.architecture.tied_to is not None
        return Layout(units.all, sharding, self.cluster.world_size, tied, gradients_exist)

    def _compose(self, units: Units, key: _StepKey) -> Lines:
        parts = self.parts(key.setting, key.checkpointing)
        lines = compose(parts, self._layout(units, key.sharding, key.accumulates))
        ids = 2 * self.sequence_length * INT64  # input ids and labels, held by the caller throughout
        return {m: tuple(x._replace(per_sample=x.per_sample + ids) for x in found) for m, found in lines.items()}


class _Traces:
    """The parts of one model under one setting, by checkpointing."""

    def __init__(self, inventory: Inventory, setting: Setting) -> None:
        self.inventory, self.setting = inventory, setting
        self._tracer = Tracer(inventory.architecture, setting)
        self._blocks: dict[tuple[Hashable, bool], dict[Checkpointing, Part]] = {}
        self._stems: dict[bool, tuple[Part, int]] = {}
        self._head: Part | None = None

    def parts(self, checkpointing: Checkpointing) -> list[Part]:
        # A frozen embedding's output needs no gradient, unless checkpointing asks for one
        # (PEFT's enable_input_require_grads): then the first block saves less than the others.
        from_stem = isinstance(self.setting.method, Full) or checkpointing is not Checkpointing.NONE
        if from_stem not in self._stems:
            self._stems[from_stem] = self._tracer.stem(output_requires_grad=from_stem)
        stem, itemsize = self._stems[from_stem]
        if self._head is None:
            self._head = self._tracer.head(itemsize)
        blocks = []
        for i, kind in enumerate(self.inventory.layer_kinds):
            key = (kind, i > 0 or from_stem)
            if key not in self._blocks:
                self._blocks[key] = self._tracer.block(kind, itemsize, input_requires_grad=key[1])
            blocks.append(self._blocks[key][checkpointing])
        return [stem, *blocks, self._head]


