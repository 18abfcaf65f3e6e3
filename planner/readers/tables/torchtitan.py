"""Says which keys there are in torchtitan's TOML: torchtitan 238fa99, config/job_config.py, and their older names."""

from __future__ import annotations

from planner.readers.documents.table import Table, words

TRAINING, PARALLEL, AC = "training.", "parallelism.", "activation_checkpoint."
MICRO = (f"{TRAINING}local_batch_size", f"{TRAINING}batch_size")
ACCUMULATION = f"{TRAINING}global_batch_size"
REPLICAS = (f"{PARALLEL}data_parallel_replicate_degree", f"{TRAINING}data_parallel_replicate_degree")
SHARDS = (
    f"{PARALLEL}data_parallel_shard_degree",
    f"{TRAINING}data_parallel_shard_degree",
    f"{TRAINING}data_parallel_degree",
)
COMPILE = ("compile.enable", f"{TRAINING}compile")
FP8 = ("float8", "quantize.linear.float8")
_QUANTIZE = "quantize.linear.float8."

TABLE = Table(
    decides={
        "model.name": "model",
        "model.flavor": "model",
        "model.converters": "precision",
        "model.handlers": "precision",
        f"{TRAINING}dtype": "precision",
        f"{TRAINING}mixed_precision_param": "precision",
        f"{_QUANTIZE}recipe_name": "precision",
        "float8.recipe_name": "precision",
        **dict.fromkeys(MICRO, "micro_batch_size"),
        ACCUMULATION: "gradient_accumulation_steps",
        f"{TRAINING}seq_len": "sequence_length",
        f"{TRAINING}enable_cpu_offload": "offload",
        **dict.fromkeys((*REPLICAS, *SHARDS), "sharding"),
        f"{PARALLEL}fsdp_reshard_after_forward": "sharding",
        f"{AC}mode": "checkpointing",
        f"{AC}selective_ac_option": "checkpointing",
        "optimizer.name": "optimizer",
        "optimizer.implementation": "optimizer",
        "optimizer.early_step_in_backward": "update",
        **dict.fromkeys(COMPILE, "kernels"),
        "compile.components": "kernels",
        "validation.enable": "evaluation_batch_size",
        "validation.local_batch_size": "evaluation_batch_size",
        "validation.seq_len": "evaluation_batch_size",
    },
    no_word={
        f"{PARALLEL}tensor_parallel_degree": "tensor parallelism, and a loss in parts of the vocabulary",
        f"{TRAINING}tensor_parallel_degree": "tensor parallelism, and a loss in parts of the vocabulary",
        f"{PARALLEL}pipeline_parallel_degree": "pipeline parallelism",
        "experimental.pipeline_parallel_degree": "pipeline parallelism",
        f"{PARALLEL}context_parallel_degree": "context parallelism: each GPU has a part of a sequence",
        "experimental.context_parallel_degree": "context parallelism: each GPU has a part of a sequence",
        f"{PARALLEL}expert_parallel_degree": "expert parallelism",
        f"{_QUANTIZE}enable_fsdp_float8_all_gather": "fp8 gathers",
        "float8.enable_fsdp_float8_all_gather": "fp8 gathers",
        "float8.enable_fp8_linear": "fp8 of an old release",
        "training.enable_fp8_linear": "fp8 of an old release",
        "training.fp8_linear": "fp8 of an old release",
        "training.pipeline_parallel_degree": "pipeline parallelism",
        "float8.enable_float8_linear": "fp8 of an old release",
        "quantize.grouped_mm.float8.fqns": "experts in fp8",
        "memory_estimation.enable": "an estimate of memory in place of training",
        "checkpoint.create_seed_checkpoint": "the whole model on one GPU, to be saved",
        "fault_tolerance.enable": "replicas that may fail",
        "experimental.custom_import": "modules of the user's own",
        "experimental.custom_args_module": "modules of the user's own",
        "job.custom_config_module": "modules of the user's own",
        "experimental.custom_model_path": "modules of the user's own",
        f"{AC}per_op_sac_force_recompute_mm_shapes_by_fqns": "products of some shapes that are recomputed",
    },
    left_out={
        f"{AC}early_stop": "recomputation that stops at the last tensor that backward needs",
        "checkpoint.async_mode": "a checkpoint that waits in the host's memory",
    },
    idle=words(
        """
        model.hf_assets_path model.tokenizer_path model.norm_type model.print_after_conversion
        training.dataset training.dataset_path training.max_norm training.steps training.warmup_steps
        training.mixed_precision_reduce training.gc_freq training.gc_debug training.seed training.deterministic
        parallelism.disable_loss_parallel parallelism.enable_async_tensor_parallel
        parallelism.expert_tensor_parallel_degree parallelism.module_fqns_per_model_part
        parallelism.expert_parallel_comm_backend experimental.enable_async_tensor_parallel
        activation_checkpoint.memory_budget activation_checkpoint.preserve_rng_state
        activation_checkpoint.determinism_check activation_checkpoint.debug compile.backend
        compile.model_backend_override activation_checkpoint.visualize_memory_budget_pareto
        """
    ),
    idle_prefixes=(
        *("job.", "profiling.", "metrics.", "optimizer.", "lr_scheduler.", "checkpoint.", "comm.", "validation."),
        *("debug.", "fault_tolerance.", "memory_estimation.", "training.dataloader", "quantize.", "float8."),
        *(f"{PARALLEL}pipeline_parallel_", f"{PARALLEL}context_parallel_", "experimental.pipeline_parallel_"),
    ),
)
