"""Says which keys there are in ms-swift's YAML and JSON, and in those of ms-swift 2: ms-swift 3602360 and 2.6.1.

Source: swift/arguments; swift/llm/utils/argument.py of version 2.
"""

from __future__ import annotations

from planner.readers.documents.table import Table, words
from planner.readers.trainer.shared import TRAINER_IDLE, TRAINER_IDLE_PREFIXES, TRAINER_LEFT_OUT, TRAINER_NO_WORD

EVALUATED = (
    *(
        "per_device_eval_batch_size",
        "split_dataset_ratio",
        "val_dataset",
        "cached_val_dataset",
        "eval_strategy",
        "streaming",
    ),
    *("eval_batch_size", "dataset_test_ratio", "evaluation_strategy"),
)
"""Keys that say what is evaluated, and when; the last ones are of ms-swift 2."""
TUNERS = ("tuner_type", "train_type", "sft_type")
RENAMED = {
    "model_id_or_path": "model",
    "dtype": "precision",
    "quantization_bit": "quantization",
    "lora_dropout_p": "lora_dropout",
    "lora_target_modules": "lora_targets",
    "batch_size": "micro_batch_size",
    "use_flash_attn": "attention",
}
"""Keys of ms-swift 2 that ms-swift 3 refuses, and what they decide."""
_IDLE_BEFORE = words(
    """
    template_type dataset_sample train_dataset_sample val_dataset_sample
    check_dataset_strategy custom_train_dataset_path custom_val_dataset_path ddp_backend preprocess_num_proc
    custom_register_path custom_dataset_info push_hub_strategy model_revision model_cache_dir use_loss_scale
    self_cognition_sample disable_tqdm bnb_4bit_comp_dtype
    """
)
"""Keys of ms-swift 2 without an effect on memory."""

TABLE = Table(
    decides={
        "model": "model",
        "model_type": "model",
        **dict.fromkeys(TUNERS, "finetuning"),
        "torch_dtype": "precision",
        "bf16": "precision",
        "fp16": "precision",
        "quant_method": "quantization",
        "quant_bits": "quantization",
        "bnb_4bit_use_double_quant": "quantization",
        "bnb_4bit_quant_type": "quantization",
        "lora_rank": "lora_rank",
        "lora_alpha": "lora_alpha",
        "lora_dropout": "lora_dropout",
        "target_modules": "lora_targets",
        "per_device_train_batch_size": "micro_batch_size",
        **dict.fromkeys(EVALUATED, "evaluation_batch_size"),
        "gradient_accumulation_steps": "gradient_accumulation_steps",
        "max_length": "sequence_length",
        "packing": "batching",
        "padding_free": "batching",
        "optim": "optimizer",
        "gradient_checkpointing": "checkpointing",
        "gradient_checkpointing_kwargs.use_reentrant": "checkpointing",
        "deepspeed": "all that the JSON says",
        "use_liger_kernel": "kernels, loss",
        "attn_impl": "attention",
        "rlhf_type": "task",
        "loss_scale": "loss",
        "target_regex": "lora_targets",
        "tuner_backend": "finetuning",
        **RENAMED,
    },
    no_word={
        **TRAINER_NO_WORD,
        "sequence_parallel_size": "sequence parallelism",
        "fsdp": "FSDP as ms-swift configures it",
        "freeze_llm": "a language model that is frozen",
        **dict.fromkeys(("vit_lr", "max_pixels", "ENV.MAX_PIXELS"), "images beside the text"),
        "use_galore": "GaLore as ms-swift configures it",
        "lisa_activated_layers": "LISA",
        "enable_dft_loss": "a loss that weighs tokens by their probability",
        "enable_channel_loss": "losses of tokens by their channel",
        "lora_dtype": "adapters in another dtype",
        "optimizer": "an optimizer of ms-swift's own",
        "use_dora": "DoRA as ms-swift configures it",
        "modules_to_save": "modules that train beside the adapters",
        "target_parameters": "adapters on parameters instead of linear layers",
        "init_weights": "another start of the adapters",
        "freeze_parameters_ratio": "parameters that are frozen",
        "freeze_parameters": "parameters that are frozen",
        "freeze_parameters_regex": "parameters that are frozen",
        "tensor_model_parallel_size": "Megatron",
        "pipeline_model_parallel_size": "Megatron",
        "context_parallel_size": "Megatron",
        "expert_model_parallel_size": "Megatron",
        "task_type": "another task than the next token",
        "num_labels": "another task than the next token",
    },
    left_out={**TRAINER_LEFT_OUT, "router_aux_loss_coef": "the router's auxiliary loss"},
    idle=TRAINER_IDLE - {"evaluation_strategy"}
    | _IDLE_BEFORE
    | words("""dataset system model_author model_name
            dataset_num_proc dataset_shuffle freeze_vit freeze_aligner use_hf template lazy_tokenize
            truncation_strategy bnb_4bit_compute_dtype load_from_cache_file merge_lora enable_thinking
            add_non_thinking_prefix cached_dataset"""),
    idle_prefixes=(*TRAINER_IDLE_PREFIXES, "dataset_", "eval_", "swanlab_"),
)
