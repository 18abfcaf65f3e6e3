"""The vocabulary in which a model's forward pass is written, once, for whoever interprets it.

A forward pass in `families/` runs on any implementation: `inventory.py` reads the parameters off it, `planner.memory`
derives saved bytes, transients and FLOPs. Names are those of the modules in transformers, so that LoRA targets and
printed accounts read as users know them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol, TypeVar

from planner.models.disentangled import Disentangled

T = TypeVar("T")

NormOrder = Literal["cast_then_scale", "scale_then_cast", "scale_in_fp32", "t5"]
"""Where an RMSNorm returns to the input's dtype: before its weight is applied (Llama), after (OLMo 2), or after with
the weight itself cast to fp32 (Gemma). T5 normalizes the input itself, and returns to its weight's dtype before that is
applied."""


LayerNormForm = Literal["fused", "fused_in_fp32", "one_plus_weight", "written_out"]
"""How a LayerNorm is computed: by torch's kernel; by the kernel on an fp32 copy of its input, the result cast back
(OLMo); by the kernel in autocast's dtype with 1 added to its weight (Nemotron); operation by operation in fp32, without
a bias (Cohere)."""

RopeCasts = Literal["none", "result", "both"]
"""Whether rotated queries and keys are cast back from the table's dtype (OLMo) after a cast to fp32 (Cohere)."""


class Forward(Disentangled[T], Protocol[T]):
    """Operations of a forward pass on hidden states of `[micro_batch_size, sequence_length, width]`."""

    def linear(
        self, name: str, x: T, out_features: int, *, bias: bool = False, adapts: bool = True, kept: bool = False
    ) -> T:
        """`adapts`: LoRA can reach it. (Where experts have the names of layers, PEFT takes these names for theirs.)
        `kept`: one of `_keep_in_fp32_modules`, in fp32 where others are in fp16 and not quantized; x is cast to it."""
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
    ) -> T:
        """Token embedding of the batch's input ids. `scaled`: the module itself multiplies its rows by a number.
        `again`: with the table of an earlier part, which may also be `tied` to the head."""
        ...

    def positions(self, name: str, num_embeddings: int, width: int, *, per_sample: bool = False) -> T:
        """Learned position embedding, one row per position, shared by all samples. `per_sample`: looked up for each, as
        those of token types and of positions that skip padding are."""
        ...

    def image(
        self, name: str, image_size: tuple[int, int], patch_size: tuple[int, int], channels: int, width: int
    ) -> T:
        """A row for each patch of the batch's images by a convolution without overlap, behind one for a class token;
        learned positions are added."""
        ...

    def rope_table(self, x: T, head_dim: int, *, fp32: bool = False) -> None:
        """Computes cos and sin of all positions once, in the dtype of `x` or in fp32."""
        ...

    def rms_norm(self, name: str, x: T, *, width: int | None = None, order: NormOrder = "cast_then_scale") -> T:
        """RMSNorm over the last `width` columns (over all of them by default)."""
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
        """LayerNorm over the last `width` columns (over all of them by default); written out, its weight has a row for
        each group of `width` columns."""
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
    ) -> T:
        """Rotary embedding. `rotary_dim` < head_dim rotates part of each head and joins the rest; `joins`: the
        implementation joins even when nothing is left over; `tokens_first`: before it transposes heads and tokens."""
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
        """Self-attention, within `window` tokens. `upcast`: an eager softmax is asked for in fp32. `capped`: eager
        scores are soft-capped. `fp32`: q and k are cast to it before they are multiplied. Not `causal`: there is no
        mask. Not `downcast`: what autocast made of an eager softmax is not cast back before dropout. `bias`: added to
        the scores of all samples."""
        ...

    def activation(self, function: str, x: T) -> T: ...
    def add(self, a: T, b: T) -> T: ...
    def mul(self, a: T, b: T) -> T: ...
    def times(self, x: T) -> T:
        """Product with a number."""
        ...

    def cap(self, x: T) -> T:
        """Soft-capping: `tanh(x / cap) * cap`."""
        ...

    def dropout(self, x: T, probability: float) -> T: ...
    def first_token(self, x: T) -> T:
        """Each sample's first row."""
        ...

    def clamp_fp16(self, x: T) -> T:
        """Limits x, where it is in fp16, to what that can represent."""
        ...

    def relative_bias(self, name: str, num_buckets: int, heads: int) -> T:
        """A bias for each pair of positions and each head, from a table by their distance."""
        ...

    def zero_bias(self, x: T, heads: int) -> T:
        """Such a bias of zeros in the dtype of x; where blocks are checkpointed it asks for a gradient."""
        ...

    def make_mask(self, x: T) -> None:
        """The causal mask of a second stack of blocks, where eager attention adds one, in the dtype of x."""
        ...

    def share(self, name: str, x: T, *, gathers: bool = True, returned: bool = False) -> None:
        """Later parts read x. `gathers`: there are such parts, which give their gradients of it to this one.
        `returned`: the model returns it beside its logits."""
        ...

    def shared(self, name: str, width: int, *, last: bool) -> T:
        """What an earlier part shares. `last`: no later part reads it, so that backward begins here to gather its
        gradient."""
        ...

    def keep_in_body(self, x: T) -> None:
        """A variable of the body of the model (of a stack of blocks) keeps x until that returns."""
        ...

    def leave_body(self) -> None:
        """A stack of blocks has returned and another one follows."""
        ...

    def unused(self, name: str, size: int) -> None:
        """A vector among the parameters that no operation reads."""
        ...

    def keep(self, x: T) -> None:
        """A variable of the model's own forward keeps x until that returns, as `outputs` does."""
        ...

    def slices(self, x: T, widths: Sequence[int], *, split: bool = False) -> list[T]: ...
    def join(self, parts: Sequence[T]) -> T:
        """Concatenation of columns."""
        ...

    def route(
        self,
        name: str,
        x: T,
        num_experts: int,
        top_k: int,
        *,
        normalizes: bool,
        casts: bool = True,
        target: str | None = None,
    ) -> T:
        """Each token's weights of its `top_k` experts. `normalizes`: they add up to 1; `casts`: from fp32 back to the
        dtype of the router's logits. The weight is a parameter and no linear layer; LoRA adapts it if PEFT knows it as
        the layer `target`."""
        ...

    def experts(
        self,
        name: str,
        x: T,
        scores: T,
        num_experts: int,
        intermediate_size: int,
        activation: str,
        *,
        targets: tuple[str, str, str] | None = None,
    ) -> T:
        """Gated experts, whose weights are two parameters of three dimensions. LoRA adapts them if PEFT knows them as
        the layers `targets`: gate, up and down."""
        ...

    def sigmoid(self, x: T) -> T: ...
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
        """Logits. `scaled`: they are multiplied by a number afterwards. `keeps` x, the output of the model's body."""
        ...
