"""Says what scripts of this package do with any trainer: model, adapters, quantization, data."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib import resources
from typing import Any

from planner.exporting.launch import Launch
from planner.exporting.shared import packages
from planner.readers.exported.run import LIGER
from strategies import (
    AdapterDtype,
    ExpertQuantization,
    Finetuning,
    Kernels,
    LoraVariant,
    Loss,
    Optimizer,
    Precision,
    Quantization,
    ShardingBackend,
    Task,
    TrainedModules,
    UnquantizedDtype,
)

RECIPE, PROGRAM, CONFIG, PREDICTED = "train.yaml", "train.py", "config.json", "predicted.json"
DATA, PAIRS = "data.py", "pairs.py"
HELPERS = ("model.py", "reading.py", "measure.py", "leaving.py")
TASKS = (
    Task.CAUSAL_LM,
    Task.SEQUENCE_CLASSIFICATION,
    Task.TOKEN_CLASSIFICATION,
    Task.MASKED_LM,
    Task.CONTRASTIVE,
)
"""What the scripts train; scripts/model.py has the classes."""
_FOUR_BITS = (Quantization.NF4, Quantization.NF4_DOUBLE)
LONG = {"bf16": "bfloat16", "fp16": "float16", None: "float32"}
"""torch's names of dtypes; None is none of both."""


def scripts(launch: Launch, main: str, others: Sequence[str] = ()) -> dict[str, str]:
    """Returns train.py, which is the script `main`, what it imports, the predictions, and what random weights need."""
    decoder, pairs = task_of(launch) is Task.CAUSAL_LM, task_of(launch) is Task.CONTRASTIVE
    sources = {PROGRAM: main, DATA: DATA if decoder else "data_encoders.py"}
    sources |= {name: name for name in (*HELPERS, *others, *((PAIRS,) if pairs else ()))}
    made = {name: _script(launch, source) for name, source in sources.items()}
    if launch.random_weights:
        made[CONFIG] = json.dumps(launch.described.source, indent=2) + "\n"
    return {**made, PREDICTED: _predicted(launch)}


def _script(launch: Launch, name: str) -> str:
    return launch.comment() + resources.files("planner.exporting").joinpath("scripts", name).read_text()


def _predicted(launch: Launch) -> str:
    """Returns what the plan predicts, for the script to write beside what it measures."""
    plan = launch.plan
    said = {
        "model": launch.request.model,
        "gpu": launch.request.gpu,
        "gpus": launch.ranks,
        "global_batch_size": plan.global_batch_size,
        "allocated_bytes": plan.memory.allocated_bytes,
        "reserved_bytes": plan.memory.reserved_bytes,
        "process_bytes": plan.memory.process_bytes,
        "torch": packages.TORCH.partition("==")[2],
        "step_seconds": plan.time.step_seconds,
        "step_seconds_low": plan.time.step_seconds_low,
        "step_seconds_high": plan.time.step_seconds_high,
    }
    return json.dumps(said, indent=2) + "\n"


def run(launch: Launch) -> dict[str, Any]:
    """Returns the keys of `Run` in scripts/model.py; raises ExportError for what it cannot say."""
    request = launch.request
    return {
        **_model(launch),
        **_task(launch),
        "attn_implementation": launch.attention(),
        "compile_blocks": launch.strategy.kernels is Kernels.COMPILE,
        "train_data": launch.dataset,
        "eval_data": launch.dataset if request.evaluation_batch_size else None,
        "sequence_length": request.sequence_length,
        "batching": request.batching.value,
        "dtype": _stored(launch),
        **_finetuning(launch),
    }


def task_of(launch: Launch) -> Task:
    """Returns what the model is trained to do."""
    return launch.request.task or Task.CAUSAL_LM


def _task(launch: Launch) -> dict[str, Any]:
    """Returns the keys of another task than a decoder's, which are the defaults of the script."""
    task, architecture = task_of(launch), launch.described.architecture
    if task is Task.CAUSAL_LM:
        return {}
    strategy = launch.strategy
    partly = strategy.finetuning in (Finetuning.FREEZE, Finetuning.BITFIT)
    if task.facts.peft is not None and partly and not (strategy.trained_modules or TrainedModules.NONE).head:
        trains = " --trained-modules head" if strategy.finetuning is Finetuning.FREEZE else ""
        raise launch.cannot_say(
            f"finetuning {strategy.finetuning} of a classifier with a frozen head, which is new",
            f"--finetuning {'freeze' if trains else 'lora'}{trains}, by which the head trains",
        )
    if task is not Task.CONTRASTIVE:
        return {"task": task.value}
    return {"task": task.value, "pooling": getattr(architecture, "pooling_mode", "mean")}


def _model(launch: Launch) -> dict[str, Any]:
    return {"config_file": CONFIG} if launch.random_weights else {"model_name_or_path": launch.model}


def autocast(launch: Launch) -> str | None:
    """Returns the dtype of autocast; None without it."""
    precision = launch.strategy.precision
    if precision is Precision.FP8_MIXED:
        raise launch.cannot_say("precision fp8-mixed")
    # DeepSpeed computes in half precision in either case.
    mixed = precision in (Precision.BF16_MIXED, Precision.FP16_MIXED) or launch.backend is ShardingBackend.DEEPSPEED
    return launch.half if mixed else None


def _stored(launch: Launch) -> str:
    """Returns the dtype of loading, in which what is frozen stays."""
    is_half = launch.strategy.finetuning is not Finetuning.FULL or autocast(launch) is None
    return LONG[launch.half if is_half or launch.backend is ShardingBackend.DEEPSPEED else None]


def _finetuning(launch: Launch) -> dict[str, Any]:
    strategy = launch.strategy
    if strategy.finetuning is Finetuning.FULL:
        return {"use_peft": False}
    if strategy.finetuning in (Finetuning.FREEZE, Finetuning.BITFIT):
        return {
            "train_last_blocks": strategy.trained_blocks,
            "train_modules": _modules(launch),
            "train_biases_only": strategy.finetuning is Finetuning.BITFIT,
            "trained_dtype": "float32" if autocast(launch) else LONG[launch.half],
        }
    if strategy.quantization not in (Quantization.NONE, *_FOUR_BITS, Quantization.INT8):
        raise launch.cannot_say(f"quantization {strategy.quantization}")
    assert strategy.lora_rank is not None
    halved = strategy.adapter_dtype is AdapterDtype.WEIGHTS
    return {
        "use_peft": True,
        "lora_r": strategy.lora_rank,
        "lora_alpha": 2 * strategy.lora_rank,
        "lora_dropout": strategy.lora_dropout or 0.0,
        "lora_target_modules": launch.targets() or "all-linear",
        "train_modules": _modules(launch),
        "use_dora": strategy.lora_variant is LoraVariant.DORA,
        "use_rslora": strategy.lora_variant is LoraVariant.RSLORA,
        "adapter_dtype": LONG[launch.half if halved else None],
        **_quantization(launch),
    }


def _quantization(launch: Launch) -> dict[str, Any]:
    strategy = launch.strategy
    quantization = strategy.quantization
    if quantization is Quantization.NONE:
        return {}
    if strategy.expert_quantization is ExpertQuantization.SAME:
        raise launch.cannot_say("expert-quantization same", "transformers 5 quantizes linear layers alone")
    four = quantization in _FOUR_BITS
    computed = LONG[launch.half]
    return {
        "load_in_4bit": four,
        "load_in_8bit": not four,
        "use_bnb_nested_quant": quantization is Quantization.NF4_DOUBLE,
        "bnb_4bit_compute_dtype": computed if four else None,
        # bitsandbytes' own storage, bytes, is not divided.
        "bnb_4bit_quant_storage": (computed if launch.backend else "uint8") if four else None,
        "prepare_for_kbit_training": strategy.unquantized_dtype is UnquantizedDtype.FP32,
    }


def _modules(launch: Launch) -> list[str] | None:
    which = launch.strategy.trained_modules or TrainedModules.NONE
    return [*(["embeddings"] if which.embeddings else ()), *(["head"] if which.head else ())] or None


def liger(launch: Launch) -> dict[str, bool] | None:
    """Returns which of liger-kernel's kernels run, by its own names; None for none."""
    kernels, loss = launch.strategy.kernels, launch.strategy.loss
    if loss is Loss.CHUNKED:
        raise launch.cannot_say("loss chunked, which is TRL's", "--loss liger-fused-linear, or --to trl")
    if loss in (Loss.FLASH_CROSS_ENTROPY, Loss.COMPILED):
        raise launch.cannot_say(f"loss {loss}", "--loss liger-fused-linear")
    if loss.is_earlier:
        raise launch.cannot_say(f"loss {loss}, which today's transformers does not compute", "--loss full")
    if loss is Loss.CUT_CROSS_ENTROPY:
        raise launch.cannot_say("loss cut-cross-entropy", "--loss liger-fused-linear, or --to axolotl")
    if kernels is not Kernels.LIGER and loss is Loss.FULL:
        return None
    return {
        "cross_entropy": loss is Loss.LIGER_CROSS_ENTROPY,
        "fused_linear_cross_entropy": loss is Loss.LIGER_FUSED_LINEAR,
        **dict.fromkeys(LIGER, kernels is Kernels.LIGER),
    }


def learning_rate(launch: Launch) -> float:
    """Returns a usual rate; for random weights one with which the loss falls within a few steps."""
    adapted = launch.strategy.finetuning in (Finetuning.LORA, Finetuning.QLORA)
    if launch.random_weights and launch.strategy.optimizer in (Optimizer.SGD, Optimizer.SGD_MOMENTUM):
        return 0.1
    if launch.random_weights:
        return 0.01 if adapted else 0.001
    return 0.0002 if adapted else 0.00002
