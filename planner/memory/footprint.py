"""The memory and work of strategies on one cluster: traced parts, composed and solved, each piece computed once."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import replace
from functools import partial, wraps
from typing import Any, NamedTuple, ParamSpec, TypeVar

from hardware import Cluster
from planner.memory.evaluation import evaluation, saving
from planner.memory.fused_loss import chunk_tokens
from planner.memory.numerics import Numerics
from planner.memory.obstacles import obstacle
from planner.memory.optimizers import Groups, rule_of
from planner.memory.partition import fullest
from planner.memory.process import Outside, Slack
from planner.memory.sdpa import SdpaKernel, Selection
from planner.memory.sharding import Layout, on_host, replication_buffers
from planner.memory.state import Unit, Units
from planner.memory.step import Line, Lines, Moment, Position, compose, largest_lines, positions
from planner.memory.tape import NO_STEPS
from planner.memory.time import Traffic
from planner.memory.trace import HEAD, LOSS, STEM, Part, Setting, Tracer, Work, joined
from planner.memory.trained import Trained, copies_modules, trained_in_blocks
from planner.models import Inventory
from planner.models.architecture import INT64
from planner.models.decoder import Decoder
from strategies import (
    Allocator,
    AnyOptimizer,
    Attention,
    Batching,
    Checkpointing,
    Checkpoints,
    DataParallel,
    Kernels,
    Lora,
    Loss,
    Method,
    Replicated,
    Strategy,
    Update,
)

MASKED = (Attention.SDPA, Attention.SDPA_EFFICIENT, Attention.EAGER)
"""Attention that takes masks of samples; the others are told where samples begin."""

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
    lines_of: Callable[[int], Lines] | None = None
    """Where they change with the micro-batch, by steps; `lines` are then those of one sample."""

    def lines_at(self, micro_batch_size: int) -> Lines:
        return self.lines if self.lines_of is None else self.lines_of(micro_batch_size)

    def moments(self, micro_batch_size: int) -> dict[Moment, int]:
        """Allocated bytes at the peak of each moment, cuBLAS workspaces included."""
        extra, found = self.persistent.total + self.outside.workspace_bytes, self.lines_at(micro_batch_size)
        return {m: extra + max(line.at(micro_batch_size) for line in lines) for m, lines in found.items()}

    def peak(self, micro_batch_size: int) -> Peak:
        found = self.lines_at(micro_batch_size)
        candidates = ((line.at(micro_batch_size), m, line) for m, lines in found.items() for line in lines)
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
        bound and the smallest bound holds: nothing is scanned. Where lines change by steps, the answer is bisected."""
        allocated = self.slack.allocated_within(self.outside.reserved_within(budget_bytes))
        room = allocated - self.outside.workspace_bytes - self.persistent.total
        if self.lines_of is None:
            return _largest(self.lines, room)
        least, most = 0, 1
        while _largest(self.lines_of(most), room) >= most:
            least, most = most, 2 * most
        while most - least > 1:
            middle = (least + most) // 2
            fits = _largest(self.lines_of(middle), room) >= middle
            least, most = (middle, most) if fits else (least, middle)
        return least


def _largest(found: Lines, room: int) -> int:
    bounds = [(room - line.fixed) // (line.per_sample or 1) for lines in found.values() for line in lines]
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
        kernels: Kernels,
        selection: Selection,
        updates: AnyOptimizer | None = None,
        evaluates: bool = False,
    ) -> Setting:
        length = self.sequence_length
        return Setting(numerics, method, attention, loss, kernels, length, selection, updates, evaluates)

    @memoized
    def units(self, setting: Setting, ranks: int) -> Units:
        """`ranks`: among which they are divided."""
        return Units.of(self.inventory, setting.method, setting.numerics, ranks)

    @memoized
    def work(self, setting: Setting, checkpointing: Checkpoints) -> Work:
        """FLOPs and bytes moved by forward and backward of one micro-batch."""
        total = Work()
        for part, count in _counted(self.parts(setting, checkpointing)):
            total = total.plus(part.forward_work.plus(part.backward_work).times(count))
        return total

    @memoized
    def positions(
        self, setting: Setting, checkpointing: Checkpoints, shards: bool, chunk_tokens: int | None
    ) -> list[Position]:
        parts = self.parts(setting, checkpointing, chunk_tokens)
        return positions(parts, reach=int(shards))  # FSDP2 holds of a part's neighbours

    def chunk_tokens(self, setting: Setting, micro_batch_size: int) -> int | None:
        """Of how many tokens there are logits at once; None: of all."""
        model = self.inventory.architecture
        tokens = micro_batch_size * self.sequence_length
        vocab_size = model.vocab_size if isinstance(model, Decoder) else 0  # others have no fused loss
        return chunk_tokens(setting.loss, tokens, model.hidden_size, vocab_size)

    @memoized
    def parts(self, setting: Setting, checkpointing: Checkpoints, chunk_tokens: int | None = None) -> list[Part]:
        """Stem, blocks, head and loss."""
        # A frozen embedding's output needs no gradient, unless checkpointing asks for one, of whatever trains
        # (transformers' gradient_checkpointing_enable): then no block saves less than the others.
        checkpoints = checkpointing.recomputes
        stem, itemsize = self._stem(setting, checkpointing, checkpoints)
        requires_grad, blocks = stem.output_requires_grad, []
        architecture, kinds = self.inventory.architecture, self.inventory.layer_kinds
        in_blocks = trained_in_blocks(setting.method, len(kinds))
        for i, (kind, trained) in enumerate(zip(kinds, in_blocks, strict=True)):
            if checkpointing.cover(i) and architecture.is_block(kind):
                block = self._checkpointed(setting, kind, trained, itemsize, requires_grad, checkpointing.choice)
            else:
                block = self._block(setting, kind, trained, itemsize, requires_grad, checkpoints)
            requires_grad = block.output_requires_grad
            blocks.append(block)
        stem, embedded_bytes = _hold_embedded(stem, blocks)
        head, loss = self._head(setting, itemsize, requires_grad, embedded_bytes, chunk_tokens)
        return joined([stem, *blocks, head, loss], checkpointed=checkpoints)

    @memoized
    def _tracer(self, setting: Setting) -> Tracer:
        return Tracer(self.inventory.architecture, setting, partial(self._steps, setting))

    @memoized
    def _steps(self, setting: Setting, part: Hashable, trained: Trained) -> Mapping[str, int]:
        if setting.updates is None or part == LOSS:
            return NO_STEPS
        units, kinds = self.units(setting, 1), self.inventory.layer_kinds
        found: dict[Hashable, Unit] = {STEM: units.stem, HEAD: units.head}
        if part not in found:
            in_blocks = trained_in_blocks(setting.method, len(kinds))
            found = dict(zip(zip(kinds, in_blocks, strict=True), units.blocks, strict=True))
        unit = found.get(part) or found[part, trained]
        rule = rule_of(setting.updates)
        return {tensor.name: rule.temporaries_of(tensor) for tensor in unit.trained}

    @memoized
    def _stem(self, setting: Setting, checkpointing: Checkpoints, output_requires_grad: bool) -> tuple[Part, int]:
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
        self,
        setting: Setting,
        kind: Hashable,
        trained: Trained,
        itemsize: int,
        input_requires_grad: bool,
        policy: Checkpointing,
    ) -> Part:
        plain = self._block(setting, kind, trained, itemsize, input_requires_grad, True, True)
        return self._tracer(setting).checkpointed_block(
            kind, trained, itemsize, policy.facts, plain, input_requires_grad=input_requires_grad
        )

    @memoized
    def _head(
        self,
        setting: Setting,
        itemsize: int,
        input_requires_grad: bool,
        embedded_bytes: int,
        chunk_tokens: int | None,
    ) -> tuple[Part, Part]:
        return self._tracer(setting).head(
            itemsize, input_requires_grad=input_requires_grad, embedded_bytes=embedded_bytes, chunk_tokens=chunk_tokens
        )


def _hold_embedded(stem: Part, blocks: list[Part]) -> tuple[Part, int]:
    """Holds the embedding's output from the first block, whose input it is, or already from the stem, to the end of the
    last. The stem, and the bytes per sample that the head begins with: none where it is saved anyway, which as a leaf
    of autograd's it is to the end of backward."""
    size = stem.embedded_bytes
    if stem.holds_output and blocks[0].saves_input:
        return stem, 0
    leaf = stem.output_saved
    for i, change in ((0, size if stem.holds_output else 0), (-1, 0 if leaf else -size)):
        fixed, per_sample = blocks[i].held
        blocks[i] = blocks[i]._replace(held=(fixed, per_sample + change))
    if leaf:
        return stem._replace(saved=(stem.saved[0], stem.saved[1] + size)), 0
    return stem, size


class MemoryModel:
    """Footprints, work and traffic of strategies for one traced model on one cluster.

    Args:
        sdpa_kernel: which one a training script pins; None where torch selects.
        evaluation_batch_size: samples that are evaluated at once between steps; None where nothing is.
        batching: what comes with ids and labels.
        mean_length: tokens of a sample on average; None where samples are full, or nobody said.
    """

    def __init__(
        self,
        traced: Traced,
        cluster: Cluster,
        sdpa_kernel: SdpaKernel | None = None,
        evaluation_batch_size: int | None = None,
        batching: Batching = Batching.FULL,
        mean_length: int | None = None,
    ) -> None:
        self.traced, self.cluster, self.sdpa_kernel = traced, cluster, sdpa_kernel
        self.evaluation_batch_size, self.batching, self.mean_length = evaluation_batch_size, batching, mean_length
        self.outside = Outside.of(cluster)

    @property
    def asks_freely(self) -> bool:
        return True

    @property
    def sequence_length(self) -> int:
        return self.traced.sequence_length

    @property
    def real_tokens(self) -> int:
        if self.batching is Batching.PADDED and self.mean_length is not None:
            return min(self.mean_length, self.sequence_length)
        return self.sequence_length

    def on(self, cluster: Cluster) -> MemoryModel:
        return self._with(self.traced, cluster)

    def at(self, sequence_length: int) -> MemoryModel:
        return self._with(Traced(self.traced.inventory, sequence_length), self.cluster)

    def _with(self, traced: Traced, cluster: Cluster) -> MemoryModel:
        given = self.sdpa_kernel, self.evaluation_batch_size, self.batching, self.mean_length
        return MemoryModel(traced, cluster, *given)

    def obstacle(self, strategy: Strategy) -> str | None:
        """Why the model cannot be trained so."""
        if self.batching is not Batching.FULL and strategy.attention not in MASKED:
            return f"{strategy.attention} is known for full sequences alone, not for {self.batching} ones"
        return obstacle(self.traced.inventory, strategy)

    def setting(self, strategy: Strategy) -> Setting:
        s, selection = strategy, self._selection.under(strategy.attention)
        numerics = Numerics.of(s.precision, s.finetuning, s.sharding)
        # FSDP2 has the shares of a unit's gradients, and with them the updates, when its backward is over.
        updates = None if s.sharding.shards else _updates(s)
        return self.traced.setting(numerics, s.finetuning, s.attention, s.loss, s.kernels, selection, updates)

    @property
    def _selection(self) -> Selection:
        gpu = self.cluster.gpu
        return Selection(self.sdpa_kernel, gpu.supports_flash_attention, self.batching, gpu.prefers_cudnn_attention)

    def footprint(self, strategy: Strategy, *, accumulates: bool) -> Footprint:
        """`accumulates`: more than one micro-batch per optimizer step, so gradients exist while later ones run."""
        s = strategy
        updates = _updates(s)
        return self._footprint(
            self.setting(s), s.optimizer, s.checkpointing, s.sharding, s.allocator, updates, accumulates
        )

    def work(self, strategy: Strategy) -> Work:
        return self.traced.work(self.setting(strategy), strategy.checkpointing)

    def traffic(self, strategy: Strategy) -> Traffic:
        """Bytes that one rank exchanges with others and moves in the optimizer step."""
        return self._traffic(self.setting(strategy), strategy.optimizer, strategy.sharding)

    @memoized
    def _footprint(
        self,
        setting: Setting,
        optimizer: AnyOptimizer,
        checkpointing: Checkpoints,
        sharding: DataParallel,
        allocator: Allocator,
        updates: AnyOptimizer | None,
        accumulates: bool,
    ) -> Footprint:
        gradients = step = self._layout(setting, sharding, updates, accumulates).at_step
        if updates is None and not on_host(sharding):
            step += self._step_temporaries(setting, optimizer, sharding)
        others = self._between_steps(setting, sharding) | {
            Moment.OPTIMIZER_STEP: (Line(step, self._ids_bytes, 0, 0, gradients, 0, 0),)
        }

        def lines_of(micro_batch_size: int) -> Lines:
            chunk = self.traced.chunk_tokens(setting, micro_batch_size)
            return self._lines(setting, checkpointing, sharding, updates, accumulates, chunk) | others

        persistent = self._persistent(setting, optimizer, sharding)
        slack = Slack.of(allocator, setting.attention, persistent.total + self.outside.workspace_bytes)
        return Footprint(persistent, lines_of(1), self.outside, slack, lines_of if setting.loss.is_fused else None)

    @memoized
    def _between_steps(self, setting: Setting, sharding: DataParallel) -> Lines:
        """The trained batch is still there: its ids belong to the training loop."""
        found: Lines = {}
        if self.evaluation_batch_size is not None:
            s = setting
            method = replace(s.method, dropout=0.0) if isinstance(s.method, Lora) else s.method
            loss = Loss.FULL if s.loss is Loss.LIGER_FUSED_LINEAR else s.loss  # `skip_logits = self.training and ...`
            evaluated = self.traced.setting(s.numerics, method, s.attention, loss, s.kernels, s.selection, None, True)
            size, plain = self.evaluation_batch_size, Checkpoints(Checkpointing.NONE)
            parts = self.traced.parts(evaluated, plain, self.traced.chunk_tokens(evaluated, size))
            lines = evaluation(parts, self._layout(setting, sharding, None, False), size)
            ids = self._ids_bytes
            found[Moment.EVALUATION] = largest_lines(
                x._replace(fixed=x.fixed + ids * size, per_sample=ids) for x in lines
            )
        if sharding.shards and not on_host(sharding):
            line = saving(self.traced.inventory, setting.numerics)
            found[Moment.SAVING] = (line._replace(per_sample=self._ids_bytes),)
        return found

    @memoized
    def _traffic(self, setting: Setting, optimizer: AnyOptimizer, sharding: DataParallel) -> Traffic:
        states, groups = self._states(setting, optimizer, sharding), self._groups(setting, optimizer, sharding)
        with_host, flops = rule_of(optimizer).moved(groups, self._ranks(sharding))
        traffic = Traffic.of(self._units(setting, sharding), sharding, self.cluster, states)
        return traffic._replace(step_with_host=with_host, optimizer_flops=flops)

    @property
    def _ids_bytes(self) -> int:
        """Of what is fed for one sample, and its mask or positions, held by the caller throughout."""
        length = self.traced.sequence_length
        beside = self.batching.facts.masks_samples * length * INT64
        return self.traced.inventory.architecture.batch_bytes(length) + beside

    @memoized
    def _layout(
        self, setting: Setting, sharding: DataParallel, updates: AnyOptimizer | None, gradients_exist: bool
    ) -> Layout:
        architecture, units = self.traced.inventory.architecture, self._units(setting, sharding)
        again, rooted = architecture.embeds_again, not architecture.head_is_unit
        tied = architecture.tied_to is not None and not copies_modules(setting.method)
        waits_from = None if tied or again is None else again + 1
        return Layout(
            units,
            sharding,
            self.cluster.world_size,
            tied or again is not None,
            gradients_exist,
            updates,
            rooted=rooted,
            waits_from=waits_from,
        )

    @memoized
    def _lines(
        self,
        setting: Setting,
        checkpointing: Checkpoints,
        sharding: DataParallel,
        updates: AnyOptimizer | None,
        accumulates: bool,
        chunk_tokens: int | None,
    ) -> Lines:
        places = self.traced.positions(setting, checkpointing, sharding.shards, chunk_tokens)
        lines = compose(places, self._layout(setting, sharding, updates, accumulates))
        ids = self._ids_bytes
        return {m: tuple(x._replace(per_sample=x.per_sample + ids) for x in found) for m, found in lines.items()}

    @memoized
    def _persistent(self, setting: Setting, optimizer: AnyOptimizer, sharding: DataParallel) -> Persistent:
        if on_host(sharding):
            return Persistent(0, 0, 0)
        units = self._units(setting, sharding)
        stored = sum(u.stored_bytes for u in units)
        buckets = replication_buffers(units, sharding, self.cluster.world_size)
        return Persistent(stored, self._states(setting, optimizer, sharding), buckets)

    @memoized
    def _states(self, setting: Setting, optimizer: AnyOptimizer, sharding: DataParallel) -> int:
        """Bytes of one rank's states, wherever they are."""
        groups, apart = self._groups(setting, optimizer, sharding), setting.updates is not None
        return rule_of(optimizer).resident(groups, self._ranks(sharding), apart=apart)

    @memoized
    def _groups(self, setting: Setting, optimizer: AnyOptimizer, sharding: DataParallel) -> Groups:
        """The tensors that a rank's optimizer has, or has its shares of."""
        units = self._units(setting, sharding)
        if isinstance(sharding, Replicated) and sharding.divides_states:
            return [(fullest(units, self.cluster.world_size, optimizer), 1)]
        return [(u.trained, n) for u, n in _counted(units)]

    @memoized
    def _step_temporaries(self, setting: Setting, optimizer: AnyOptimizer, sharding: DataParallel) -> int:
        groups = self._groups(setting, optimizer, sharding)
        return rule_of(optimizer).temporaries(groups, self._ranks(sharding))

    def _units(self, setting: Setting, sharding: DataParallel) -> tuple[Unit, ...]:
        return self.traced.units(setting, self._ranks(sharding)).all

    def _ranks(self, sharding: DataParallel) -> int:
        return sharding.ranks(self.cluster.world_size)


def _updates(strategy: Strategy) -> AnyOptimizer | None:
    """The optimizer that steps each parameter in backward, if one does."""
    return strategy.optimizer if strategy.update is Update.IN_BACKWARD else None


def _counted(items: list[R] | tuple[R, ...]) -> list[tuple[R, int]]:
    """Distinct objects and how often each occurs."""
    counts: dict[int, tuple[R, int]] = {}
    for item in items:
        counts[id(item)] = (item, counts.get(id(item), (item, 0))[1] + 1)
    return list(counts.values())
