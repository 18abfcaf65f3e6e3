"""The families whose loss cut cross-entropy replaces (axolotl's fork of github.com/apple/ml-cross-entropy, 5f0c7a7)."""

from __future__ import annotations

from collections.abc import Mapping

# Its transformers/patch.py, `PATCH_FNS`. Apple's own list is llama, phi3, gemma2, mistral and qwen2.
FAMILIES = frozenset(
    {
        *("deepseek_v2", "deepseek_v3", "gemma", "gemma2", "gemma3_text", "gpt_oss", "llama", "llama4_text", "mistral"),
        *("mixtral", "olmo", "olmo2", "olmoe", "phi3", "qwen2", "qwen2_moe", "qwen3", "qwen3_moe", "smollm3"),
        # Of models that are planned by replays: transformers 5.24 passes their hidden states to the head as they are.
        *("apertus", "arcee", "exaone4", "exaone_moe", "glm", "glm4", "glm4_moe", "glm4_moe_lite", "hunyuan_v1_dense"),
        *("hunyuan_v1_moe", "kimi_linear", "lfm2", "lfm2_moe", "minimax_m2", "ministral", "ministral3", "nemotron_h"),
        *("olmo3", "qwen3_5_text", "qwen3_5_moe_text", "qwen3_next", "seed_oss"),
    }
)
"""Families whose forward passes the hidden states on as they are; those of which there is no account are left out."""

WITHOUT_ACCOUNT: Mapping[str, str] = {
    **dict.fromkeys(("cohere", "cohere2", "granite", "granitemoe"), "the hidden states that it scales"),
    "phi": "the gradient of the head's bias, in fp32",
}
"""Families that it patches as well, with what the account lacks."""
