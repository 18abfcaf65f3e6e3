"""Says which keys there are in TRL's YAML, and of projects around it: TRL 1.16, 0.19."""

from __future__ import annotations

from planner.readers.documents.table import Table, words
from planner.readers.trainer.fsdp import fsdp_decides, fsdp_idle, fsdp_left_out
from planner.readers.trainer.shared import SYNC, TRAINER_IDLE, TRAINER_IDLE_PREFIXES, TRAINER_LEFT_OUT, TRAINER_NO_WORD

DPO = ("beta", "max_prompt_length", "precompute_ref_log_probs", "reference_free")
GRPO = ("num_generations", "max_completion_length", "reward_funcs", "use_vllm")
PREFERENCES = ("desirable_weight", "undesirable_weight", "center_rewards_coefficient")

TABLE = Table(
    decides={
        "model_name_or_path": "model",
        "dtype": "precision",
        "torch_dtype": "precision",
        "bf16": "precision",
        "fp16": "precision",
        "tf32": "precision",
        "max_length": "sequence_length",
        "max_seq_length": "sequence_length",
        "packing": "batching",
        "packing_strategy": "batching",
        "padding_free": "batching",
        "per_device_train_batch_size": "micro_batch_size",
        "gradient_accumulation_steps": "gradient_accumulation_steps",
        "per_device_eval_batch_size": "evaluation_batch_size",
        "eval_strategy": "evaluation_batch_size",
        "gradient_checkpointing": "checkpointing",
        "activation_checkpointing": "checkpointing",
        "gradient_checkpointing_kwargs.use_reentrant": "checkpointing",
        "activation_checkpointing_kwargs.use_reentrant": "checkpointing",
        "activation_checkpointing_kwargs.offload": "checkpointing",
        "activation_checkpointing_kwargs.every_n_layers": "checkpoint_every",
        "optim": "optimizer",
        "optim_args": "optimizer, optimizer_rank",
        "optim_target_modules": "optimizer",
        "loss_type": "loss",
        "use_liger_kernel": "kernels, loss",
        "use_liger": "kernels, loss",
        "attn_implementation": "attention",
        "use_flash_attention_2": "attention",
        "evaluation_strategy": "evaluation_batch_size",
        "use_peft": "finetuning",
        "load_in_4bit": "quantization",
        "load_in_8bit": "quantization",
        "use_bnb_nested_quant": "quantization",
        "bnb_4bit_quant_type": "quantization",
        "bnb_4bit_quant_storage": "quantization",
        "lora_r": "lora_rank",
        "lora_alpha": "lora_alpha",
        "lora_dropout": "lora_dropout",
        "lora_target_modules": "lora_targets",
        "lora_modules_to_save": "trained_modules",
        "use_dora": "lora_variant",
        "use_rslora": "lora_variant",
        SYNC: "gradient_sync",
        "deepspeed": "all that the JSON says",
        "fsdp": "sharding",
        **fsdp_decides("fsdp_config"),
        **dict.fromkeys((*DPO, *GRPO, *PREFERENCES), "task"),
        **dict.fromkeys(("dataset_mixer", "dataset_mixture"), "the version of TRL"),
    },
    strict=True,
    no_word={
        **{key: what for key, what in TRAINER_NO_WORD.items() if key != "optim_args"},
        "activation_offloading": "activations that are offloaded in place of recomputation",
        "lora_target_parameters": "adapters on parameters instead of linear layers",
        "model_init_kwargs": "arguments of from_pretrained",
        "liger_kernel_config": "Liger's kernels in part",
        "use_unsloth": "Unsloth",
        "selective": "TRL's selective checkpointing",
        "label_smoothing_factor": "label smoothing, which makes whole logits and a second forward pass",
        "pad_to_multiple_of": "rows of another length",
    },
    left_out={
        **TRAINER_LEFT_OUT,
        "router_aux_loss_coef": "the router's auxiliary loss",
        **fsdp_left_out("fsdp_config"),
    },
    idle=(TRAINER_IDLE - {"label_smoothing_factor", "evaluation_strategy", "tf32"})
    | fsdp_idle("fsdp_config")
    | words(
        """
        ignore_bias_buffers tokenizer_name_or_path
        dataset_name dataset_config dataset_num_proc dataset_text_field dataset_kwargs dataset_splits
        datasets dataset_train_split dataset_test_split dataset_streaming dataset_configs
        dataset_prompt_column dataset_batch_size chat_template chat_template_path eos_token pad_token
        truncation_mode shuffle_dataset completion_only_loss assistant_only_loss eval_packing do_eval env
        lora_task_type lora_bias system_prompt log_completions reward_weights
        temperature logging_first_step preprocessing_num_workers auto_insert_empty_system_msg benchmarks
        callbacks overwrite_hub_revision wandb_entity wandb_project wandb_run_group num_iterations epsilon
        scale_rewards ddp_timeout
        """
    ),
    idle_prefixes=(*TRAINER_IDLE_PREFIXES, "env.", "dataset_", "reward_", "cosine_", "repetition_"),
)
