"""Declares the operations in which a model's forward pass is written, once for all its interpreters.

A forward pass in `families/` runs on any implementation of `Forward`: `reader.py` reads the parameters off it,
`planner.memory` derives saved bytes, temporary bytes and FLOPs. Names are those of the modules in transformers, so that
LoRA targets and printed accounts read as users know them.
"""

from __future__ import annotations

from typing import Protocol, TypeVar

from planner.models.vocabulary.disentangled import Disentangled
from planner.models.vocabulary.elementwise import Elementwise
from planner.models.vocabulary.forms import (
    LayerNormForm,
    NormOrder,
    OwnAttention,
    RopeCasts,
    RopeForm,
)
from planner.models.vocabulary.lifetimes import Lifetimes
from planner.models.vocabulary.mixtures import Mixtures
from planner.models.vocabulary.pooling import Pooling

T = TypeVar("T")


class Forward(Mixtures[T], Lifetimes[T], Disentangled[T], Elementwise[T], Pooling[T], Protocol[T]):
    """Declares operations on hidden states of `[micro_batch_size, sequence_length, width]`.

    A `name` is that of the module or parameter that the operation uses, relative to its part of the model.
    """

    def linear(
        self,
        name: str,
        x: T,
        out_features: int,
        *,
        bias: bool = False,
        adapts: bool = True,
        written_out: bool = False,
        kept: bool = False,
        in_head: bool = False,
    ) -> T:
        """Applies a linear layer to `x`.

        Args:
            adapts: Whether LoRA can reach the layer. Where experts have the names of layers, PEFT takes these names for
                the experts, unless each expert has layers of its own.
            written_out: Whether the modeling file writes `x @ weight.T + bias`.
            kept: Whether the layer is one of `_keep_in_fp32_modules`, which are in fp32 where others are in fp16, and
                are not quantized; `to_kept` casts its input.
            in_head: Whether the layer is a classifier's head, or part of one, which can train as a module.
        """
        ...

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
    ) -> T:
        """Looks up the batch's input ids in the token embedding.

        Args:
            scaled: Whether the module itself multiplies its rows by a number.
            again: Whether the table is that of an earlier part.
            tied: Whether the table of an earlier part is also the weight of the head.
            read: Whether the forward of the model's body asks the table, too, for its device.
        """
        ...

    def embeds(self, x: T) -> None:
        """Puts `x` into the variable of the model's body that held the embedded tokens."""
        ...

    def positions(self, name: str, num_embeddings: int, width: int, *, per_sample: bool = False) -> T:
        """Looks up a learned position embedding: one row per position, shared by all samples.

        Args:
            per_sample: Whether rows are looked up for each sample, as those of token types and of positions that skip
                padding are.
        """
        ...

    def image(
        self, name: str, image_size: tuple[int, int], patch_size: tuple[int, int], channels: int, width: int
    ) -> T:
        """Embeds the batch's images: one row for a class token, followed by one row for each patch.

        Patches are computed by a convolution without overlap, and learned positions are added.

        Args:
            image_size: Height and width in pixels.
            patch_size: Height and width in pixels.
        """
        ...

    def rope_table(self, x: T, head_dim: int, *, fp32: bool = False, repeated: bool = False) -> None:
        """Computes cos and sin of all positions once, for all blocks.

        Args:
            x: Hidden states, whose dtype the table has.
            head_dim: Columns that are rotated.
            fp32: Whether the table is in fp32 instead.
            repeated: Whether each rotation repeats it, which then has `form="repeated"`.
        """
        ...

    def rms_norm(self, name: str, x: T, *, width: int | None = None, order: NormOrder = "cast_then_scale") -> T:
        """Applies an RMSNorm over the last `width` columns (over all of them by default)."""
        ...

    def layer_norm(
        self,
        name: str,
        x: T,
        *,
        width: int | None = None,
        bias: bool = True,
        affine: bool = True,
        form: LayerNormForm = "fused",
    ) -> T:
        """Applies a LayerNorm over the last `width` columns (over all of them by default).

        Args:
            bias: Whether it has a bias where it has a weight.
            affine: Whether it has a weight.
            form: How it is computed. Written out, the weight has a row for each group of `width` columns.
        """
        ...

    def rotate(
        self,
        x: T,
        *,
        head_dim: int,
        rotary_dim: int | None = None,
        joins: bool = False,
        casts: RopeCasts = "none",
        tokens_first: bool = False,
        form: RopeForm = "halves",
    ) -> T:
        """Applies a rotary embedding to queries or keys.

        Args:
            rotary_dim: Columns of each head that are rotated and joined with the others; all by default.
            joins: Whether the modeling file joins even when no other columns are left.
            casts: Casts around the rotation.
            tokens_first: Whether heads and tokens are transposed only after the rotation.
            form: How the rotation is written.
        """
        ...

    def attention(
        self,
        query: T,
        key: T,
        value: T,
        *,
        heads: int,
        kv_heads: int,
        dropout: float = 0.0,
        upcast: bool = True,
        capped: bool = False,
        window: int | None = None,
        fp32: bool = False,
        causal: bool = True,
        downcast: bool = True,
        bias: T | None = None,
    ) -> T:
        """Computes attention, whose result is as wide as the values of all heads.

        Args:
            heads: Heads of the queries.
            kv_heads: Heads of the keys and values.
            dropout: Probability that a weight is dropped.
            upcast: Whether an eager softmax is asked for in fp32.
            capped: Whether eager scores are soft-capped.
            window: Tokens that a token attends to at most; all by default.
            fp32: Whether q and k are cast to fp32 before they are multiplied.
            causal: Whether there is a causal mask.
            downcast: Whether the result of an eager softmax is cast back before dropout; matters under autocast.
            bias: A tensor that is added to the scores of all samples.
        """
        ...

    def rotate_halves(self, x: T, *, head_dim: int) -> T:
        """Applies a rotary embedding to each half of a head by itself, from a table for one half."""
        ...

    def own_attention(
        self,
        form: OwnAttention,
        query: T,
        key: T,
        value: T,
        *,
        heads: int,
        kv_heads: int,
        dropout: float = 0.0,
        name: str = "",
    ) -> T:
        """Computes causal self-attention where the modeling file does not leave it to transformers.

        Args:
            form: How eager attention is written. SDPA runs with a mask that the model made.
            heads: Heads of the queries.
            kv_heads: Heads of the keys and values.
            dropout: Probability that a weight is dropped.
            name: The parameter that holds the sinks, where there are any.
        """
        ...

    def lm_head(
        self,
        name: str,
        x: T,
        vocab_size: int,
        *,
        tied_to: str | None,
        scaled: bool = False,
        bias: bool = False,
        keeps: bool = True,
    ) -> T:
        """Computes logits.

        Args:
            tied_to: The embedding whose weight the head shares, or None.
            scaled: Whether logits are multiplied by a number afterwards.
            bias: Whether the head has a bias.
            keeps: Whether a variable of the model's forward keeps `x`, the output of its body.
        """
        ...
