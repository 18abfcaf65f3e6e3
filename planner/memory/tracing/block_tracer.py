"""Runs a block on symbolic tensors: as it is, recomputed, or checkpointed."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from functools import partial

from planner.memory.autograd.recompute import Keeping, PolicyKept, Taking
from planner.memory.autograd.tape import Saved, Tensor
from planner.memory.layers.layers import Layers
from planner.memory.settings.parts import Part
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
        run = PartRun(layers)
        x = run.given(layers.input(self.architecture.hidden_size, itemsize, input_requires_grad, "block input"))
        _mark_entry(layers, x, is_leaf=is_leaf or reentrant)
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
        run = PartRun(layers)
        x = run.given(layers.input(self.architecture.hidden_size, itemsize, input_requires_grad, "block input"))
        _mark_entry(layers, x, is_leaf=is_leaf)
        given = x.storage
        assert given is not None
        input_bytes, saved = given.per_sample, [given]
        if facts.offloads:
            saved.clear()  # it is copied to the host before the block begins (`save_on_cpu`)
        else:
            given.mark_saved()
        del given
        out = layers.leave_block(self.architecture.block(layers, x, kind))
        arguments = list(layers.arguments)
        for argument in arguments:
            argument.mark_saved()
        layers.arguments.clear()
        del x
        before = layers.probabilities if self.architecture.returns_probabilities else None
        carried = before.per_sample if before is not None else 0
        del before
        forward, held = run.forward(out)
        log = run.log_of_forward(out, leaves_host=facts.offloads)
        forward = [raised(s, 0, carried) for s in forward]
        happened = run.happened(forward, layers.tape.take_marks())
        body, shares = layers.unsaved_in_body(out), layers.exchange.not_saved(layers.body)
        layers.tape.forget()
        again = plain
        if facts.keeps:
            recomputed = partial(
                self.block, kind, trained, itemsize, input_requires_grad=input_requires_grad, is_leaf=is_leaf
            )
            again = recomputed(checkpoints=True, again=True, kept=keeping.kept())
        work = run.work()._replace(host_bytes_per_sample=input_bytes if facts.offloads else 0)
        sizes = [(argument.fixed, argument.per_sample) for argument in arguments]
        if facts.offloads:
            sizes += layers.exchange.sizes_read(self.architecture.positional)
        of_arguments = sum(fixed for fixed, _ in sizes), sum(per_sample for _, per_sample in sizes)
        listed = [Saved(s.name, s.fixed, s.per_sample, self.architecture.hidden_size, itemsize) for s in saved]
        saved += (others := [*arguments, *keeping.storages])
        listed += [Saved(s.name, s.fixed, s.per_sample) for s in others]
        kept = layers.tape.kept_bytes(but=saved)
        part = again.recomputed(forward, held, listed, input_bytes, of_arguments, work, kept, happened)
        if log is not None:
            taken = frozenset(storage.number for storage in keeping.storages)
            log = log._replace(again=again.log, stays=frozenset(storage.number for storage in saved), taken=taken)
        return part._replace(body=body, shares=shares, log=log)


def _mark_entry(layers: Layers, x: Tensor, *, is_leaf: bool) -> None:
    """Says which tensor a block begins with, and whether it is a leaf of autograd's graph."""
    layers.entry = x.variable
    if is_leaf and x.variable is not None:
        layers.leaves.add(x.variable)
