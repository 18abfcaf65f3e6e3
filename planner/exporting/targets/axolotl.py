"""Writes a run of axolotl: axolotl 0.19."""

from __future__ import annotations

from typing import Any

from planner.exporting.launch import DEEPSPEED, REQUIREMENTS, SCRIPT, VARIANTS, Launch, Target
from planner.exporting.shared.engine import deepspeed_json, fsdp_config, synced
from planner.exporting.shared.optimizers import trainer_optimizer
from planner.exporting.shared.packages import requirements
from planner.readers.tables.axolotl import KEPT_MATMULS, SELECTIVE
from strategies import (
    AdapterDtype,
    Batching,
    Checkpointing,
    Finetuning,
    Kernels,
    Loss,
    Precision,
    Quantization,
    ShardingBackend,
)

RECIPE = "axolotl.yaml"
_QUANTIZED: dict[Quantization, dict[str, Any]] = {
    Quantization.NONE: {"load_in_4bit": False, "load_in_8bit": False},
    Quantization.NF4: {
        "load_in_4bit": True,
        "load_in_8bit": False,
        "bnb_config_kwargs": {"bnb_4bit_use_double_quant": False},
    },
    Quantization.NF4_DOUBLE: {"load_in_4bit": True, "load_in_8bit": False},
    Quantization.INT8: {"load_in_4bit": False, "load_in_8bit": True},
}
_CUT = "axolotl.integrations.cut_cross_entropy.CutCrossEntropyPlugin"
_UNSAID = (Loss.CHUNKED, Loss.FLASH_CROSS_ENTROPY, Loss.COMPILED, Loss.TRANSFORMERS_4_48, Loss.TRANSFORMERS_4_45)
_LOSSES = {Loss.LIGER_FUSED_LINEAR: "liger_fused_linear_cross_entropy", Loss.LIGER_CROSS_ENTROPY: "liger_cross_entropy"}


def files(launch: Launch) -> dict[str, str]:
    """Returns the recipe, DeepSpeed's JSON where it is needed, and a script."""
    length = launch.request.sequence_length
    exact = f"planned for rows of exactly {length} tokens: shorter ones are padded, and their mask takes memory"
    remarks = [exact] if launch.request.batching is Batching.FULL else []
    made = {RECIPE: launch.yaml(_recipe(launch), *remarks)}
    if launch.backend is ShardingBackend.DEEPSPEED:
        made[DEEPSPEED] = deepspeed_json(launch)
    return {
        **made,
        SCRIPT: launch.script(f"axolotl train {RECIPE} --launcher torchrun -- --nproc_per_node={launch.ranks}"),
        REQUIREMENTS: requirements(launch, "axolotl==0.19.0"),
    }


def _recipe(launch: Launch) -> dict[str, Any]:
    request, plan = launch.request, launch.plan
    packed = request.batching is Batching.PACKED
    return {
        "base_model": launch.model,
        "attn_implementation": launch.attention(),
        "datasets": [{"path": launch.dataset or "tatsu-lab/alpaca", "type": "alpaca"}],
        "output_dir": "output",
        "sequence_len": request.sequence_length,
        "sample_packing": packed,
        "pad_to_sequence_len": packed or request.batching is Batching.FULL,
        "micro_batch_size": plan.micro_batch_size,
        "gradient_accumulation_steps": plan.gradient_accumulation_steps,
        "val_set_size": 0.05 if request.evaluation_batch_size else 0,
        "eval_batch_size": request.evaluation_batch_size,
        "num_epochs": 1,
        "learning_rate": 0.0002,
        **{"optimizer" if key == "optim" else key: value for key, value in trainer_optimizer(launch).items()},
        **_precision(launch),
        **_checkpointing(launch),
        **_kernels(launch),
        **_adapters(launch),
        **_engine(launch),
        "accelerator_config": synced(launch),
    }


def _precision(launch: Launch) -> dict[str, Any]:
    if launch.half is None:
        return {"bf16": False, "fp16": False, "tf32": launch.strategy.precision is Precision.TF32}
    return {"bf16": launch.half == "bf16", "fp16": launch.half == "fp16"}


def _checkpointing(launch: Launch) -> dict[str, Any]:
    choice = launch.strategy.checkpointing
    if choice is Checkpointing.NONE:
        return {"gradient_checkpointing": False}
    if choice is Checkpointing.OFFLOAD:
        return {"gradient_checkpointing": "offload"}
    if choice not in (Checkpointing.FULL, Checkpointing.FULL_REENTRANT, Checkpointing.SELECTIVE_MATMULS):
        raise launch.cannot_say(f"checkpointing {choice}")
    kwargs = {"use_reentrant": choice is Checkpointing.FULL_REENTRANT}
    said: dict[str, Any] = {"gradient_checkpointing": True, "gradient_checkpointing_kwargs": kwargs}
    if choice is not Checkpointing.SELECTIVE_MATMULS:
        return said
    if launch.strategy.finetuning is not Finetuning.FULL:
        raise launch.cannot_say(f"checkpointing {choice} with adapters, which change products that are kept")
    return {**said, SELECTIVE: {"save": list(KEPT_MATMULS), "save_sliding_window": True}}


def _kernels(launch: Launch) -> dict[str, Any]:
    kernels, loss = launch.strategy.kernels, launch.strategy.loss
    if kernels is Kernels.COMPILE or loss in _UNSAID:
        raise launch.cannot_say(f"kernels {kernels} with loss {loss}")
    liger, cuts = kernels is Kernels.LIGER, loss is Loss.CUT_CROSS_ENTROPY
    says: dict[str, Any] = {"plugins": [_CUT], "cut_cross_entropy": True} if cuts else {}
    if not liger and loss not in _LOSSES:
        return says
    names = ("liger_rope", "liger_rms_norm", "liger_glu_activation")
    plugins = ["axolotl.integrations.liger.LigerPlugin", *says.get("plugins", ())]
    losses = {name: loss is meant for meant, name in _LOSSES.items()}
    return {**says, "plugins": plugins, **dict.fromkeys(names, liger), **losses}


def _adapters(launch: Launch) -> dict[str, Any]:
    strategy = launch.strategy
    if strategy.finetuning is Finetuning.FULL:
        return {}
    if strategy.finetuning not in (Finetuning.LORA, Finetuning.QLORA):
        raise launch.cannot_say(f"finetuning {strategy.finetuning}")
    if strategy.quantization not in _QUANTIZED:
        raise launch.cannot_say(f"quantization {strategy.quantization}")
    assert strategy.lora_rank is not None
    targets = launch.targets()
    return {
        "adapter": "qlora" if strategy.quantization.is_nf4 else "lora",
        **_QUANTIZED[strategy.quantization],
        "lora_r": strategy.lora_rank,
        "lora_alpha": 2 * strategy.lora_rank,
        "lora_dropout": strategy.lora_dropout or 0.0,
        "lora_target_linear": True if targets is None else None,
        "lora_target_modules": targets,
        "lora_modules_to_save": launch.modules_to_save(),
        "peft_autocast_adapter_dtype": strategy.adapter_dtype is not AdapterDtype.WEIGHTS,
        # Its fused kernels, which it would switch on by itself, are not in the account.
        "lora_mlp_kernel": False,
        "lora_qkv_kernel": False,
        "lora_o_kernel": False,
        **{f"peft_use_{name}": True for variant, name in VARIANTS.items() if strategy.lora_variant is variant},
    }


def _engine(launch: Launch) -> dict[str, Any]:
    if launch.backend is None:
        return {}
    if launch.backend is ShardingBackend.DEEPSPEED:
        return {"deepspeed": DEEPSPEED}
    config = fsdp_config(launch)
    version = config.pop("fsdp_version")
    return {"fsdp_version": version, "fsdp_config": {key.removeprefix("fsdp_"): value for key, value in config.items()}}


TARGET = Target("axolotl", "axolotl 0.19: axolotl.yaml, run.sh", files, (RECIPE,), takes_exact_rows=True)
