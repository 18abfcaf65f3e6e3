"""Says how ms-swift 2 names what ms-swift 3 and later name otherwise: scripts of 2023 and 2024 have these flags.

Source: ms-swift 2.6.1, swift/llm/utils/argument.py; ReleaseNote3.0.
"""

from __future__ import annotations

from planner.readers.documents.keys import Keys
from planner.readers.documents.source import words

VERSION = "ms-swift 2.6"
RENAMED = {
    "model_id_or_path": "model",
    "dtype": "precision",
    "quantization_bit": "quantization",
    "lora_dropout_p": "lora_dropout",
    "lora_target_modules": "lora_targets",
    "batch_size": "micro_batch_size",
    "use_flash_attn": "attention",
}
"""Keys that ms-swift 3 refuses, and what they decide."""
EVALUATED = ("eval_batch_size", "dataset_test_ratio", "evaluation_strategy")
"""Keys that say what is evaluated, and when."""
IDLE = words(
    """
    template_type dataset_sample train_dataset_sample val_dataset_sample
    check_dataset_strategy custom_train_dataset_path custom_val_dataset_path ddp_backend preprocess_num_proc
    custom_register_path custom_dataset_info push_hub_strategy model_revision model_cache_dir use_loss_scale
    self_cognition_sample disable_tqdm bnb_4bit_comp_dtype
    """
)
SIGNS = (*RENAMED, "sft_type")
DTYPES = {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32"}
"""Names of dtypes in the words of `torch_dtype`; AUTO is the default."""
ENGINES = {
    "default-zero2": "zero2",
    "default-zero3": "zero3",
    "zero2-offload": "zero2_offload",
    "zero3-offload": "zero3_offload",
}
"""Names of DeepSpeed's JSONs, in those of ms-swift 3."""
DEFAULT = (("DEFAULT",), ("AUTO",))
QKV = ("q_proj", "k_proj", "v_proj")
"""Targets where nothing is said, or DEFAULT: utils/model.py, `LoRATM.llama`, which models of its shape share."""


def is_old(keys: Keys) -> bool:
    """Returns whether a file has a key that ms-swift 3 has not, and says the version if so."""
    found = keys.entry(*SIGNS)
    if found is not None:
        keys.reading.say("version", VERSION, found.place, f"{found.place.key} is no key of ms-swift 3")
    return found is not None
