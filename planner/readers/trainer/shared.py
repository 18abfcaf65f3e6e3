"""Holds what readers of programs around transformers' Trainer share: its names, and its keys without an effect."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hardware.errors import shown
from planner.readers.documents.keys import Keys
from planner.readers.documents.patterns import Pattern, problem_of
from planner.readers.documents.reading import Place, Reading
from planner.readers.documents.table import words
from strategies import ALL_LINEAR, Attention, Kernels, LoraVariant, Loss, Optimizer, TrainedModules, Update

OPTIMIZERS: Mapping[str, Mapping[str, Any]] = {
    name: {"optimizer": optimizer, **more}
    for name, optimizer, more in (
        ("adamw_torch_fused", Optimizer.ADAMW, {}),
        ("adamw_torch", Optimizer.ADAMW_FOREACH, {}),
        ("adamw_8bit", Optimizer.ADAMW_8BIT, {}),
        ("adamw_bnb_8bit", Optimizer.ADAMW_8BIT, {}),
        ("paged_adamw_32bit", Optimizer.PAGED_ADAMW_32BIT, {}),
        ("paged_adamw_8bit", Optimizer.PAGED_ADAMW_8BIT, {}),
        ("adamw_torch_8bit", Optimizer.ADAMW_8BIT_TORCHAO, {}),
        ("adamw_torch_4bit", Optimizer.ADAMW_4BIT, {}),
        ("adafactor", Optimizer.ADAFACTOR, {}),
        ("lion_32bit", Optimizer.LION, {}),
        ("lion_8bit", Optimizer.LION_8BIT, {}),
        ("sgd", Optimizer.SGD, {}),
        ("galore_adamw", Optimizer.GALORE, {}),
        ("galore_adamw_layerwise", Optimizer.GALORE, {"update": Update.IN_BACKWARD}),
        ("apollo_adamw", Optimizer.APOLLO, {}),
        ("apollo_adamw_layerwise", Optimizer.APOLLO, {"update": Update.IN_BACKWARD}),
    )
}
"""What each `optim` means: transformers/training_args.py, `OptimizerNames`, and trainer_optimizer.py."""

ATTENTIONS: Mapping[str, Attention] = {
    "eager": Attention.EAGER,
    "sdpa": Attention.SDPA,
    "flash_attention_2": Attention.FLASH_2,
    "flash_attention_3": Attention.FLASH_3,
    "flex_attention": Attention.FLEX,
    # Kernels of the Hub that are built from flash-attn: transformers/integrations/hub_kernels.py.
    "kernels-community/flash-attn": Attention.FLASH_2,
    "kernels-community/flash-attn2": Attention.FLASH_2,
    "kernels-community/flash-attn3": Attention.FLASH_3,
    "kernels-community/vllm-flash-attn3": Attention.FLASH_3,
}
"""What each `attn_implementation` means."""

VARIANTS = {LoraVariant.DORA: "dora", LoraVariant.RSLORA: "rslora"}
"""Names of LoRA's variants in keys such as `use_dora`."""

TRAINER_IDLE = words(
    """
        accelerator_config adam_beta1 adam_beta2 adam_epsilon average_tokens_across_devices
        batch_eval_metrics data_seed ddp_backend ddp_broadcast_buffers ddp_bucket_cap_mb
        ddp_find_unused_parameters ddp_static_graph ddp_timeout debug disable_tqdm do_predict do_train
        enable_jit_checkpoint eval_accumulation_steps eval_delay eval_do_concat_batches eval_on_start
        eval_steps eval_use_gather_object evaluation_strategy full_determinism greater_is_better
        group_by_length ignore_data_skip include_for_metrics include_num_input_tokens_seen
        include_tokens_per_second label_names label_smoothing_factor learning_rate length_column_name
        load_best_model_at_end local_rank lr_scheduler_kwargs lr_scheduler_type max_grad_norm max_steps
        metric_for_best_model neftune_noise_alpha num_train_epochs output_dir overwrite_output_dir
        prediction_loss_only project push_to_hub remove_unused_columns report_to resume_from_checkpoint
        restore_callback_states_from_checkpoint run_name seed skip_memory_metrics tf32 use_cache
        warmup_ratio warmup_steps weight_decay model_revision trust_remote_code bf16_full_eval
        fp16_full_eval train_sampling_strategy cache_dir hub_token
        """
)
"""Keys of transformers' TrainingArguments that do not change what is in memory at the peak of a step.

`tf32` is the speed of what fp32 multiplies, `weight_decay` and `max_grad_norm` work in place."""

SYNC = "accelerator_config.gradient_accumulation_kwargs.sync_each_batch"
"""Key of TrainingArguments with which FSDP reduces gradients after every micro-batch."""

TRAINER_IDLE_PREFIXES = (
    *("accelerator_config.", "hub_", "log_", "logging_", "save_", "dataloader_"),
    *("push_to_hub_", "trackio_", "wandb_"),
)

TRAINER_NO_WORD: Mapping[str, str] = {
    "torch_compile": "torch.compile of the whole model",
    "torch_compile_backend": "torch.compile of the whole model",
    "torch_compile_mode": "torch.compile of the whole model",
    "parallelism_config": "tensor, context or sequence parallelism",
    "optim_args": "arguments of the optimizer",
    "use_cpu": "training on the CPU",
}

TRAINER_LEFT_OUT: Mapping[str, str] = {
    "torch_empty_cache_steps": "the cache is emptied every few steps, which frees reserved memory",
    "auto_find_batch_size": "the micro-batch is halved when memory runs out",
}


def read_optimizer(keys: Keys, *names: str, program: str) -> None:
    """Says what `optim` means; absent, it is that of transformers with torch 2.8 and later."""
    reading, name = keys.reading, keys.word(*names)
    place = keys.place(*names)
    if name is None:
        source = "transformers/training_args.py: adamw_torch_fused with torch 2.8 and later"
        reading.say("optimizer", Optimizer.ADAMW, why=source if program == "Trainer" else f"{program}: {source}")
    elif name.lower() in OPTIMIZERS:
        reading.say_all(OPTIMIZERS[name.lower()], place)
    else:
        reading.refuse(f"the optimizer {name}", place)


LEFT_TO_TRANSFORMERS = "transformers takes SDPA where nothing is said"
"""Why the attention is SDPA where a run leaves it to transformers, which takes another for models that have none."""


def read_attention(keys: Keys, *names: str) -> None:
    """Says what `attn_implementation` means; absent, transformers takes SDPA."""
    name, place = keys.word(*names), keys.place(*names)
    if name is None:
        keys.reading.say("attention", Attention.SDPA, why=LEFT_TO_TRANSFORMERS)
    elif name in ATTENTIONS:
        keys.reading.say("attention", ATTENTIONS[name], place)
    else:
        keys.reading.refuse(f"the attention {name}", place)


def read_targets(keys: Keys, *names: str, everything: tuple[str, ...]) -> bool:
    """Says which layers get adapters; returns whether the key is there.

    Args:
        keys: The keys.
        names: Names of the key.
        everything: Values that stand for every linear layer but the head.
    """
    entry = keys.entry(*names)
    targets = keys.names(*names)
    if entry is None or targets is None:
        return False
    whole = entry.value if isinstance(entry.value, str) else ""
    if len(targets) == 1 and not whole:  # trl/trainer/model_config.py: a list of one is that one
        whole = targets[0]
    if len(targets) == 1 and targets[0] in everything:
        keys.reading.say("lora_targets", ALL_LINEAR, entry.place)
    elif all(map(_is_name, targets)):
        plain = all("." not in name for name in targets)
        keys.reading.say("lora_targets", targets if plain else Pattern(names=targets), entry.place)
    elif not whole:
        keys.reading.refuse("a list of regular expressions, which PEFT takes as names", entry.place)
    else:
        say_pattern(keys.reading, whole, entry.place)
    return True


def _is_name(name: str) -> bool:
    return name.replace("_", "").replace(".", "").isalnum()


def say_pattern(reading: Reading, expression: str, place: Place | None) -> None:
    """Says a regular expression that chooses the layers with adapters; which they are depends on the model."""
    problem = problem_of(expression)
    if problem is not None:
        reading.refuse(f"layers with adapters by {shown(expression)}, which {problem}", place)
    else:
        reading.say("lora_targets", Pattern(expression), place)


def read_trained_modules(keys: Keys, *names: str) -> None:
    """Says which modules train as a whole beside adapters."""
    modules, place = keys.names(*names), keys.place(*names)
    if not modules:
        return
    short = {name.rpartition(".")[2] for name in modules}
    embeddings, head = short & {"embed_tokens", "wte", "embed_in", "word_embeddings"}, short & {"lm_head", "embed_out"}
    if short - embeddings - head:
        keys.reading.refuse(f"modules that train beside the adapters: {', '.join(sorted(short))}", place)
    elif embeddings and head:
        keys.reading.say("trained_modules", TrainedModules.EMBEDDINGS_AND_HEAD, place)
    else:
        keys.reading.say("trained_modules", TrainedModules.EMBEDDINGS if embeddings else TrainedModules.HEAD, place)


def read_batches(keys: Keys, micro: str, micro_default: int, why: str) -> None:
    """Says micro-batch and accumulation, which is 1 where nothing says it."""
    keys.say_whole("micro_batch_size", micro, otherwise=micro_default, why=why)
    keys.say_whole("gradient_accumulation_steps", "gradient_accumulation_steps", otherwise=1, why=why)


def read_evaluation(keys: Keys) -> None:
    """Says how many samples Trainer evaluates at once."""
    why = "transformers/training_args.py"
    keys.say_whole("evaluation_batch_size", "per_device_eval_batch_size", otherwise=8, why=why)


def read_interval(keys: Keys) -> None:
    """Says at every how many blocks there is a checkpoint, where that is more than one."""
    name = "activation_checkpointing_kwargs.every_n_layers"
    every = keys.whole(name)
    if every and every > 1:
        keys.reading.say("checkpoint_every", every, keys.place(name))


def read_liger(keys: Keys, source: str) -> None:
    """Says whether liger-kernel's layers and its fused loss are used, as Trainer's key switches them on together.

    Args:
        keys: The keys.
        source: The source of the default, which is off.
    """
    liger, place = keys.flag("use_liger_kernel"), keys.place("use_liger_kernel")
    why = "" if place else source
    keys.reading.say("kernels", Kernels.LIGER if liger else Kernels.EAGER, place, why)
    keys.reading.say("loss", Loss.LIGER_FUSED_LINEAR if liger else Loss.FULL, place, why)


def read_variants(keys: Keys, prefix: str) -> None:
    """Says which variant of LoRA the keys switch on.

    Args:
        keys: The keys.
        prefix: What stands before the variants' names.
    """
    for variant, name in VARIANTS.items():
        if keys.flag(f"{prefix}{name}"):
            keys.reading.say("lora_variant", variant, keys.place(f"{prefix}{name}"))
