"""The vocabulary in which a model's forward pass is written, once, for whoever interprets it.

A forward pass in `families/` runs on any implementation: `inventory.py` reads the parameters off it, `planner.memory`
derives saved bytes, transients and FLOPs. Names are those of the modules in transformers, so that LoRA targets and
printed accounts read as users know them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, Protocol, TypeVar

from planner.models.disentangled import Disentangled

T = TypeVar("T")

NormOrder = Literal["cast_then_scale", "scale_then_cast", "scale_in_fp32", "unscaled", "t5"]
"""Where an RMSNorm returns to the input's dtype: before its weight is applied (Llama), after (OLMo 2), or after with
the weight itself cast to fp32 (Gemma); or it has no weight (Llama 4's of queries and keys). T5 normalizes the input
itself, and returns to its weight's dtype before that is applied."""


LayerNormForm = Literal["fused", "fused_in_fp32", "one_plus_weight", "written_out"]
"""How a LayerNorm is computed: by torch's kernel; by the kernel on an fp32 copy of its input, the result cast back
(OLMo); by the kernel in autocast's dtype with 1 added to its weight (Nemotron); operation by operation in fp32, without
a bias (Cohere)."""

OwnAttention = Literal["scaled_in_place", "alibi_in_fp32", "alibi_in_product", "alibi_added", "sinks"]
"""Eager attention as a modeling file writes it itself: scores divided in place (Falcon); in fp32, with ALiBi (Falcon);
ALiBi as the sum that the product of q and k is added to (BLOOM); ALiBi in fp32 and a mask of booleans (MPT); a learned
sink beside the scores of each head (gpt-oss)."""

RopeCasts = Literal["none", "result", "both"]
"""Whether rotated queries and keys are cast back from the table's dtype (OLMo) after a cast to fp32 (Cohere)."""

RopeForm = Literal["halves", "interleaved", "complex"]
"""How a rotation is written: with the second half of a head negated and swapped (Llama), on even and odd columns
(DeepSeek-V3), as a product of complex numbers in fp32, cast back (DeepSeek-V2, Llama 4)."""

RouterForm = Literal["softmax", "softmax_of_chosen", "softmax_in_fp32", "sigmoid_in_fp32", "sigmoid_of_chosen"]
"""How a router scores: softmax over all experts (Mixtral); over the chosen ones (Granite); over all, from fp32 logits
and then multiplied by a number (DeepSeek-V2); sigmoids of fp32 logits, chosen with a bias added (DeepSeek-V3);
sigmoids, and 0 for all that are not chosen (Llama 4)."""

ROUTED_IN_FP32: Final[tuple[RouterForm, ...]] = ("softmax_in_fp32", "sigmoid_in_fp32")
"""Of these the router's weight stays in fp32."""


def biased_expert_shapes(
    router: str, name: str, hidden_size: int, num_experts: int, intermediate_size: int
) -> dict[str, tuple[int, ...]]:
    """Parameters of `Forward.biased_experts`: weight and bias of the router, of gate and up, and of down."""
    return {
        f"{router}.weight": (num_experts, hidden_size),
        f"{router}.bias": (num_experts,),
        f"{name}.gate_up_proj": (num_experts, hidden_size, 2 * intermediate_size),
        f"{name}.gate_up_proj_bias": (num_experts, 2 * intermediate_size),
        f"{name}.down_proj": (num_experts, intermediate_size, hidden_size),
        f"{name}.down_proj_bias": (num_experts, hidden_size),
    }


class Forward(Disentangled[T], Protocol[T]):
    """Operations of a forward pass on hidden states of `[micro_batch_size, sequence_length, width]`."""

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
    ) -> T:
        """`adapts`: LoRA can reach it. (Where experts have the names of layers, PEFT takes these names for theirs.)
        `written_out`: as `x @ weight.T + bias`. `kept`: one of `_keep_in_fp32_modules`, in fp32 where others are in
        fp16 and not quantized; x is cast to it."""
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

    def embeds(self, x: T) -> None:
        """The variable of the model's body that held the embedded tokens holds x from now on."""
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
        form: RopeForm = "halves",
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
        """Self-attention, within `window` tokens; as wide as all heads' values. `upcast`: an eager softmax is asked for
        in fp32. `capped`: eager scores are soft-capped. `fp32`: q and k are cast to it before they are multiplied. Not
        `causal`: there is no mask. Not `downcast`: what autocast made of an eager softmax is not cast back before
        dropout. `bias`: added to the scores of all samples."""
        ...

    def rotate_halves(self, x: T, *, head_dim: int) -> T:
        """Rotary embedding of each half of a head by itself, from a table for one half."""
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
        """Causal self-attention of a modeling file that does not leave it to transformers: eager in that `form`; SDPA
        with a mask that the model made. `name`: of the sinks."""
        ...

    def activation(self, function: str, x: T) -> T: ...
    def add(self, a: T, b: T) -> T: ...
    def add_(self, a: T, b: T) -> T:
        """`a += b`."""
        ...

    def repeat(self, x: T, columns: int) -> T:
        """A contiguous copy of heads, each as often as it takes to fill `columns`."""
        ...

    def clamp(self, x: T) -> T:
        """Between two numbers."""
        ...

    def mul(self, a: T, b: T) -> T: ...
    def times(self, x: T) -> T:
        """Product with a number."""
        ...

    def times_positions(self, x: T) -> T:
        """Product with a number for each position, in fp32 and cast back."""
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
        """The model's body has returned x, and a variable of the model's own forward keeps it until that returns, as
        `outputs` does."""
        ...

    def slices(self, x: T, widths: Sequence[int], *, split: bool = False) -> list[T]: ...
    def join(self, parts: Sequence[T], *, heads_first: bool = False) -> T:
        """Concatenation of columns, of each head by itself if `heads_first`."""
        ...

    def fill(self, first: T, shared: T, *, heads: int) -> T:
        """A new tensor, into which each head's `first` columns are written and then those that all heads share."""
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
        form: RouterForm = "softmax",
        limited: bool = False,
    ) -> T:
        """Each token's weights of its `top_k` experts. `normalizes`: they add up to 1; `casts`: from fp32 back to the
        dtype of the router's logits; `limited`: to the experts of a few groups. The weight is a parameter and no linear
        layer, which stays in fp32 where the logits are; LoRA adapts it if PEFT knows it as the layer `target`."""
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

    def biased_experts(self, router: str, name: str, x: T, num_experts: int, top_k: int, intermediate_size: int) -> T:
        """A router with a bias, which scores the chosen experts alone, and clamped SwiGLU experts with biases, whose
        gates and ups alternate (gpt-oss). Neither is of linear layers: LoRA and quantization leave them."""
        ...

    def spread(self, x: T, scores: T) -> T:
        """All tokens once for each expert, times the scores that every expert has for them."""
        ...

    def every_expert(self, name: str, x: T, num_experts: int, intermediate_size: int, activation: str) -> T:
        """Gated experts, each of which computes all tokens: two parameters of three dimensions, in before out."""
        ...

    def add_experts(self, x: T, out: T, num_experts: int) -> T:
        """Adds the sum of all experts' outputs to x, in place."""
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
