"""Holds what a forward pass keeps alive besides the tape: variables of the model, and shared tensors."""

from __future__ import annotations

from collections.abc import Callable

from planner.libraries.sdpa import Selection
from planner.memory.attention import attention as attention_kernels
from planner.memory.attention.fused import key_tokens
from planner.memory.autograd.ops import FP32
from planner.memory.autograd.tape import Storage, Tape, Tensor, Variable
from planner.memory.layers.deberta_attention import Disentangled
from planner.memory.layers.rotary import Rotary
from planner.memory.settings.dtypes import Dtypes
from planner.memory.settings.exchange import Exchange
from planner.memory.settings.trainable import Trainable
from planner.models.architecture import INT64
from strategies import Attention, Method


class PassState(Rotary, Disentangled):
    """Holds what the model's own variables refer to while a part runs, and what parts share."""

    def __init__(
        self,
        tape: Tape,
        *,
        dtypes: Dtypes,
        method: Method,
        trained: Trainable,
        attention: Attention,
        sequence_length: int,
        selection: Selection,
        loss: Callable[[Tensor, Tensor, Tensor | None], Tensor] | None = None,
    ) -> None:
        super().__init__(tape, dtypes=dtypes, trained=trained, sequence_length=sequence_length)
        self.method = method
        self.runs_sdpa, self.attention_choice = attention is Attention.SDPA, attention
        self.attention_kernel = attention_kernels.KERNELS[attention]
        self.selection, self.numbers_samples = selection, selection.batching.facts.numbers_samples
        self.loss = loss
        """Computes a fused loss from hidden states, weight and bias of the head; the model's head returns it instead of
        logits. None where the head makes logits."""
        self.held: list[Storage] = []
        """Storages that variables of the model's own forward keep alive until the whole forward pass returns."""
        self.embedded: Storage | None = None
        """Storage of `inputs_embeds` in the forward of transformers' ...Model, which refers to it until that
        returns."""
        self.target_length = sequence_length
        """Tokens per sample of the sequence that a second stack of blocks reads."""
        self.leaves_body = False
        """Whether one body of the model (a stack of blocks) returns while this part runs and another one begins."""
        self.exchange = Exchange()
        """Tensors that this part shares with later parts, and those that it reads from earlier ones."""
        self.checkpoints = False
        """Whether the model's blocks are checkpointed."""
        self.input_requires_grad = False
        """Whether the output of frozen input embeddings gets a gradient (PEFT's `enable_input_require_grads`)."""
        self.unconverted: str | None = None
        """Name of the linear layer that does not multiply in fp8 where others do: empty until the first has run, where
        it is that one; None where all do."""
        self.leaf: Tensor | None = None
        """Output of frozen input embeddings that gets a gradient: as a leaf of autograd's graph it lives as long as the
        graph."""
        self.leaf_bytes = (0, 0)
        """(fixed, per-sample) bytes of all tensors that are such leaves, and no parameters."""

    def add_leaf(self, x: Tensor) -> None:
        """Makes `x` a leaf that gets a gradient."""
        x.variable, (fixed, per_sample) = Variable(), self.leaf_bytes
        self.leaf_bytes = fixed + x.fixed * x.itemsize, per_sample + x.per_sample * x.itemsize

    def unsaved_in_body(self, out: Tensor) -> tuple[int, int]:
        """Returns the (fixed, per-sample) bytes that nothing but variables of the model's body keeps alive.

        Args:
            out: Output of this part, which is not counted.
        """
        variables = (*self.body, *self._rope)
        kept = [storage for storage in variables if not storage.saved and storage is not out.storage]
        return sum(storage.fixed for storage in kept), sum(storage.per_sample for storage in kept)

    def in_body_alone(self, out: Tensor) -> frozenset[int]:
        """Returns the numbers of storages that variables of the model's body keep, and neither backward nor a part."""
        kept = (s for s in self.body if not s.saved and s is not out.storage and not self.exchange.shares(s))
        return frozenset(storage.number for storage in kept)

    def leave_block(self, out: Tensor) -> Tensor:
        """Ends a block's forward and returns the block's output."""
        return out

    def leave_forward(self) -> None:
        """Ends the model's forward: frees what its variables kept alive, and autocast's copies of weights."""
        self.leave_autocast()
        self.held.clear()
        self.embedded = None
        self.body.clear()
        self.exchange.forget_storages()

    def keep(self, x: Tensor) -> None:
        """Keeps `x`, which the model's body returned, alive until the model's forward returns, as `outputs` does."""
        self.embedded = None
        if x.storage is not None:
            self.held.append(x.storage)

    def unused(self, name: str, size: int) -> None:
        """Ignores a parameter that no operation reads: it makes no tensors."""
        pass

    def unread(self, name: str, x: Tensor, out_features: int) -> None:
        """Ignores a layer of one row for each sample, whose result is gone when the model has returned."""
        pass

    def keep_in_body(self, x: Tensor) -> None:
        """Keeps `x` alive until the model's body (a stack of blocks) returns."""
        if x.storage is self.embedded:
            self.embedded = None
        if x.storage is not None:
            self.body.append(x.storage)

    def leave_body(self) -> None:
        """Records that a stack of blocks has returned and another one follows, of the target's tokens."""
        self.leaves_body, self.sequence_length = True, self.target_length

    def share(self, name: str, x: Tensor, *, gathers: bool = True, returned: bool = False) -> None:
        """Shares `x` with later parts.

        Where FSDP2 casts the arguments of its units, a tensor in fp32 is cast for each block that is called with it.
        """
        cast = self.dtypes.casts_inputs and x.itemsize == FP32
        self.exchange.share(name, x, gathers=gathers, returned=returned, cast=cast)

    def make_mask(self, x: Tensor) -> None:
        """Makes and shares the causal mask of a second stack of blocks, which eager attention alone adds."""
        if self.attention_kernel is attention_kernels.eager:
            size = self.sequence_length**2
            mask = Tensor(self.tape.storage(0, size * x.itemsize, "mask"), 0, size, size, x.itemsize, None)
            self.keep_in_body(mask)
            self.share("mask", mask)

    def shared(self, name: str, width: int, *, last: bool) -> Tensor:
        """Returns a tensor that an earlier part shares, or the copy that FSDP2 casts for this block."""
        x = self.exchange.read(self.tape, name, last=last)
        if not self.exchange.known[name].cast:
            return x
        cast = self.to(x, self.dtypes.other, f"{name} cast by FSDP2")
        if cast.storage is not None:
            self.arguments.append(cast.storage)
        return cast

    def relative_bias(self, name: str, num_buckets: int, heads: int) -> Tensor:
        """Returns a bias for each head and pair of positions, shared by all samples: `embedding(buckets)`.

        The buckets of all pairs are int64 and are saved for the gradient of the table.
        """
        itemsize, pairs = self.dtypes.other, self.sequence_length**2
        table = self.parameter(f"{name}.weight", num_buckets * heads, itemsize, trains=self.trains_base)
        buckets = self.fixed(pairs, INT64, "relative position buckets")
        bias = self.fixed(pairs * heads, itemsize, "position bias", table, saved=[buckets])
        self.keep_in_body(bias)
        return bias

    def zero_bias(self, query: Tensor, key: Tensor, heads: int) -> Tensor:
        """Returns a position bias of zeros for all samples; it requires a gradient if blocks are checkpointed."""
        pairs = self.sequence_length * key_tokens(self, query, key)
        bias = self.fixed(pairs * heads, query.itemsize, "position bias of zeros")
        bias.heads_first = True
        if self.checkpoints:
            self.add_leaf(bias)
        self.keep_in_body(bias)
        return bias
