"""Names the models that builders of torchtune make, by their ids on the Hugging Face Hub."""

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
