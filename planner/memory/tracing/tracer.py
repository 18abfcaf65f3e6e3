"""Runs each part of a model on symbolic tensors and measures what it keeps, its peaks and its work."""

from __future__ import annotations

from functools import partial

from planner.memory.attention.masks import masks_of
from planner.memory.autograd.tape import Tensor
from planner.memory.losses.earlier import CAST_BY_MODEL
from planner.memory.losses.fused import FUSED, Chunk
from planner.memory.settings.dtypes import FP32
from planner.memory.settings.parts import Part
from planner.memory.settings.trainable import Trainable
from planner.memory.tracing.block_tracer import BlockTracer
from planner.memory.tracing.loss_part import loss_part
from planner.memory.tracing.part_run import PartRun
from planner.memory.tracing.part_tracer import HEAD, LOSS, STEM
from strategies import Checkpoints


class Tracer(BlockTracer):
    """Traces the parts of one architecture under one setting.

    Parts have to be traced in the model's order, since later ones read tensors that earlier ones share. See
    `PartTracer` for the arguments.
    """

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
        masks = masks_of(
            self.architecture, s.attention, s.dtypes, s.sequence_length, s.selection.batching, self.embedded_itemsize
        )
        held = stem.held[0] + masks.fixed, stem.held[1] + masks.per_sample
        # A checkpointed block keeps its arguments, the mask among them, until it has been recomputed.
        saved, body = stem.saved, stem.body
        arguments = (masks.fixed, masks.per_sample) if checkpointing.recomputes else (0, 0)
        if masks.saved or checkpointing.recomputes:
            saved = saved[0] + masks.fixed, saved[1] + masks.per_sample
        else:
            body = body[0] + masks.fixed, body[1] + masks.per_sample
        return stem._replace(held=held, saved=saved, body=body, masks=arguments)

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
        if self.setting.loss in CAST_BY_MODEL:
            logits = layers.to(logits, FP32, "logits in fp32")
        input_bytes = layers.sequence_length * hidden_size * itemsize
        if self.setting.loss in FUSED:
            loss, holds = self._nothing_more(logits), False
        else:
            traced = self.implementations.losses[self.setting.loss]
            kept, objective = self.setting.outputs.facts.in_step, self.architecture.objective
            loss = loss_part(self._layers(LOSS, Trainable()), traced, objective, logits, kept=kept)
            # Logits that become their own gradient are freed by the head's backward if nothing keeps them.
            holds = kept and not any(loss.outputs) and not any(loss.kept)
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
