"""Declares the operations in which a model's forward pass is written, once for all its interpreters.

A forward pass in `families/` runs on any implementation of `Forward`: `reader.py` reads the parameters off it,
`planner.memory` derives saved bytes, temporary bytes and FLOPs. Names are those of the modules in transformers, so that
LoRA targets and printed accounts read as users know them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, Protocol, TypeVar

from planner.models.disentangled import Disentangled

T = TypeVar("T")

NormOrder = Literal["cast_then_scale", "scale_then_cast", "scale_in_fp32", "unscaled", "t5"]
"""Where an RMSNorm casts back to its input's dtype. `cast_then_scale`: before its weight is applied (Llama);
`scale_then_cast`: after (OLMo 2); `scale_in_fp32`: after, with the weight itself cast to fp32 (Gemma); `unscaled`:
there is no weight (queries and keys of Llama 4); `t5`: the input itself is normalized, then cast to the weight's dtype
before the weight is applied."""


LayerNormForm = Literal["fused", "fused_in_fp32", "one_plus_weight", "written_out"]
"""How a LayerNorm is computed. `fused`: by torch's kernel; `fused_in_fp32`: by the kernel on an fp32 copy of its input,
the result cast back (OLMo); `one_plus_weight`: by the kernel in autocast's dtype, with 1 added to its weight
(Nemotron); `written_out`: operation by operation in fp32, without a bias (Cohere)."""

OwnAttention = Literal["scaled_in_place", "alibi_in_fp32", "alibi_in_product", "alibi_added", "sinks"]
"""Eager attention that a modeling file writes itself. `scaled_in_place`: scores are divided in place (Falcon);
`alibi_in_fp32`: ALiBi is added in fp32 (Falcon); `alibi_in_product`: the product of q and k is added to ALiBi (BLOOM);
`alibi_added`: ALiBi is added in fp32, with a mask of booleans (MPT); `sinks`: each head has a learned sink next to its
scores (gpt-oss)."""

RopeCasts = Literal["none", "result", "both"]
"""Casts around a rotation. `result`: rotated queries and keys are cast back from the table's dtype (OLMo); `both`: they
are cast to fp32 before as well (Cohere)."""

RopeForm = Literal["halves", "interleaved", "complex"]
"""How a rotation is written. `halves`: with the second half of a head negated and swapped (Llama); `interleaved`: on
even and odd columns (DeepSeek-V3); `complex`: as a product of complex numbers in fp32, cast back (DeepSeek-V2, Llama
4)."""

RouterForm = Literal["softmax", "softmax_of_chosen", "softmax_in_fp32", "sigmoid_in_fp32", "sigmoid_of_chosen"]
"""How a router scores experts. `softmax`: over all experts (Mixtral); `softmax_of_chosen`: over the chosen ones
(Granite); `softmax_in_fp32`: over all, from fp32 logits, then multiplied by a number (DeepSeek-V2); `sigmoid_in_fp32`:
sigmoids of fp32 logits, chosen with a bias added (DeepSeek-V3); `sigmoid_of_chosen`: sigmoids, and 0 for all experts
that are not chosen (Llama 4)."""

ROUTED_IN_FP32: Final[tuple[RouterForm, ...]] = ("softmax_in_fp32", "sigmoid_in_fp32")
"""Forms of routers whose weight stays in fp32."""


def biased_expert_shapes(
    router: str, name: str, hidden_size: int, num_experts: int, intermediate_size: int
) -> dict[str, tuple[int, ...]]:
    """Returns the parameters of `Forward.biased_experts` by name, with their shapes.

    Their order is: weight and bias of the router, of gate and up, and of down.
    """
    return {
        f"{router}.weight": (num_experts, hidden_size),
        f"{router}.bias": (num_experts,),
        f"{name}.gate_up_proj": (num_experts, hidden_size, 2 * intermediate_size),
        f"{name}.gate_up_proj_bias": (num_experts, 2 * intermediate_size),
        f"{name}.down_proj": (num_experts, intermediate_size, hidden_size),
        f"{name}.down_proj_bias": (num_experts, hidden_size),
    }


class Forward(Disentangled[T], Protocol[T]):
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
    ) -> T:
        """Applies a linear layer to `x`.

        Args:
            adapts: Whether LoRA can reach the layer. Where experts have the names of layers, PEFT takes these names for
                the experts.
            written_out: Whether the modeling file writes `x @ weight.T + bias`.
            kept: Whether the layer is one of `_keep_in_fp32_modules`, which are in fp32 where others are in fp16, and
                are not quantized; `x` is cast to its dtype.
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
    ) -> T:
        """Looks up the batch's input ids in the token embedding.

        Args:
            scaled: Whether the module itself multiplies its rows by a number.
            again: Whether the table is that of an earlier part.
            tied: Whether the table of an earlier part is also the weight of the head.
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

    def rope_table(self, x: T, head_dim: int, *, fp32: bool = False) -> None:
        """Computes cos and sin of all positions once, for all blocks.

        Args:
            x: Hidden states, whose dtype the table has.
            head_dim: Columns that are rotated.
            fp32: Whether the table is in fp32 instead.
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

    def activation(self, function: str, x: T) -> T:
        """Applies an activation function, named as in a config.json."""
        ...

    def add(self, a: T, b: T) -> T:
        """Computes `a + b`."""
        ...

    def add_(self, a: T, b: T) -> T:
        """Computes `a += b`."""
        ...

    def repeat(self, x: T, columns: int) -> T:
        """Copies heads into a contiguous tensor, each as often as it takes to fill `columns`."""
        ...

    def clamp(self, x: T) -> T:
        """Clamps `x` between two numbers."""
        ...

    def mul(self, a: T, b: T) -> T:
        """Computes `a * b`."""
        ...

    def times(self, x: T) -> T:
        """Multiplies `x` by a number."""
        ...

    def times_positions(self, x: T) -> T:
        """Multiplies `x` by a number for each position, in fp32, and casts the product back."""
        ...

    def cap(self, x: T) -> T:
        """Soft-caps `x`: `tanh(x / cap) * cap`."""
        ...

    def dropout(self, x: T, probability: float) -> T:
        """Applies dropout; a probability of 0 leaves `x` as it is."""
        ...

    def first_token(self, x: T) -> T:
        """Returns each sample's first row."""
        ...

    def clamp_fp16(self, x: T) -> T:
        """Clamps `x` to what fp16 can represent, where it is in fp16."""
        ...

    def relative_bias(self, name: str, num_buckets: int, heads: int) -> T:
        """Looks up a bias for each pair of positions and each head in a table of `[num_buckets, heads]`."""
        ...

    def zero_bias(self, x: T, heads: int) -> T:
        """Makes a bias like that of `relative_bias`, but of zeros, in the dtype of `x`.

        It requires a gradient where blocks are checkpointed.
        """
        ...

    def make_mask(self, x: T) -> None:
        """Makes the mask of a second stack of blocks in the dtype of `x`, where eager attention adds a causal mask."""
        ...

    def share(self, name: str, x: T, *, gathers: bool = True, returned: bool = False) -> None:
        """Makes `x` available to later parts under a name.

        Args:
            gathers: Whether there are later parts that read `x`; they leave their gradients of it to this part.
            returned: Whether the model returns `x` in addition to its logits.
        """
        ...

    def shared(self, name: str, width: int, *, last: bool) -> T:
        """Returns a tensor that an earlier part shares.

        Args:
            width: Columns of the tensor.
            last: Whether no later part reads it, so that backward begins to gather its gradient here.
        """
        ...

    def keep_in_body(self, x: T) -> None:
        """Keeps `x` in a variable of the model's body, or of a stack of blocks, until that returns."""
        ...

    def leave_body(self) -> None:
        """Marks that a stack of blocks has returned and another one follows."""
        ...

    def unused(self, name: str, size: int) -> None:
        """Declares a vector among the parameters that no operation reads."""
        ...

    def keep(self, x: T) -> None:
        """Keeps `x`, which the model's body has returned, until the model's own forward returns.

        A variable of that forward holds it, such as `outputs`.
        """
        ...

    def slices(self, x: T, widths: Sequence[int], *, split: bool = False) -> list[T]:
        """Returns consecutive columns of `x` as views of these widths.

        Args:
            split: Whether one `split` or `chunk` makes all of them, so that backward joins their gradients at once.
        """
        ...

    def join(self, parts: Sequence[T], *, heads_first: bool = False) -> T:
        """Concatenates columns, those of each head by themselves if `heads_first`."""
        ...

    def fill(self, first: T, shared: T, *, heads: int) -> T:
        """Writes each head's columns of `first`, then the columns of `shared`, into a new tensor."""
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
        """Computes each token's weights of its `top_k` experts.

        The router's weight is a parameter and no linear layer. It stays in fp32 where the logits are in fp32.

        Args:
            normalizes: Whether a token's weights add up to 1.
            casts: Whether weights are cast from fp32 back to the dtype of the logits.
            target: The layer that PEFT takes the router for, if it can adapt it with LoRA.
            form: How experts are scored.
            limited: Whether experts of only a few groups can be chosen.
        """
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
        """Computes the weighted sum of the outputs of gated experts.

        Their weights are two parameters of three dimensions: `[experts, out_features, in_features]`.

        Args:
            scores: Each token's weights of its experts, from `route`.
            targets: The layers (gate, up and down) that PEFT takes the experts for, if it can adapt them with LoRA.
        """
        ...

    def biased_experts(self, router: str, name: str, x: T, num_experts: int, top_k: int, intermediate_size: int) -> T:
        """Computes gpt-oss's mixture: a router with a bias, and clamped SwiGLU experts with biases.

        The router scores only the chosen experts; columns of gate and up alternate. Neither router nor experts are
        linear layers, so LoRA and quantization leave them as they are.
        """
        ...

    def spread(self, x: T, scores: T) -> T:
        """Repeats all tokens once for each expert, multiplied by the expert's scores of them."""
        ...

    def every_expert(self, name: str, x: T, num_experts: int, intermediate_size: int, activation: str) -> T:
        """Computes gated experts where each computes all tokens.

        The weights are two parameters of three dimensions: `[experts, in_features, out_features]`.
        """
        ...

    def add_experts(self, x: T, out: T, num_experts: int) -> T:
        """Adds the sum of all experts' outputs to `x`, in place."""
        ...

    def sigmoid(self, x: T) -> T:
        """Applies a sigmoid."""
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
