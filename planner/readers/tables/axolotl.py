"""Says which keys there are in axolotl's YAML: axolotl 0.19, utils/schemas/*.py."""

from __future__ import annotations

from planner.readers.documents.table import Table, words
from planner.readers.trainer.fsdp import fsdp_decides, fsdp_idle, fsdp_left_out
from planner.readers.trainer.shared import SYNC, TRAINER_IDLE, TRAINER_IDLE_PREFIXES, TRAINER_LEFT_OUT, TRAINER_NO_WORD

OLD_ATTENTIONS = {
    "flash_attention": "flash_attention_2",
    "sdp_attention": "sdpa",
    "flex_attention": "flex_attention",
    "eager_attention": "eager",
}
LIGER = ("liger_rope", "liger_rms_norm", "liger_glu_activation")
OLD_SWIGLU = "liger_swiglu"
"""What `liger_glu_activation` was called."""
TASKS = ("rl", "reward_model", "process_reward_model")
SELECTIVE = "selective_checkpointing"
KEPT_MATMULS = ("attention", "aten::mm", "aten::addmm")
"""What is kept where matrix products are as well: monkeypatch/selective_checkpointing.py."""
DOUBLE = "bnb_config_kwargs.bnb_4bit_use_double_quant"
STORED, STORED_UNDONE = "model_quantization_config", "model_quantization_config_kwargs.dequantize"
"""The class in which a checkpoint stores its own weights, and whether they are undone as they are loaded."""
SHARDS, COPIES = "dp_shard_size", "dp_replicate_size"
"""GPUs that share a copy of the model, and copies: sizes of the mesh."""
_OF_BITSANDBYTES = (
    *("bnb_4bit_quant_type", "bnb_4bit_quant_storage", "bnb_4bit_compute_dtype", "llm_int8_skip_modules"),
    *("llm_int8_threshold", "llm_int8_has_fp16_weight", "llm_int8_enable_fp32_cpu_offload"),
)
"""Other arguments of transformers' BitsAndBytesConfig."""
NAMES = {
    "base_model": "model",
    "adapter": "finetuning",
    "load_in_8bit": "quantization",
    "load_in_4bit": "quantization",
    "gptq": "quantization",
    "lora_r": "lora_rank",
    "lora_alpha": "lora_alpha",
    "lora_dropout": "lora_dropout",
    "lora_target_linear": "lora_targets",
    "lora_target_modules": "lora_targets",
    "lora_modules_to_save": "trained_modules",
    "peft_autocast_adapter_dtype": "adapter_dtype",
    DOUBLE: "quantization",
    STORED: "quantization",
    STORED_UNDONE: "quantization",
    "peft_use_dora": "lora_variant",
    "peft_use_rslora": "lora_variant",
    "sequence_len": "sequence_length",
    "sample_packing": "batching",
    "multipack_real_batches": "batching",
    "pad_to_sequence_len": "batching",
    "micro_batch_size": "micro_batch_size",
    "gradient_accumulation_steps": "gradient_accumulation_steps",
    "batch_size": "gradient_accumulation_steps",
    "eval_batch_size": "evaluation_batch_size",
    "val_set_size": "evaluation_batch_size",
    "optimizer": "optimizer",
    "optim_args": "optimizer, optimizer_rank",
    "optim_target_modules": "optimizer",
    "bf16": "precision",
    "fp16": "precision",
    "bfloat16": "precision",
    "float16": "precision",
    "tf32": "precision",
    "gradient_checkpointing": "checkpointing",
    "gradient_checkpointing_kwargs.use_reentrant": "checkpointing",
    "activation_offloading": "checkpointing",
    f"{SELECTIVE}.save": "checkpointing",
    f"{SELECTIVE}.save_sliding_window": "checkpointing",
    "attn_implementation": "attention",
    "plugins": "kernels, loss",
    "cut_cross_entropy": "loss",
    "liger_fused_linear_cross_entropy": "loss",
    "liger_cross_entropy": "loss",
    "fsdp": "sharding",
    "fsdp_version": "sharding_backend",
    SYNC: "gradient_sync",
    "deepspeed": "all that the JSON says",
}

TABLE = Table(
    decides={
        **NAMES,
        **dict.fromkeys(TASKS, "task"),
        **dict.fromkeys(OLD_ATTENTIONS, "attention"),
        **dict.fromkeys((*LIGER, OLD_SWIGLU), "kernels"),
        **fsdp_decides("fsdp_config"),
        **dict.fromkeys((SHARDS, COPIES), "sharding, shard_size"),
    },
    no_word={
        **{key: what for key, what in TRAINER_NO_WORD.items() if key != "optim_args"},
        "tensor_parallel_size": "tensor parallelism",
        "context_parallel_size": "context parallelism: each GPU has a part of a sequence",
        "sequence_parallel_degree": "context parallelism: each GPU has a part of a sequence",
        "expert_parallel_size": "expert parallelism",
        "tiled_mlp": "MLPs that run in tiles of the sequence",
        "qat": "quantization-aware training",
        "relora": "ReLoRA",
        "quantize_moe_experts": "experts that axolotl quantizes itself",
        "lora_target_parameters": "adapters on parameters instead of linear layers",
        "unfrozen_parameters": "regular expressions that choose what trains",
        "chunked_cross_entropy": "axolotl's chunked cross-entropy",
        "fp8": "fp8 by torchao",
        "processor_type": "a processor: images or sound beside the text",
        "xformers_attention": "xformers",
        "s2_attention": "shifted sparse attention",
        "sageattention": "sage attention",
        "lisa_n_layers": "LISA",
        "llama4_linearized_experts": "experts as linear layers",
        "liger_fused_linear_kl_topk_logprob": "distillation",
        "kd_trainer": "distillation",
        "torch_dtype": "a dtype of loading beside bf16",
        "use_kernels": "kernels of the Hub in place of layers",
        SELECTIVE: "axolotl's selective checkpointing",
        f"{SELECTIVE}.offload": "results that are kept on the host",
        f"{SELECTIVE}.recompute_layer_types": "checkpointing of some kinds of layers",
        "recompute_layer_types": "checkpointing of some kinds of layers",
        "layer_offloading": "layers that wait on the host",
        "ple_cpu_offload": "embeddings of each layer that wait on the host",
        "deepcompile": "DeepCompile",
        "fused_attn_kernel": "a fused attention of axolotl's own",
        "flash_attn_fuse_mlp": "a fused MLP",
        "flash_attn_rms_norm": "flash-attn's RMSNorm",
        "flash_optimum": "BetterTransformer",
        "sage_attention": "sage attention",
        "large_head_attention": "an attention of axolotl's own",
        "scaling_softmax": "an attention of axolotl's own",
        "gemma4_hybrid_attn_impl": "an attention of axolotl's own",
        "sdpa_varlen": "SDPA of packed rows without a mask",
        "experts_implementation": "another implementation of experts",
        "embeddings_skip_upcast": "embeddings that stay in half precision",
        "fp32_norms": "norms in fp32",
        **{f"bnb_config_kwargs.{name}": "a base quantized in another way" for name in _OF_BITSANDBYTES},
        "use_onebitllms": "a base in one bit",
        "loftq_config": "LoftQ",
        "quantization": "quantization after training",
        "peft_layers_to_transform": "adapters in some blocks alone",
        "peft_trainable_token_indices": "tokens that train",
        "lora_rank_pattern": "ranks that differ among layers",
        "reinit_weights": "weights that begin anew",
        "qgalore_rank": "Q-GaLore",
        "overrides_of_model_config": "another shape of the model",
        "rope_scaling": "another shape of the model",
        "freeze_mm_modules": "parts of a multimodal model that are frozen",
        "use_eaft": "the EAFT loss",
        "trainer_cls": "a trainer of the user's own",
        "type_of_model": "a model class of the user's own",
        "ebft": "energy-based fine-tuning",
        "use_ray": "Ray",
        "vllm": "vLLM beside the trainer",
        "trl": "a trainer of TRL",
        "use_scattermoe": "experts in a kernel of axolotl's own",
        "use_sonicmoe": "experts in a kernel of axolotl's own",
        "use_dsv4_kernels": "kernels of axolotl's own",
        "use_glm_dsa_kernels": "kernels of axolotl's own",
        "liger_rms_norm_gated": "Liger's gated RMSNorm",
        "diffusion": "the diffusion loss",
        "hatchery": "training on machines of a service",
        "nemo_gym_enabled": "GRPO in NeMo Gym",
        "llmcompressor": "sparse training by LLM Compressor",
        "max_packed_sequence_len": "a key that axolotl refuses",
    },
    left_out={
        **TRAINER_LEFT_OUT,
        "lora_mlp_kernel": "axolotl's fused kernels of adapters save fewer activations",
        "lora_qkv_kernel": "axolotl's fused kernels of adapters save fewer activations",
        "lora_o_kernel": "axolotl's fused kernels of adapters save fewer activations",
        "lora_embedding_kernel": "axolotl's fused kernels of adapters save fewer activations",
        "batch_flattening": "a batch becomes one row without its padding",
        "gc_collect_steps": "the cache is emptied every few steps, which frees reserved memory",
        "noisy_embedding_alpha": "noise is added to the embeddings",
        # monkeypatch/llama_attn_hijack_flash.py, in the place of fixed_cross_entropy: transformers has cast the logits
        "flash_attn_cross_entropy": "flash-attn's cross-entropy of Llama models saves fp32 logits, and no log-softmax",
        "liger_layer_norm": "Liger's layer norm, in models that have layer norms",
        **fsdp_left_out("fsdp_config"),
    },
    idle=(TRAINER_IDLE - {"tf32"})
    | fsdp_idle("fsdp_config")
    | words(
        """
        datasets test_datasets pretraining_dataset dataset_prepared_path dataset_processes
        shuffle_merged_datasets chat_template chat_template_jinja special_tokens tokens added_tokens_overrides
        tokenizer_type tokenizer_config tokenizer_use_fast model_type base_model_config lora_model_dir num_epochs
        lr_scheduler strict eval_sample_packing eval_table_size eval_max_new_tokens evals_per_epoch
        saves_per_epoch loss_watchdog_threshold loss_watchdog_patience early_stopping_patience min_sample_len
        streaming pretraining_sample_concatenation pretrain_multipack_attn pretrain_multipack_buffer_size
        preprocess_iterable preprocess_shards shuffle_before_merging_datasets num_dataset_shards_to_save
        default_system_message train_on_eos lora_on_cpu loraplus_lr_ratio loraplus_lr_embedding embedding_lr
        embedding_lr_scale lr_groups lr_div_factor lr_quadratic_warmup adam_beta3 adam_epsilon2 low_cpu_mem_usage
        gpu_memory_limit device_map max_memory do_bench_eval do_causal_lm_eval bench_dataset use_wandb use_mlflow
        use_comet use_trackio use_otel_metrics otel_metrics_host otel_metrics_port profiler_steps
        profiler_steps_start include_tkps merge_lora fix_untrained_tokens generate_samples num_generation_samples
        ring_attn_func heads_k_stride tiled_mlp_num_shards tiled_mlp_use_original_mlp torchdistx_path
        is_qwen_derived_model tokenizer_legacy tokenizer_save_jinja_files tokenizer_use_mistral_common
        hf_use_auth_token revision_of_model chunked_cross_entropy_num_chunks sample_packing_sequentially
        sample_packing_mp_start_method peft_init_lora_weights cls_model_config dynamic_checkpoint
        streaming_multipack_buffer_size train_on_inputs eot_tokens skip_prepare_dataset
        experimental_skip_move_to_device use_tensorboard relora_prune_ratio
        relora_cpu_offload jagged_restart_steps jagged_restart_warmup_steps jagged_restart_anneal_steps
        local_rank excess_length_strategy sample_packing_eff_est sample_packing_group_size
        sample_packing_bin_size lora_fan_in_fan_out cosine_min_lr_ratio
        cosine_constant_lr_ratio auto_resume_from_checkpoints is_llama_derived_model is_mistral_derived_model
        is_falcon_derived_model dataset_keep_in_memory resize_token_embeddings_to_32x
        gc_steps save_first_step push_dataset_to_hub eta_min curriculum_sampling flex_attn_compile_kwargs ddp
        base_model_ignore_patterns total_num_tokens full_finetune
        """
    ),
    idle_prefixes=(
        *TRAINER_IDLE_PREFIXES,
        "dataset_",
        "mlflow_",
        "comet_",
        "early_stopping_",
        "eval_",
        "gradio_",
        "generation_",
        "dpo_",
        "kto_",
        "ray_",
        "swanlab_",
        "use_swanlab",
    ),
    dead={
        "gptq_groupsize": "axolotl reads it no more",
        "gptq_model_v1": "axolotl reads it no more",
        "sample_packing_seq_len_multiplier": "axolotl reads it no more",
    },
)
