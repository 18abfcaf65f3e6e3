"""Says which keys there are in LLaMA-Factory's YAML: LLaMA-Factory 0.9.5, hparams/*.py."""

from __future__ import annotations

from planner.readers.documents.table import Table, words
from planner.readers.trainer.fsdp import fsdp_decides, fsdp_idle, fsdp_left_out
from planner.readers.trainer.shared import SYNC, TRAINER_IDLE, TRAINER_IDLE_PREFIXES, TRAINER_LEFT_OUT, TRAINER_NO_WORD
from strategies import Optimizer

LOW_RANK = {"galore": Optimizer.GALORE, "apollo": Optimizer.APOLLO}
NOT_TRAINING = ("do_predict", "export_dir", "infer_backend")
"""Keys of files that evaluate, merge or serve a model, unless `do_train` is true."""
MEGATRON = (
    *("tensor_model_parallel_size", "pipeline_model_parallel_size", "expert_model_parallel_size"),
    *("context_parallel_size", "sequence_parallel", "use_distributed_optimizer", "recompute_granularity"),
    *("moe_grouped_gemm", "moe_token_dispatcher_type", "overlap_grad_reduce", "overlap_param_gather"),
    *("bias_activation_fusion", "apply_rope_fusion", "use_packed_sequences", "virtual_pipeline_model_parallel_size"),
)
"""Keys of Megatron's engines, which USE_MCA or USE_MEGATRON_BRIDGE in the environment switches on."""
IMAGES = (
    *("image_max_pixels", "image_min_pixels", "video_max_pixels", "video_min_pixels", "video_fps", "video_maxlen"),
    *("freeze_vision_tower", "freeze_multi_modal_projector", "freeze_language_model"),
    *("audio_sampling_rate", "image_do_pan_and_scan"),
)
OTHER_OPTIMIZERS = {"use_adam_mini": Optimizer.ADAM_MINI, "use_muon": Optimizer.MUON}

TABLE = Table(
    decides={
        "model_name_or_path": "model",
        "stage": "task",
        "do_train": "task",
        **dict.fromkeys((*NOT_TRAINING, *MEGATRON, *IMAGES), "task"),
        "finetuning_type": "finetuning",
        "quantization_bit": "quantization",
        "quantization_method": "quantization",
        "quantization_type": "quantization",
        "double_quantization": "quantization",
        "lora_rank": "lora_rank",
        "lora_alpha": "lora_alpha",
        "lora_dropout": "lora_dropout",
        "lora_target": "lora_targets",
        "additional_target": "trained_modules",
        "use_dora": "lora_variant",
        "use_rslora": "lora_variant",
        "freeze_trainable_layers": "trained_blocks",
        "freeze_extra_modules": "trained_modules",
        **{f"use_{name}": "optimizer" for name in LOW_RANK},
        **{f"{name}_rank": "optimizer_rank" for name in LOW_RANK},
        **{f"{name}_layerwise": "update" for name in LOW_RANK},
        **dict.fromkeys(OTHER_OPTIMIZERS, "optimizer"),
        "apollo_scale_type": "optimizer",
        "optim": "optimizer",
        "optim_args": "optimizer, optimizer_rank",
        "optim_target_modules": "optimizer",
        "cutoff_len": "sequence_length",
        "packing": "batching",
        "neat_packing": "batching",
        "per_device_train_batch_size": "micro_batch_size",
        "gradient_accumulation_steps": "gradient_accumulation_steps",
        "per_device_eval_batch_size": "evaluation_batch_size",
        "val_size": "evaluation_batch_size",
        "eval_dataset": "evaluation_batch_size",
        "bf16": "precision",
        "fp16": "precision",
        "pure_bf16": "precision",
        "tf32": "precision",
        "disable_gradient_checkpointing": "checkpointing",
        "use_reentrant_gc": "checkpointing",
        "gradient_checkpointing": "checkpointing",
        "gradient_checkpointing_kwargs.use_reentrant": "checkpointing",
        "flash_attn": "attention",
        "enable_liger_kernel": "kernels, loss",
        SYNC: "gradient_sync",
        "deepspeed": "all that the JSON says",
        "fsdp": "sharding",
        **fsdp_decides("fsdp_config"),
    },
    no_word={
        **{key: what for key, what in TRAINER_NO_WORD.items() if key != "optim_args"},
        "use_badam": "BAdam",
        "use_llama_pro": "LLaMA Pro: blocks in between that train",
        "use_unsloth": "Unsloth",
        "use_unsloth_gc": "Unsloth's checkpointing",
        "use_kt": "KTransformers",
        "fp8": "fp8 by torchao or Transformer Engine",
        "mixture_of_depths": "mixture of depths",
        "shift_attn": "shifted sparse attention",
        "ref_model": "a reference model",
        "reward_model": "a reward model",
        "fp8_enable_fsdp_float8_all_gather": "fp8 gathers",
        "use_hyper_parallel": "hyper parallelism",
        "use_v1_kernels": "kernels of v1",
        "crop_to_patches": "images beside the text",
        "use_audio_in_video": "sound beside the text",
        "use_mca": "Megatron",
        "use_asft_loss": "a loss with a reference model",
        "use_dft_loss": "the DFT loss",
        "use_eaft_loss": "the EAFT loss",
        "rope_scaling": "RoPE scaling that changes the attention",
        "resize_vocab": "a vocabulary of another size",
        "freeze_trainable_modules": "parts of the last blocks that train",
    },
    left_out={
        **TRAINER_LEFT_OUT,
        "upcast_layernorm": "norms are raised to fp32",
        "upcast_lmhead_output": "logits are raised to fp32 once more",
        "moe_aux_loss_coef": "the router's auxiliary loss",
        **fsdp_left_out("fsdp_config"),
    },
    idle=(TRAINER_IDLE - {"do_train", "do_predict", "tf32"})
    | fsdp_idle("fsdp_config")
    | words(
        """
        dataset dataset_dir template max_samples overwrite_cache preprocessing_num_workers
        preprocessing_batch_size streaming buffer_size mix_strategy interleave_probs tokenized_path
        train_on_prompt mask_history train_from_scratch device_map asft_alpha eaft_alpha fp8_backend
        dpo_label_smoothing kto_chosen_weight kto_rejected_weight ld_alpha max_new_tokens temperature top_k top_p
        do_sample num_beams repetition_penalty length_penalty skip_special_tokens init_special_tokens
        new_special_tokens_config offload_folder download_mode use_kv_cache preserve_thinking
        oft_rank oft_block_size oft_target module_dropout pref_bco_weight
        enable_torch_profiler hyper_parallel_args plot_loss do_eval eval_strategy predict_with_generate
        print_param_status media_dir default_system tool_format adapter_name_or_path adapter_folder
        create_new_adapter pissa_init pissa_iter pissa_convert loraplus_lr_ratio loraplus_lr_embedding
        galore_target galore_update_interval galore_scale galore_proj_type apollo_target apollo_update_interval
        apollo_scale apollo_proj apollo_proj_type apollo_scale_front badam_mode
        badam_start_block badam_switch_mode badam_switch_interval badam_verbose badam_update_ratio
        badam_mask_mode pref_beta pref_loss pref_ftx simpo_gamma use_fast_tokenizer low_cpu_mem_usage
        quantization_device_map infer_dtype enable_thinking ignore_pad_token_for_loss compute_accuracy
        disable_shuffling early_stopping_steps
        include_effective_tokens_per_second hf_hub_token ms_hub_token om_hub_token new_special_tokens add_tokens
        fsdp_transformer_layer_cls_to_wrap fsdp_min_num_params resume_lora_training checkpoint_dir
        add_special_tokens split_special_tokens eval_num_beams eval_on_each_dataset data_shared_file_system
        """
    ),
    idle_prefixes=(
        *TRAINER_IDLE_PREFIXES,
        "swanlab_",
        "use_swanlab",
        "ray_",
        "export_",
        "vllm_",
        "sglang_",
        "ppo_",
        "profiler_",
        "profile_",
        "kt_",
        "ref_model_",
        "reward_model_",
    ),
)
