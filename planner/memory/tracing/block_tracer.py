"""Runs a block on symbolic tensors: as it is, recomputed, or checkpointed."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

from planner.memory.autograd.recompute import Keeping, PolicyKept, Taking
from planner.memory.autograd.tape import Saved, Storage, Tensor
from planner.memory.layers.layers import Layers
from planner.memory.settings.log import PartLog
from planner.memory.settings.parts import CheckpointedForward, Part
from planner.memory.settings.snapshots import raised
from planner.memory.settings.trainable import Trainable
from planner.memory.tracing.part_run import PartRun
from planner.memory.tracing.part_tracer import PartTracer
from strategies import CheckpointingFacts


class BlockTracer(PartTracer):
    """Traces the blocks of one architecture under one setting."""

    def block(
        self,
        kind: Hashable,
        trained: Trainable,
        itemsize: int,
        *,
        input_requires_grad: bool,
        checkpoints: bool,
        is_leaf: bool = False,
        again: bool = False,
        reentrant: bool = False,
        kept: Sequence[PolicyKept | None] | None = None,
    ) -> Part:
        """Traces a block that is not checkpointed, or the recomputation of one that is.

        Args:
            kind: The kind of block.
            trained: Which of its own parameters train.
            itemsize: Bytes per element of its input.
            input_requires_grad: Whether its input needs a gradient.
            checkpoints: Whether the model's blocks are checkpointed.
            is_leaf: Whether its input is a leaf of autograd's graph.
            again: Whether to trace the recomputation in backward, whose graph is its own and is gone afterwards.
            reentrant: Whether the recomputation is that of reentrant checkpointing, whose input is detached, and so a
                leaf (torch/utils/checkpoint.py, `detach_variable`).
            kept: The results that a checkpointed forward kept for the recomputation, by operation.
        """
        layers = self._layers(kind, trained, recomputed=again, in_block=True)
        layers.checkpoints = layers.input_requires_grad = checkpoints
        layers.tape.pops_saved = again and not reentrant
        if again:
            layers.gathered = self._gathered(kind, trained, itemsize, reentrant=reentrant)
        if kept is not None:
            layers.made = Taking(layers.tape, kept)
        is_leaf = is_leaf or reentrant
        run, x = self._entered(layers, itemsize, requires_grad=input_requires_grad, is_leaf=is_leaf)
        held_by_caller = x.storage
        assert held_by_caller is not None
        out = layers.leave_block(self.architecture.block(layers, x, kind))
        if layers.leaf is not None:
            layers.tape.save(layers.leaf)
        input_saved, input_bytes = held_by_caller.saved, held_by_caller.per_sample
        del x, held_by_caller
        part = run.finish(out, again=again, reentrant=reentrant)
        return part._replace(saves_input=input_saved, input_bytes=input_bytes, casts_input=layers.casts_entry)

    def _gathered(self, kind: Hashable, trained: Trainable, itemsize: int, *, reentrant: bool) -> Callable[[str], bool]:
        """Says which adapters of a block are gathered when it is recomputed.

        Backward of FSDP1 prefetches A when it comes to the output of B. In a recomputation that starts at B's saved
        input this is so for the last adapter; other units are gathered anew unless they have stayed gathered.

        A reentrant recomputation is over before backward comes to anything in the block, and follows a forward without
        gradients, after which parameters are views of shards again (torch/distributed/fsdp/_flat_param.py,
        `_use_sharded_flat_param`).
        """
        dtypes = self.setting.dtypes
        if reentrant or not dtypes.adapters_apart or dtypes.adapter == dtypes.stored_adapter:
            return lambda name: False
        if dtypes.adapters_stay:
            return lambda name: True
        layers = self._layers(kind, trained, in_block=True)
        layers.checkpoints = layers.input_requires_grad = True
        x = layers.input(self.architecture.hidden_size, itemsize, True, "block input")
        layers.leave_block(self.architecture.block(layers, x, kind))
        last = layers.tape.reached_first
        return lambda name: name == last

    def checkpointed_block(
        self,
        kind: Hashable,
        trained: Trainable,
        itemsize: int,
        facts: CheckpointingFacts,
        plain: Part,
        *,
        input_requires_grad: bool,
        is_leaf: bool = False,
    ) -> Part:
        """Traces a checkpointed block (torch.utils.checkpoint).

        Its forward drops everything but its input and the results that the policy keeps; backward computes the block
        again.

        Args:
            kind: The kind of block.
            trained: Which of its own parameters train.
            itemsize: Bytes per element of its input.
            facts: The checkpointing policy.
            plain: The recomputation of the block if no results are kept, as `block(..., again=True)` traces it.
            input_requires_grad: Whether its input needs a gradient.
            is_leaf: Whether its input is a leaf of autograd's graph.
        """
        layers = self._layers(kind, trained, keep_saved=False, in_block=True)
        layers.made = keeping = Keeping(layers.tape, facts.keeps)
        layers.checkpoints = True
        run, x = self._entered(layers, itemsize, requires_grad=input_requires_grad, is_leaf=is_leaf)
        assert x.storage is not None
        input_bytes, stays = x.storage.per_sample, _Staying(keeping.storages)
        if not facts.offloads:  # else it is copied to the host before the block begins (`save_on_cpu`)
            stays.entry.append(x.storage)
            x.storage.mark_saved()
        out = layers.leave_block(self.architecture.block(layers, x, kind))
        stays.take_arguments(layers)
        del x
        forward, log = self._measured(run, out, stays, input_bytes, itemsize, offloads=facts.offloads)
        again = plain
        if facts.keeps:
            again = self.block(
                kind,
                trained,
                itemsize,
                input_requires_grad=input_requires_grad,
                checkpoints=True,
                is_leaf=is_leaf,
                again=True,
                kept=keeping.kept(),
            )
        part = again.recomputed(forward)
        if log is None:
            return part
        numbers, taken = (frozenset(s.number for s in found) for found in (stays.storages, keeping.storages))
        return part._replace(log=log._replace(again=again.log, stays=numbers, taken=taken))

    def _entered(self, layers: Layers, itemsize: int, *, requires_grad: bool, is_leaf: bool) -> tuple[PartRun, Tensor]:
        """Begins a block; returns what measures it, and its input.

        Args:
            layers: What runs the block.
            itemsize: Bytes per element of its input.
            requires_grad: Whether its input needs a gradient.
            is_leaf: Whether its input is a leaf of autograd's graph.
        """
        run = PartRun(layers)
        x = run.given(layers.input(self.architecture.hidden_size, itemsize, requires_grad, "block input"))
        layers.entry = x.variable
        if is_leaf and x.variable is not None:
            layers.leaves.add(x.variable)
        return run, x

    def _measured(
        self, run: PartRun, out: Tensor, stays: _Staying, input_bytes: int, itemsize: int, *, offloads: bool
    ) -> tuple[CheckpointedForward, PartLog | None]:
        """Ends the forward of a checkpointed block, and returns what was measured of it, and its log.

        Args:
            run: What measures it.
            out: Its output.
            stays: What it keeps.
            input_bytes: Bytes per sample of its input.
            itemsize: Bytes per element of its input.
            offloads: Whether its input is moved to the host.
        """
        layers, architecture = run.layers, self.architecture
        carried = 0
        if architecture.returns_probabilities and layers.probabilities is not None:
            carried = layers.probabilities.per_sample
        instants, held = run.forward(out)
        log = run.log_of_forward(out, leaves_host=offloads)
        instants = [raised(s, 0, carried) for s in instants]
        happened = run.happened(instants, layers.tape.take_marks())
        body, shares = layers.unsaved_in_body(out), layers.exchange.not_saved(layers.body)
        layers.tape.forget()
        forward = CheckpointedForward(
            instants,
            held,
            saved=stays.listed(architecture.hidden_size, itemsize),
            input_bytes=input_bytes,
            arguments=stays.size_of_arguments(layers.exchange.sizes_read(architecture.positional) if offloads else ()),
            work=run.work()._replace(host_bytes_per_sample=input_bytes if offloads else 0),
            kept=layers.tape.kept_bytes(but=stays.storages),
            body=body,
            shares=shares,
            happened=happened,
        )
        return forward, log


class _Staying:
    """Holds the storages that the forward of a checkpointed block keeps for backward.

    Attributes:
        entry: That of its input, unless it is on the host.
        arguments: Those of its arguments other than hidden states.
        results: Those of results that a policy keeps.
    """

    def __init__(self, results: list[Storage]) -> None:
        self.entry: list[Storage] = []
        self.arguments: list[Storage] = []
        self.results = results

    @property
    def storages(self) -> list[Storage]:
        """Returns all of them."""
        return [*self.entry, *self.arguments, *self.results]

    def take_arguments(self, layers: Layers) -> None:
        """Takes over the arguments that a block was called with."""
        self.arguments += layers.arguments
        for argument in self.arguments:
            argument.mark_saved()
        layers.arguments.clear()

    def listed(self, width: int, itemsize: int) -> list[Saved]:
        """Returns what is saved; the input has `width` elements of `itemsize` bytes in a row."""
        of_entry = [Saved(s.name, s.fixed, s.per_sample, width, itemsize) for s in self.entry]
        return of_entry + [Saved(s.name, s.fixed, s.per_sample) for s in (*self.arguments, *self.results)]

    def size_of_arguments(self, shared: Sequence[tuple[int, int]]) -> tuple[int, int]:
        """Returns the (fixed, per-sample) bytes of the arguments, and of shared tensors that are arguments as well."""
        sizes = [*((argument.fixed, argument.per_sample) for argument in self.arguments), *shared]
        return sum(fixed for fixed, _ in sizes), sum(per_sample for _, per_sample in sizes)
