"""Loads the model that train.yaml names, and says which of its parameters train."""

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    BitsAndBytesConfig,
)
from transformers.modeling_layers import GradientCheckpointingLayer

HERE = Path(__file__).parent
CLASSES = {
    "causal-lm": AutoModelForCausalLM,
    "sequence-classification": AutoModelForSequenceClassification,
    "token-classification": AutoModelForTokenClassification,
    "masked-lm": AutoModelForMaskedLM,
    "contrastive": AutoModel,  # and pairs.py
}
CLASSIFIERS = {"sequence-classification": "SEQ_CLS", "token-classification": "TOKEN_CLS"}
PEFT_TASKS = {"causal-lm": "CAUSAL_LM", **CLASSIFIERS}
"""PEFT's `task_type`; of a classifier it trains a copy of the head."""
HEADS = ("score", "classifier")
"""Names of classifiers' heads, which PEFT knows by them."""


@dataclass
class Run:
    """What train.yaml says beside TrainingArguments."""

    model_name_or_path: str | None = None
    config_file: str | None = None  # in place of a model: random weights of a config.json beside this script
    task: str = "causal-lm"  # see CLASSES
    num_labels: int | None = None  # of a classifier; by default those of the model's config
    pooling: str = "mean"  # of contrastive, or "cls"
    dtype: str = "float32"
    attn_implementation: str = "sdpa"
    compile_blocks: bool = False
    # data
    train_data: str | None = None
    eval_data: str | None = None
    sequence_length: int = 2048
    batching: str = (
        "full"  # samples joined and cut; "padded": one a row; "packed": several a row, apart from each other
    )
    # what trains
    use_peft: bool = False
    lora_r: int = 16
    lora_alpha: int = 32
    lora_dropout: float = 0.0
    lora_target_modules: list[str] | None = None
    use_rslora: bool = False
    use_dora: bool = False
    adapter_dtype: str = "float32"
    train_modules: list[str] | None = None  # "embeddings", "head": they train beside adapters or the last blocks
    train_last_blocks: int | None = None
    train_biases_only: bool = False
    trained_dtype: str = "float32"  # of the blocks or biases that train
    # bitsandbytes
    load_in_4bit: bool = False
    load_in_8bit: bool = False
    use_bnb_nested_quant: bool = False
    bnb_4bit_compute_dtype: str = "bfloat16"
    bnb_4bit_quant_storage: str = "uint8"
    prepare_for_kbit_training: bool = False  # what is not quantized becomes fp32


def prepare(run: Run) -> Any:
    """Returns the model that trains, its adapters and its compiled blocks included."""
    model = load(run)
    if run.use_peft:
        model = adapt(model, run)
    elif run.train_last_blocks or run.train_biases_only:
        freeze(model, run)
    if run.compile_blocks:
        for block in blocks(model):
            block.compile()
    if run.task == "contrastive":
        from pairs import Sentences

        return Sentences(model, run.pooling)
    return model


def load(run: Run) -> Any:
    """Returns the model, quantized where the run says so."""
    how = {"dtype": getattr(torch, run.dtype), "attn_implementation": run.attn_implementation}
    kind, quantized = CLASSES[run.task], quantization(run)
    labels = {} if run.num_labels is None else {"num_labels": run.num_labels}
    if run.config_file is None:
        model = kind.from_pretrained(run.model_name_or_path, quantization_config=quantized, **labels, **how)
    else:
        model = kind.from_config(AutoConfig.from_pretrained(HERE / run.config_file, **labels), **how)
        if quantized is not None:  # which happens while weights are read
            with TemporaryDirectory() as folder:
                model.save_pretrained(folder)
                model = kind.from_pretrained(folder, quantization_config=quantized, **how)
    model.config.use_cache = False
    if run.task != "causal-lm":
        # Its loss is a mean of the micro-batch, which Trainer has to divide by the accumulation.
        model.accepts_loss_kwargs = False
    return model


def quantization(run: Run) -> BitsAndBytesConfig | None:
    """Returns how bitsandbytes stores the linear layers; None if it does not."""
    if not (run.load_in_4bit or run.load_in_8bit):
        return None
    return BitsAndBytesConfig(
        load_in_4bit=run.load_in_4bit,
        load_in_8bit=run.load_in_8bit,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=run.use_bnb_nested_quant,
        bnb_4bit_compute_dtype=getattr(torch, run.bnb_4bit_compute_dtype),
        bnb_4bit_quant_storage=getattr(torch, run.bnb_4bit_quant_storage),
        # What is quantized cannot train; for other tasks, bitsandbytes leaves the head out by itself.
        llm_int8_skip_modules=list(HEADS) if run.task in CLASSIFIERS else None,
    )


def adapt(model: Any, run: Run) -> Any:
    """Returns the model with LoRA adapters, which alone train."""
    from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training

    if run.prepare_for_kbit_training:
        model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
    targets = run.lora_target_modules
    # PEFT finds a classifier's head by the task, for tokens only after "all-linear" has found it as well.
    whole = [*named_modules(model, run), *(heads(model) if run.task in CLASSIFIERS else ())]
    config = LoraConfig(
        task_type=PEFT_TASKS.get(run.task),
        r=run.lora_r,
        lora_alpha=run.lora_alpha,
        lora_dropout=run.lora_dropout,
        target_modules="all-linear" if targets in (None, "all-linear", ["all-linear"]) else targets,
        modules_to_save=[name.rpartition(".")[2] for name, m in model.named_modules() if m in whole] or None,
        use_rslora=run.use_rslora,
        use_dora=run.use_dora,
    )
    model = get_peft_model(model, config, autocast_adapter_dtype=run.adapter_dtype == "float32")
    for name, parameter in model.named_parameters():
        if ".lora_" in name and "magnitude" not in name:
            parameter.data = parameter.data.to(getattr(torch, run.adapter_dtype))
    return model


def freeze(model: Any, run: Run) -> None:
    """Freezes all but the last blocks and the named modules, or all but the biases."""
    model.requires_grad_(False)
    if run.train_biases_only:
        chosen = [p for name, p in model.named_parameters() if name.rpartition(".")[2] == "bias"]
    else:
        modules = [*blocks(model)[-run.train_last_blocks :], *named_modules(model, run)]
        chosen = [p for module in modules for p in module.parameters()]
    for parameter in chosen:
        parameter.requires_grad_(True)
        parameter.data = parameter.data.to(getattr(torch, run.trained_dtype))


def named_modules(model: Any, run: Run) -> list[Any]:
    """Returns the modules of `train_modules`."""
    named = {"embeddings": lambda: [model.get_input_embeddings()], "head": lambda: heads(model)}
    return [module for name in run.train_modules or () for module in named[name]()]


def heads(model: Any) -> list[Any]:
    """Returns the head: of a language model, or of a classifier."""
    head = model.get_output_embeddings()
    return [head] if head is not None else [getattr(model, name) for name in HEADS if hasattr(model, name)]


def blocks(model: Any) -> list[Any]:
    """Returns the model's blocks."""
    return [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]
