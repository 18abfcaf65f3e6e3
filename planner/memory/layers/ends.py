"""Interprets what stands before and behind the blocks: embeddings, images, and the language-model head."""

from __future__ import annotations

from math import prod

from planner.memory.autograd.ops import Ops
from planner.memory.autograd.tape import Storage, Tensor, Variable
from planner.memory.layers.sublayers import Sublayers
from planner.models.vocabulary.pooling import PoolingMode


class Ends(Sublayers):
    """Runs the layers of stem and head."""

    def embedding(
        self,
        name: str,
        num_embeddings: int,
        width: int,
        *,
        scaled: bool = False,
        again: bool = False,
        tied: bool = False,
        read: bool = False,
    ) -> Tensor:
        """Returns the embedded tokens, `[tokens, width]`; where a frozen one requires a gradient, it is a leaf."""
        if read:
            self.tape.read(f"{name}.weight")
        trains = self.trains_base if again else self.trained.embedding
        if again and tied and trains:
            self.await_gradient(f"{name}.weight", viewed=self.autocast is None)
        out = self._lookup(name, num_embeddings, width, 0, self.sequence_length * width, trains=trains)
        out = self.times(out) if scaled else out
        self.embedded = out.storage
        if self.input_requires_grad and out.variable is None:
            self._make_leaf(out, name)
        return out

    def embeds(self, x: Tensor) -> None:
        """Assigns `x` to `inputs_embeds`, the variable of the model's body that held the embedded tokens."""
        self.embedded = x.storage

    def positions(self, name: str, num_embeddings: int, width: int, *, per_sample: bool = False) -> Tensor:
        """Returns learned position embeddings, `[tokens, width]`.

        All samples share them, unless they are looked up `per_sample` or each sample has positions of its own.
        """
        elements = self.sequence_length * width
        fixed, varying = (0, elements) if per_sample else self.of_positions(elements)
        return self._lookup(name, num_embeddings, width, fixed, varying, trains=self.trains_base)

    def image(
        self, name: str, image_size: tuple[int, int], patch_size: tuple[int, int], channels: int, width: int
    ) -> Tensor:
        """Returns a row for the class token and for each patch of an image, with learned positions added."""
        from planner.memory.layers import images

        itemsize, trains = self.dtypes.other, self.trains_base
        sizes = width * channels * prod(patch_size), width, width, self.sequence_length * width
        names = f"{name}.weight", f"{name}.bias", "cls_token", "position_embeddings"
        weight, bias, token, positions = (
            self.parameter(n, size, itemsize, trains=trains) for n, size in zip(names, sizes, strict=True)
        )
        pixels = images.pixels(self, channels * prod(image_size), itemsize)
        if self.dtypes.casts_inputs and self.dtypes.stored_other > itemsize:
            # The root has cast the images, which ViTModel.forward then casts to the dtype of the shards, and the unit
            # of the patches' embedding casts again (torch, `_fsdp_state.py`, `_pre_forward`).
            self.keep(pixels)
            pixels = self.to(pixels, self.dtypes.stored_other, "image in the dtype of the shards")
            self.keep_in_body(pixels)
            pixels = self.to(pixels, itemsize, "image cast by FSDP2")
        else:
            self.keep_in_body(pixels)
        x = images.patches(self, pixels, weight, bias, width)
        del pixels
        if self.input_requires_grad and x.variable is None:
            self._make_leaf(x, weight.module)
        return images.with_class_token(self, x, token, positions)

    def _make_leaf(self, out: Tensor, module: str) -> None:
        """Makes a frozen module's output a leaf that requires a gradient: its backward reaches the module, too."""
        self.add_leaf(out)
        self.leaf = out
        assert out.variable is not None
        self.tape.reach(out.variable, module)

    def _lookup(
        self, name: str, num_embeddings: int, width: int, fixed: int, per_sample: int, *, trains: bool
    ) -> Tensor:
        """Returns rows of an embedding table, whose gradient is dense: as large as the table.

        Source: torch, `embedding_dense_backward`.

        Args:
            name: Name of the module.
            num_embeddings: Rows of the table.
            width: Columns of the table.
            fixed: Elements of the result that all samples share.
            per_sample: Elements of the result per sample.
            trains: Whether the table trains.
        """
        itemsize = self.dtypes.trained if trains else self.dtypes.other
        table = self.parameter(f"{name}.weight", num_embeddings * width, itemsize, trains=trains)
        self.tape.cost.bytes_per_sample += 2 * per_sample * itemsize
        with self.tape.module(table.module, is_first=True):
            storage = self.tape.storage(fixed * itemsize, per_sample * itemsize, f"{name} output")
            out = Tensor(storage, fixed, per_sample, width, itemsize, None)
            if table.variable is not None:
                out.variable, variable, size = Variable(), table.variable, table.fixed * itemsize

                def backward(gradient: Storage) -> None:
                    self.tape.cost.fixed_bytes += size
                    self.tape.accumulate(variable, self.tape.storage(size, 0))

                self.tape.record(out.variable, backward)
        return out

    def lm_head(
        self,
        name: str,
        x: Tensor,
        vocab_size: int,
        *,
        tied_to: str | None,
        scaled: bool = False,
        bias: bool = False,
        keeps: bool = True,
    ) -> Tensor:
        """Returns the logits, `[tokens, vocab_size]`, or the fused loss where there is one."""
        self.embedded = None
        trains = self.trained.head
        itemsize = self.dtypes.trained if trains else self.dtypes.other
        weight = self.parameter(f"{tied_to or name}.weight", x.width * vocab_size, itemsize, trains=trains)
        if keeps:  # `outputs.last_hidden_state` in transformers' ...ForCausalLM.forward
            self.keep(x)
        bias_vector = self.parameter(f"{name}.bias", vocab_size, itemsize, trains=trains) if bias else None
        if self.loss is not None:
            for read in (f"{tied_to or name}.weight", *([f"{name}.bias"] if bias else [])):
                self.tape.read(read)
            return self.loss(x, weight, bias_vector)
        logits = Ops.linear(self, x, weight, bias_vector, vocab_size, "logits")
        return self.unary(logits, "scaled logits") if scaled else logits

    def pooled(self, x: Tensor, mode: PoolingMode) -> Tensor:
        """Returns the embedding of each sentence."""
        from planner.memory.layers import pooling

        return pooling.MODES[mode](self, x)

    def await_gradient(self, name: str, *, viewed: bool) -> None:
        """Registers a parameter that already has a gradient from another part, which counts its bytes.

        Args:
            name: Name of the parameter.
            viewed: Whether that gradient is a view, so that another one cannot be added to it in place.
        """
        waiting = Variable(True, self.tape.steps.get(name), name)
        waiting.gradient = self.tape.storage(0, 0)
        waiting.gradient.viewed = viewed
        self.parameters[name] = waiting
