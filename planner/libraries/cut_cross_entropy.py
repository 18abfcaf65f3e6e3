"""The families whose loss cut cross-entropy replaces (axolotl's fork of github.com/apple/ml-cross-entropy, 5f0c7a7)."""

from __future__ import annotations

from collections.abc import Mapping

# Its transformers/patch.py, `PATCH_FNS`. Apple's own list is llama, phi3, gemma2, mistral and qwen2.
FAMILIES = frozenset(
    {
        *("deepseek_v2", "deepseek_v3", "gemma", "gemma2", "gemma3_text", "gpt_oss", "llama", "llama4_text", "mistral"),
        *("mixtral", "olmo", "olmo2", "olmoe", "phi3", "qwen2", "qwen2_moe", "qwen3", "qwen3_moe", "smollm3"),
    }
)
"""Families whose forward passes the hidden states on as they are; those of which there is no account are left out."""

WITHOUT_ACCOUNT: Mapping[str, str] = {
    **dict.fromkeys(("cohere", "cohere2", "granite", "granitemoe"), "the hidden states that it scales"),
    "phi": "the gradient of the head's bias, in fp32",
}
"""Families that it patches as well, with what the account lacks."""
