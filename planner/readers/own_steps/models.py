"""Names the models that builders of torchtune and flavors of torchtitan make, by their ids on the Hugging Face Hub."""

from __future__ import annotations

TORCHTUNE = {
    "llama2_7b": "meta-llama/Llama-2-7b-hf",
    "llama2_13b": "meta-llama/Llama-2-13b-hf",
    "llama2_70b": "meta-llama/Llama-2-70b-hf",
    "llama3_8b": "meta-llama/Meta-Llama-3-8B",
    "llama3_70b": "meta-llama/Meta-Llama-3-70B",
    "llama3_1_8b": "meta-llama/Llama-3.1-8B",
    "llama3_1_70b": "meta-llama/Llama-3.1-70B",
    "llama3_1_405b": "meta-llama/Llama-3.1-405B",
    "llama3_2_1b": "meta-llama/Llama-3.2-1B",
    "llama3_2_3b": "meta-llama/Llama-3.2-3B",
    "llama3_3_70b": "meta-llama/Llama-3.3-70B-Instruct",
    "mistral_7b": "mistralai/Mistral-7B-v0.1",
    "gemma_2b": "google/gemma-2b",
    "gemma_7b": "google/gemma-7b",
    "gemma2_2b": "google/gemma-2-2b",
    "gemma2_9b": "google/gemma-2-9b",
    "gemma2_27b": "google/gemma-2-27b",
    "phi3_mini": "microsoft/Phi-3-mini-4k-instruct",
    "phi4_14b": "microsoft/phi-4",
    **{
        f"qwen2_{size}": f"Qwen/Qwen2-{name}-Instruct"
        for size, name in (("0_5b", "0.5B"), ("1_5b", "1.5B"), ("7b", "7B"))
    },
    **{
        f"qwen2_5_{size}_{kind}": f"Qwen/Qwen2.5-{name}{ending}"
        for size, name in (
            *(("0_5b", "0.5B"), ("1_5b", "1.5B"), ("3b", "3B"), ("7b", "7B")),
            *(("14b", "14B"), ("32b", "32B"), ("72b", "72B")),
        )
        for kind, ending in (("base", ""), ("instruct", "-Instruct"))
    },
    **{
        f"qwen3_{size}{kind}": f"Qwen/Qwen3-{name}{ending}"
        for size, name in (
            *(("0_6b", "0.6B"), ("1_7b", "1.7B"), ("4b", "4B"), ("8b", "8B"), ("14b", "14B"), ("32b", "32B")),
        )
        for kind, ending in (("", ""), ("_instruct", ""), ("_base", "-Base"))
    },
}
"""Source: torchtune/models/*/_model_builders.py, and the configurations in recipes/configs/, which name the ids."""

TORCHTITAN = {
    **{("llama2", size): f"meta-llama/Llama-2-{size.lower()}-hf" for size in ("7B", "13B", "70B")},
    **{("llama3", size): f"meta-llama/Llama-3.1-{size}" for size in ("8B", "70B", "405B")},
    **{("qwen3", size): f"Qwen/Qwen3-{size}" for size in ("0.6B", "1.7B", "4B", "8B", "14B", "32B")},
    **{("qwen3", size): f"Qwen/Qwen3-{size}" for size in ("30B-A3B", "235B-A22B")},
    ("llama4", "17bx16e"): "meta-llama/Llama-4-Scout-17B-16E",
    ("llama4", "17bx128e"): "meta-llama/Llama-4-Maverick-17B-128E",
    ("deepseek_v3", "16B"): "deepseek-ai/deepseek-moe-16b-base",
    ("deepseek_v3", "236B"): "deepseek-ai/DeepSeek-V2",
    ("deepseek_v3", "671B"): "deepseek-ai/DeepSeek-V3.1-Base",
    ("gpt_oss", "20b"): "openai/gpt-oss-20b",
    ("gpt_oss", "120b"): "openai/gpt-oss-120b",
}
"""Source: torchtitan/models/*/__init__.py, and `hf_assets_path` in models/*/train_configs/."""

MIXTURES = frozenset(key for key in TORCHTITAN if key[0] in ("llama4", "deepseek_v3", "gpt_oss") or "-A" in key[1])
"""Those of experts."""
