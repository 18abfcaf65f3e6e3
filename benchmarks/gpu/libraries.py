"""Uses the real layers and optimizers of libraries for which the planner has stand-ins, if they are installed.

Everything here is called in the forked process of one case, which may change what it inherited.
"""

from __future__ import annotations

from functools import partial
from importlib.util import find_spec
from typing import Any

import torch
from gpu.forked import NotHereError
from gpu.optimizers import REAL_OPTIMIZERS

from planner.replay.backend import Backend
from planner.replay.engines import engine_of
from planner.replay.real.run import SCALE, initialize
from planner.replay.setup.build import build, equip, half, head_of, is_quantized, linear_layers
from planner.replay.setup.optimizers import BUILDERS
from planner.replay.stand_ins import flash
from planner.replay.structure.source import base_of
from planner.replay.structure.stacks import stacks
from strategies import Attention, Kernels, Lora, Loss, Optimizer, Precision, Quantization, Strategy, quantization_of


def check_libraries(strategy: Strategy) -> None:
    """Checks that the libraries that a strategy needs can be used.

    Raises:
        NotHereError: What the strategy needs is not installed, or this module does not know how to use it.
    """
    for choice in _choices(strategy):
        if (package := PACKAGES.get(choice, "")) is None:
            raise NotHereError(f"the planner runs a stand-in for {choice}, which proves nothing when it runs for real")
        if package and find_spec(package) is None:
            raise NotHereError(f"{package} is not installed")


def uses_libraries(strategy: Strategy) -> bool:
    """Returns whether the planner would use a stand-in for any choice of a strategy."""
    return any(choice in PACKAGES for choice in _choices(strategy))


def _choices(strategy: Strategy) -> tuple[Any, ...]:
    quantization = quantization_of(strategy.finetuning)
    return (
        quantization,
        strategy.precision,
        strategy.attention,
        strategy.kernels,
        strategy.loss,
        strategy.optimizer.choice,
    )


PACKAGES: dict[Any, str | None] = {
    Quantization.NF4: "bitsandbytes",
    Quantization.NF4_DOUBLE: "bitsandbytes",
    Quantization.INT8: "bitsandbytes",
    Quantization.GPTQ: None,
    Quantization.GPTQ_TRITON: None,
    Quantization.AWQ: None,
    Precision.FP8_MIXED: "torchao",
    Attention.FLASH_2: "flash_attn",
    Attention.FLASH_3: "flash_attn_interface",
    Attention.FLEX: "torch",
    Kernels.LIGER: "liger_kernel",
    Loss.LIGER_FUSED_LINEAR: "liger_kernel",
    Loss.LIGER_CROSS_ENTROPY: "liger_kernel",
    Loss.FLASH_CROSS_ENTROPY: "flash_attn",
    Loss.COMPILED: "torch",
    Loss.CHUNKED: "trl",
    Optimizer.ADAMW_8BIT: "bitsandbytes",
    Optimizer.PAGED_ADAMW_8BIT: "bitsandbytes",
    Optimizer.PAGED_ADAMW_32BIT: "bitsandbytes",
    Optimizer.LION: "bitsandbytes",
    Optimizer.LION_8BIT: "bitsandbytes",
    Optimizer.ADAMW_8BIT_TORCHAO: "torchao",
    Optimizer.ADAMW_4BIT: "torchao",
    Optimizer.ADAMW_OFFLOAD: "torchao",
    Optimizer.ADAMW_FP32_MASTER: None,
    Optimizer.ADAM_MINI: None,
    Optimizer.GALORE: None,
    Optimizer.APOLLO: None,
    Optimizer.APOLLO_MINI: None,
}
"""Choices for which the planner has stand-ins, each with the module of the real one; None if it is not used here."""


def assembled(source: Any, strategy: Strategy, backend: Backend) -> Any:
    """Builds the model as a training script does, with small random weights on the device.

    Raises:
        NotHereError: What the strategy needs is not installed, or this module does not know how to use it.
    """
    check_libraries(strategy)
    _use_real_attention(strategy.attention)
    if strategy.optimizer.choice in REAL_OPTIMIZERS:
        BUILDERS[strategy.optimizer.choice] = REAL_OPTIMIZERS[strategy.optimizer.choice]
    plain = _plain(strategy)
    model = build(source, plain, backend)
    _patch_by_liger(model, strategy)
    if strategy.loss is Loss.FLASH_CROSS_ENTROPY:
        model.loss_function = _by_flash_attn
    if strategy.loss is Loss.COMPILED:
        model.loss_function = torch.compile(model.loss_function)
    if strategy.loss is Loss.CHUNKED:
        _fuse_by_trl(model)
    if is_quantized(strategy):
        named = plain._replace(finetuning=_named_targets(plain.finetuning, model))
        return _compiled(equip(_quantized(model, strategy, backend.device), named).train(), strategy)
    model = equip(model, plain)
    if strategy.precision is Precision.FP8_MIXED:
        from accelerate.utils import convert_model_to_fp8_ao

        convert_model_to_fp8_ao(model)
    model = engine_of(strategy, 1).place(_compiled(model, strategy), backend)
    initialize(model)
    return model


def _plain(strategy: Strategy) -> Strategy:
    """Returns the strategy without what real libraries do here, so that the planner adds no stand-ins for it."""
    plain = strategy._replace(kernels=Kernels.EAGER, loss=Loss.FULL)
    if isinstance(strategy.finetuning, Lora):
        plain = plain._replace(finetuning=strategy.finetuning._replace(quantization=Quantization.NONE))
    if strategy.precision is Precision.FP8_MIXED:
        plain = plain._replace(precision=Precision.BF16_MIXED)
    return plain


def _named_targets(method: Any, model: Any) -> Any:
    """Returns the method with LoRA targets by path, which are read before bitsandbytes replaces the layers."""
    return method._replace(targets=tuple(linear_layers(model))) if isinstance(method.targets, str) else method


def _compiled(model: Any, strategy: Strategy) -> Any:
    """Returns the model, with its blocks compiled by the real torch.compile if the strategy compiles them."""
    for _, blocks in stacks(base_of(model)) if strategy.kernels is Kernels.COMPILE else ():
        for block in blocks:
            block.compile()
    return model


def _use_real_attention(attention: Attention) -> None:
    """Makes attention use the real kernels, under the names that transformers gives them (integrations/)."""
    names = {
        Attention.FLASH_2: "flash_attention_2",
        Attention.FLASH_3: "flash_attention_3",
        Attention.FLEX: "flex_attention",
    }
    if attention in names:
        flash.IMPLEMENTATIONS[attention] = names[attention]


def _patch_by_liger(model: Any, strategy: Strategy) -> None:
    """Applies liger-kernel as Trainer does after the model is built (transformers/integrations/liger.py)."""
    fused, loss = strategy.kernels is Kernels.LIGER, strategy.loss
    if not fused and loss not in (Loss.LIGER_FUSED_LINEAR, Loss.LIGER_CROSS_ENTROPY):
        return
    from liger_kernel.transformers import _apply_liger_kernel_to_instance

    _apply_liger_kernel_to_instance(
        model=model,
        **dict.fromkeys(("rope", "rms_norm", "swiglu", "geglu"), fused),
        fused_linear_cross_entropy=loss is Loss.LIGER_FUSED_LINEAR,
        cross_entropy=loss is Loss.LIGER_CROSS_ENTROPY,
    )


def _by_flash_attn(logits: torch.Tensor, labels: torch.Tensor, vocab_size: int, **kwargs: Any) -> torch.Tensor:
    """Computes flash-attn's loss on shifted labels, as the planner's stand-in does."""
    from flash_attn.losses.cross_entropy import CrossEntropyLoss

    labels = torch.nn.functional.pad(labels, (0, 1), value=-100)
    shifted = labels[..., 1:].contiguous()
    loss: torch.Tensor = CrossEntropyLoss()(logits.view(-1, vocab_size), shifted.view(-1))
    return loss


def _fuse_by_trl(model: Any) -> None:
    """Uses TRL's chunked head, which SFTTrainer requests at each call (trl/trainer/sft_trainer.py)."""
    from trl.trainer.utils import add_fused_lm_head

    add_fused_lm_head(model)
    model.forward = partial(model.forward, fused_lm_head=True)


# --- bitsandbytes ---


@torch.no_grad()
def _quantized(model: Any, strategy: Strategy, device: str) -> Any:
    """Returns the model on the device with linear layers of bitsandbytes.

    They are quantized one after the other, as when a model is loaded. The rest is in fp32 if PEFT prepares the model
    (`prepare_model_for_kbit_training`), else in the dtype of the computation.
    """
    import bitsandbytes
    from peft import prepare_model_for_kbit_training
    from transformers import BitsAndBytesConfig
    from transformers.integrations import replace_with_bnb_linear

    compute, quantization = half(strategy.precision), strategy.finetuning.quantization
    settings = BitsAndBytesConfig(
        load_in_8bit=quantization is Quantization.INT8,
        load_in_4bit=quantization is not Quantization.INT8,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_compute_dtype=compute,
        bnb_4bit_use_double_quant=quantization is Quantization.NF4_DOUBLE,
        bnb_4bit_quant_storage=compute if strategy.sharding.shards else torch.uint8,
    )
    head = head_of(model)
    names = [path for path, module in model.named_modules() if module is head]
    replace_with_bnb_linear(model, names, settings)
    torch.manual_seed(0)
    for module in model.modules():
        quantizes = isinstance(module, bitsandbytes.nn.Linear4bit | bitsandbytes.nn.Linear8bitLt)
        for name, parameter in list(module._parameters.items()):
            if parameter is None or not parameter.is_meta:
                continue
            value = torch.empty(parameter.shape, dtype=compute, device=device).normal_(0.0, SCALE)
            if quantizes and name == "weight":
                kept = {key: item for key, item in vars(parameter).items() if key not in ("quant_state", "CB", "SCB")}
                made = type(parameter)(value.cpu() if device == "cuda" else value, requires_grad=False)
                vars(made).update(kept)
                module._parameters[name] = made.to(device)
            else:
                module._parameters[name] = torch.nn.Parameter(value, requires_grad=False)
        for name, buffer in list(module._buffers.items()):
            if buffer is not None:
                module._buffers[name] = torch.zeros_like(buffer, device=device)
    model.tie_weights()
    setattr(model, "is_loaded_in_8bit" if quantization is Quantization.INT8 else "is_loaded_in_4bit", True)
    if not strategy.finetuning.is_prepared:
        return model
    return prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
