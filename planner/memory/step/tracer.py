"""Runs each part of a model on symbolic tensors and measures what it keeps, its peaks and its work."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import partial

from planner.memory.attention.masks import masks_of
from planner.memory.autograd.recompute import Keeping, PolicyKept, Taking
from planner.memory.autograd.tape import Saved, Tape, Tensor
from planner.memory.layers.layers import Layers
from planner.memory.losses.fused import FUSED, Chunk
from planner.memory.settings.exchange import Exchange, Shared
from planner.memory.settings.parts import Part
from planner.memory.settings.setting import Setting
from planner.memory.settings.snapshots import raised
from planner.memory.settings.trainable import Trainable, trained_at_ends
from planner.memory.step.layers_on import LAYERS, WITHIN_BLOCKS, layers_on
from planner.memory.step.loss_part import loss_part
from planner.memory.step.part_run import PartRun
from planner.models import Architecture
from strategies import CheckpointingFacts, Checkpoints, Kernels, Lora

STEM, HEAD, LOSS = "stem", "head", "loss"
"""Names of the parts that are not blocks; a block is named by its kind."""


class Tracer:
    """Traces the parts of one architecture under one setting.

    Parts have to be traced in the model's order, since later ones read tensors that earlier ones share.

    Args:
        architecture: The model's fields and forward pass.
        setting: What the bytes of a part depend on.
        steps: Returns, for a part (STEM, HEAD, LOSS or the kind of a block) and what trains in it, the bytes that the
            update of each parameter in backward allocates, by the parameter's name.
    """

    def __init__(
        self, architecture: Architecture, setting: Setting, steps: Callable[[Hashable, Trainable], Mapping[str, int]]
    ) -> None:
        self.architecture, self.setting, self.steps = architecture, setting, steps
        tied, again = architecture.tied_to is not None, architecture.embeds_again is not None
        self.ends = trained_at_ends(setting.method, tied=tied)
        shared = (tied or again) and self.ends.embedding and not isinstance(setting.method, Lora)
        self.shared = f"{architecture.embedding_name}.weight" if shared else ""
        self._rope_itemsize = 0
        self._known: dict[str, Shared] = {}

    def _layers(
        self,
        part: Hashable,
        trained: Trainable,
        *,
        keep_saved: bool = True,
        recomputed: bool = False,
        kinds: Mapping[Kernels, type[Layers]] = LAYERS,
    ) -> Layers:
        """Returns new layers with a tape of their own, which run one part."""
        steps = self.steps(part, trained)
        layers = layers_on(
            Tape(
                keep_saved=keep_saved and not self.setting.evaluates,
                steps=steps,
                recomputed=recomputed,
                marked=self.setting.marked,
                logs=self.setting.logs,
            ),
            self.architecture,
            self.setting,
            trained,
            kinds,
        )
        layers.tape.shared = self.shared
        layers.rope_itemsize, layers.exchange = self._rope_itemsize, Exchange(self._known)
        return layers

    def stem(self, checkpointing: Checkpoints, *, output_requires_grad: bool) -> Part:
        """Traces the embeddings, and adds the masks that all blocks share.

        Args:
            checkpointing: Which blocks are recomputed.
            output_requires_grad: Whether the output needs a gradient even if the embeddings are frozen.
        """
        layers = self._layers(STEM, self.ends)
        run = PartRun(layers)
        again = self.architecture.embeds_again is not None
        if self.shared:
            # The head's gradient of the shared weight waits for the embedding's; its bytes are counted for the head.
            # It is a view, as a transposed product is, unless autocast casts it or another gradient was added to it, or
            # DeepSpeed's own function made it (deepspeed/runtime/zero/linear.py, `LinearFunctionForZeroStage3`).
            dtypes = self.setting.dtypes
            casts = dtypes.autocast not in (None, dtypes.of_trained().other)
            viewed = not casts and not again and not self.setting.loss.is_fused and not layers.by_zero3
            layers.await_gradient(self.shared, viewed=viewed)
        layers.input_requires_grad = output_requires_grad
        x = self.architecture.stem(layers)
        self._rope_itemsize = layers.rope_itemsize
        output_saved = layers.leaf is not None and layers.leaf.storage is x.storage
        if layers.leaf is not None and not output_saved:
            layers.tape.save(layers.leaf)
        embedded = layers.embedded
        embedded_bytes = embedded.per_sample if embedded is not None and not embedded.saved else 0
        holds_output = embedded is x.storage
        del embedded
        stem = run.finish(x)._replace(
            embedded_bytes=embedded_bytes, holds_output=holds_output, output_saved=output_saved
        )
        s = self.setting
        masks = masks_of(self.architecture, s.attention, s.dtypes, s.sequence_length, s.selection.batching)
        held = stem.held[0] + masks.fixed, stem.held[1] + masks.per_sample
        # A checkpointed block keeps its arguments, the mask among them, until it has been recomputed.
        saved, body = stem.saved, stem.body
        arguments = (masks.fixed, masks.per_sample) if checkpointing.recomputes else (0, 0)
        if masks.saved or checkpointing.recomputes:
            saved = saved[0] + masks.fixed, saved[1] + masks.per_sample
        else:
            body = body[0] + masks.fixed, body[1] + masks.per_sample
        return stem._replace(held=held, saved=saved, body=body, masks=arguments)

    def block(
        self,
        kind: Hashable,
        trained: Trainable,
        itemsize: int,
        *,
        input_requires_grad: bool,
        checkpoints: bool,
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
            again: Whether to trace the recomputation in backward, whose graph is its own and is gone afterwards.
            reentrant: Whether the recomputation is that of reentrant checkpointing.
            kept: The results that a checkpointed forward kept for the recomputation, by operation.
        """
        layers = self._layers(kind, trained, recomputed=again, kinds=WITHIN_BLOCKS)
        layers.checkpoints = layers.input_requires_grad = checkpoints
        layers.tape.pops_saved = again and not reentrant
        if again:
            layers.gathered = self._gathered(kind, trained, itemsize, reentrant=reentrant)
        if kept is not None:
            layers.made = Taking(layers.tape, kept)
        run = PartRun(layers)
        x = run.given(layers.input(self.architecture.hidden_size, itemsize, input_requires_grad, "block input"))
        held_by_caller = x.storage
        assert held_by_caller is not None
        out = layers.leave_block(self.architecture.block(layers, x, kind))
        if layers.leaf is not None:
            layers.tape.save(layers.leaf)
        input_saved, input_bytes = held_by_caller.saved, held_by_caller.per_sample
        del x, held_by_caller
        part = run.finish(out, again=again, reentrant=reentrant)
        return part._replace(saves_input=input_saved, input_bytes=input_bytes)

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
        layers = self._layers(kind, trained, kinds=WITHIN_BLOCKS)
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
        """
        layers = self._layers(kind, trained, keep_saved=False, kinds=WITHIN_BLOCKS)
        layers.made = keeping = Keeping(layers.tape, facts.keeps)
        layers.checkpoints = True
        run = PartRun(layers)
        x = run.given(layers.input(self.architecture.hidden_size, itemsize, input_requires_grad, "block input"))
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
            recomputed = partial(self.block, kind, trained, itemsize, input_requires_grad=input_requires_grad)
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

    def head(
        self, itemsize: int, *, input_requires_grad: bool, embedded_bytes: int, chunk_tokens: int | None
    ) -> tuple[Part, Part]:
        """Traces the final norm with the head, and the loss.

        Args:
            itemsize: Bytes per element of the final hidden states.
            input_requires_grad: Whether these need a gradient.
            embedded_bytes: Bytes per sample of the embedding's output, which the model's body holds until the norm has
                returned.
            chunk_tokens: Tokens whose logits exist at once in a fused loss (`planner.memory.losses.fused`); None: all.

        Returns:
            The head and the loss. A head with a fused loss returns the loss, and the loss part is then empty.
        """
        layers = self._layers(HEAD, self.ends)
        if self.setting.loss in FUSED:
            chunk = Chunk(chunk_tokens, self.setting.selection.has_flash)
            layers.loss = partial(FUSED[self.setting.loss], layers, chunk)
        run = PartRun(layers)
        layers.embedded = layers.tape.storage(0, embedded_bytes)
        hidden_size = self.architecture.hidden_size
        # No variable holds the input here: the backbone assigns the norm's output to the same variable.
        logits = self.architecture.head(
            layers, run.given(layers.input(hidden_size, itemsize, input_requires_grad, "final hidden states"))
        )
        input_bytes = layers.sequence_length * hidden_size * itemsize
        if self.setting.loss in FUSED:
            loss, holds = self._nothing_more(logits), False
        else:
            loss = loss_part(self._layers(LOSS, Trainable()), self.setting.loss, self.architecture.objective, logits)
            # Logits that backward needs become their own gradient, which the head's backward frees if nothing keeps it.
            holds = self.setting.outputs.facts.in_step and not any(loss.outputs)
        head = run.finish(logits, holds_gradient=holds)._replace(input_bytes=input_bytes, leaves_body=True)
        if self.architecture.objective == "each_pair":  # the features of a text, in which its tokens' embeddings are
            head = head._replace(outputs=(0, input_bytes))
        if holds:
            head = head._replace(kept=(head.kept[0], head.kept[1] + loss.input_bytes))
        return head, loss

    def _nothing_more(self, loss: Tensor) -> Part:
        """Returns the loss part that follows a head which returned the loss itself."""
        layers = self._layers(LOSS, Trainable())
        run = PartRun(layers)
        return run.finish(layers.tensor(loss.per_sample, loss.width, loss.itemsize, "loss"))
