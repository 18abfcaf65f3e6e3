"""Describes DeepSeek-V3 and R1.

Source: transformers/models/deepseek_v3/modeling_deepseek_v3.py, which has no multi-token prediction, so it is not
trained here.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Annotated

from pydantic import AliasChoices, Field, model_validator

from planner.models.decoder import Decoder, Probability, Size
from planner.models.families.llama import Ignored
from planner.models.families.qwen3_moe import LAYERS
from planner.models.vocabulary.forms import RopeForm
from planner.models.vocabulary.forward import Forward, T

Count = Annotated[int, Field(ge=0, le=2**12, strict=True)]
"""A number that may be 0."""


class DeepseekV3(Decoder):
    """Describes a decoder with multi-head latent attention, and with shared experts next to the routed ones.

    Keys and values are made from one latent vector per token, and from one rotated key that all heads share.
    """

    intermediate_size: Size
    moe_intermediate_size: Size = 2048
    num_key_value_heads: Size | None = None
    """Equal to the number of query heads where a file does not say: keys and values are made for every head."""
    q_lora_rank: Size | None = 1536
    """Width of the latent vector of queries; None if they are made from the hidden states themselves."""
    kv_lora_rank: Size = 512
    qk_nope_head_dim: Size = 128
    qk_rope_head_dim: Size = 64
    v_head_dim: Size = 128
    n_routed_experts: Size = Field(256, validation_alias=AliasChoices("n_routed_experts", "num_local_experts"))
    n_shared_experts: Size = 1
    num_experts_per_tok: Size = 8
    n_group: Size | None = 8
    topk_group: Size | None = 4
    norm_topk_prob: bool = True
    first_k_dense_replace: Count = 3
    rope_interleave: bool = True
    hidden_act: str = "silu"
    attention_bias: bool = False
    attention_dropout: Probability = 0.0
    mlp_bias: Ignored = False

    @model_validator(mode="after")
    def _keys_of_every_head(self) -> DeepseekV3:
        if self.num_key_value_heads is not None:
            return self
        return self.model_copy(update={"num_key_value_heads": self.num_attention_heads})

    @property
    def rope_form(self) -> RopeForm:
        """Returns how the rotation is written."""
        return "interleaved" if self.rope_interleave else "halves"

    def layer_kinds(self) -> tuple[Hashable, ...]:
        """Returns whether each layer has experts."""
        return tuple(i >= self.first_k_dense_replace for i in range(self.num_hidden_layers))

    def stem(self, f: Forward[T]) -> T:
        x = f.embedding("embed_tokens", self.vocab_size, self.hidden_size)
        f.rope_table(x, self.qk_rope_head_dim)
        return x

    def block(self, f: Forward[T], x: T, kind: Hashable) -> T:
        residual = x
        x = f.rms_norm("input_layernorm", x)
        x = self.attention(f, x)
        x = f.add(residual, x)
        residual = x
        x = f.rms_norm("post_attention_layernorm", x)
        x = self.mixture(f, x) if kind else self.gated(f, "mlp", x, self.intermediate_size)
        return f.add(residual, x)

    def attention(self, f: Forward[T], x: T) -> T:
        heads, rope = self.num_attention_heads, self.qk_rope_head_dim
        query = self.queries(f, x)
        query_pass, query_rot = f.slices(query, [heads * self.qk_nope_head_dim, heads * rope], split=True)
        compressed = f.linear("self_attn.kv_a_proj_with_mqa", x, self.kv_lora_rank + rope, bias=self.attention_bias)
        latent, key_rot = f.slices(compressed, [self.kv_lora_rank, rope], split=True)
        latent = f.rms_norm("self_attn.kv_a_layernorm", latent)
        query_rot = f.rotate(query_rot, head_dim=rope, form=self.rope_form)
        key_rot = f.rotate(key_rot, head_dim=rope, form=self.rope_form)
        joined = f.join([query_pass, query_rot], heads_first=True)
        key, value = self.expanded(f, latent, key_rot)
        x = f.attention(joined, key, value, heads=heads, kv_heads=heads, dropout=self.attention_dropout)
        return f.linear("self_attn.o_proj", x, self.hidden_size, bias=self.attention_bias)

    def queries(self, f: Forward[T], x: T) -> T:
        """Computes the queries of all heads."""
        width = self.num_attention_heads * (self.qk_nope_head_dim + self.qk_rope_head_dim)
        if self.q_lora_rank is None:
            return f.linear("self_attn.q_proj", x, width)
        x = f.linear("self_attn.q_a_proj", x, self.q_lora_rank, bias=self.attention_bias)
        return f.linear("self_attn.q_b_proj", f.rms_norm("self_attn.q_a_layernorm", x), width)

    def expanded(self, f: Forward[T], latent: T, key_rot: T) -> tuple[T, T]:
        """Computes keys and values of all heads from the latent vector and the rotated key."""
        heads, nope, width = self.num_attention_heads, self.qk_nope_head_dim, self.v_head_dim
        latent = f.linear("self_attn.kv_b_proj", latent, heads * (nope + width))
        key_nope, value = f.slices(latent, [heads * nope, heads * width], split=True)
        return f.fill(key_nope, key_rot, heads=heads), value

    def mixture(self, f: Forward[T], x: T) -> T:
        """Computes the routed and the shared experts, and adds them up."""
        scores = self.route(f, x)
        width = self.moe_intermediate_size
        routed = f.experts(
            "mlp.experts",
            x,
            scores,
            self.n_routed_experts,
            width,
            self.hidden_act,
            layers=LAYERS,
            sums_in_fp32=True,  # `moe` of transformers 4.57, which gave the sums the dtype of the router's scores
        )
        return f.add(routed, self.gated(f, "mlp.shared_experts", x, width * self.n_shared_experts))

    def route(self, f: Forward[T], x: T) -> T:
        """Computes each token's weights of its experts."""
        experts, top_k, normalizes = self.n_routed_experts, self.num_experts_per_tok, self.norm_topk_prob
        return f.route("mlp.gate", x, experts, top_k, normalizes=normalizes, target="gate", form="sigmoid_in_fp32")

    def gated(self, f: Forward[T], name: str, x: T, width: int) -> T:
        """Computes a gated MLP whose layers' names begin with `name`.

        LoRA reaches it only where each expert has layers of its own: PEFT takes their names for the experts.
        """
        bias = self.mlp_bias
        gate = f.activation(self.hidden_act, f.linear(f"{name}.gate_proj", x, width, bias=bias, adapts=False))
        gated = f.mul(gate, f.linear(f"{name}.up_proj", x, width, bias=bias, adapts=False))
        return f.linear(f"{name}.down_proj", gated, self.hidden_size, bias=bias, adapts=False)

    def head(self, f: Forward[T], x: T) -> T:
        x = f.rms_norm("norm", x)
        return f.lm_head("lm_head", x, self.vocab_size, tied_to=self.tied_to)


Architecture = DeepseekV3
