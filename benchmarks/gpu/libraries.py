"""The layers and optimizers of libraries for which the planner has stand-ins: the real ones, where they are installed.

Everything here is called in the forked process of one case, which may change what it inherited.
"""

from __future__ import annotations

from functools import partial
from importlib.util import find_spec
from typing import Any

import torch
from gpu.forked import NotHereError

from planner.replay.backend import Backend
from planner.replay.real.run import SCALE, initialize
from planner.replay.setup.build import build, equip, half, head_of, is_quantized, linear_layers, place
from planner.replay.setup.optimizers import BUILDERS
from planner.replay.stand_ins import flash
from planner.replay.structure.parameter_roles import TrainedParameter
from planner.replay.structure.source import base_of
from planner.replay.structure.stacks import stacks
from strategies import Attention, Kernels, Lora, Loss, Optimizer, Precision, Quantization, Strategy, quantization_of


def check_libraries(strategy: Strategy) -> None:
    """Raises:
    NotHereError: what the strategy needs is not installed, or nothing here says how it is used.
    """
    for choice in _choices(strategy):
        if (package := PACKAGES.get(choice, "")) is None:
            raise NotHereError(f"the planner runs a stand-in for {choice}, which proves nothing when it runs for real")
        if package and find_spec(package) is None:
            raise NotHereError(f"{package} is not installed")


def uses_libraries(strategy: Strategy) -> bool:
    """Whether the planner would put a stand-in in the place of anything."""
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
    Quantization.AWQ: None,
    Precision.FP8_MIXED: "torchao",
    Attention.FLASH_2: "flash_attn",
    Attention.FLASH_3: "flash_attn_interface",
    Attention.FLEX: "torch",
    Kernels.LIGER: "liger_kernel",
    Loss.LIGER_FUSED_LINEAR: "liger_kernel",
    Loss.LIGER_CROSS_ENTROPY: "liger_kernel",
    Loss.CHUNKED: "trl",
    Optimizer.ADAMW_8BIT: "bitsandbytes",
    Optimizer.PAGED_ADAMW_8BIT: "bitsandbytes",
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
"""For what the planner has stand-ins, and the real one's package by the name of its import; None: not used here."""


def assembled(source: Any, strategy: Strategy, backend: Backend) -> Any:
    """The model as a training script has it, with small random weights on the device.

    Raises:
        NotHereError: what the strategy needs is not installed, or nothing here says how it is used.
    """
    check_libraries(strategy)
    _use_real_attention(strategy.attention)
    if strategy.optimizer.choice in _REAL_OPTIMIZERS:
        BUILDERS[strategy.optimizer.choice] = _REAL_OPTIMIZERS[strategy.optimizer.choice]
    plain = _plain(strategy)
    model = build(source, plain, backend)
    _patch_by_liger(model, strategy)
    if strategy.loss is Loss.CHUNKED:
        _fuse_by_trl(model)
    if is_quantized(strategy):
        named = plain._replace(finetuning=_named_targets(plain.finetuning, model))
        return _compiled(equip(_quantized(model, strategy, backend.device), named).train(), strategy)
    model = equip(model, plain)
    if strategy.precision is Precision.FP8_MIXED:
        from accelerate.utils import convert_model_to_fp8_ao

        convert_model_to_fp8_ao(model)
    model = place(_compiled(model, strategy), strategy, None, backend)
    initialize(model)
    return model


def _plain(strategy: Strategy) -> Strategy:
    """The strategy without what real libraries do here: the planner adds no stand-ins to it."""
    plain = strategy._replace(kernels=Kernels.EAGER, loss=Loss.FULL)
    if isinstance(strategy.finetuning, Lora):
        plain = plain._replace(finetuning=strategy.finetuning._replace(quantization=Quantization.NONE))
    if strategy.precision is Precision.FP8_MIXED:
        plain = plain._replace(precision=Precision.BF16_MIXED)
    return plain


def _named_targets(method: Any, model: Any) -> Any:
    """The adapters' targets by their paths, read before the layers are bitsandbytes'."""
    return method._replace(targets=tuple(linear_layers(model))) if isinstance(method.targets, str) else method


def _compiled(model: Any, strategy: Strategy) -> Any:
    """The model, its blocks compiled by torch.compile itself where they are."""
    for _, blocks in stacks(base_of(model)) if strategy.kernels is Kernels.COMPILE else ():
        for block in blocks:
            block.compile()
    return model


def _use_real_attention(attention: Attention) -> None:
    """Transformers calls these kernels by its own names (integrations/)."""
    names = {
        Attention.FLASH_2: "flash_attention_2",
        Attention.FLASH_3: "flash_attention_3",
        Attention.FLEX: "flex_attention",
    }
    if attention in names:
        flash.IMPLEMENTATIONS[attention] = names[attention]


def _patch_by_liger(model: Any, strategy: Strategy) -> None:
    """As Trainer calls it after the model is built (transformers/integrations/liger.py)."""
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


def _fuse_by_trl(model: Any) -> None:
    """SFTTrainer asks for the head's chunks at each call (trl/trainer/sft_trainer.py)."""
    from trl.trainer.utils import add_fused_lm_head

    add_fused_lm_head(model)
    model.forward = partial(model.forward, fused_lm_head=True)


# --- bitsandbytes ---


@torch.no_grad()
def _quantized(model: Any, strategy: Strategy, device: str) -> Any:
    """A model on the device whose linear layers are bitsandbytes', one quantized after the other as when it is loaded;
    the rest in fp32, as PEFT's `prepare_model_for_kbit_training` leaves it.
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
    return prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)


def _bitsandbytes(name: str, trained: list[TrainedParameter], facts: Any) -> torch.optim.Optimizer:
    """With 32 bits for embeddings, as Trainer registers them (transformers/trainer_optimizer.py)."""
    from bitsandbytes import optim

    manager = optim.GlobalOptimManager.get_instance()
    for embedding in (t.parameter for t in trained if t.role.is_embedding):
        manager.override_config(embedding, "optim_bits", 32)
    optimizer: torch.optim.Optimizer = getattr(optim, name)([t.parameter for t in trained], lr=1e-4)
    return optimizer


# --- torchao ---


def _torchao(name: str, trained: list[TrainedParameter], facts: Any) -> torch.optim.Optimizer:
    from torchao import optim

    optimizer: torch.optim.Optimizer = getattr(optim, name)([t.parameter for t in trained], lr=1e-4)
    return optimizer


def _offloaded(trained: list[TrainedParameter], facts: Any) -> torch.optim.Optimizer:
    from torchao.optim import CPUOffloadOptimizer

    optimizer: torch.optim.Optimizer = CPUOffloadOptimizer(
        [t.parameter for t in trained], torch.optim.AdamW, lr=1e-4, fused=True
    )
    return optimizer


_REAL_OPTIMIZERS = {
    Optimizer.ADAMW_8BIT: partial(_bitsandbytes, "AdamW8bit"),
    Optimizer.PAGED_ADAMW_8BIT: partial(_bitsandbytes, "PagedAdamW8bit"),
    Optimizer.LION: partial(_bitsandbytes, "Lion"),
    Optimizer.LION_8BIT: partial(_bitsandbytes, "Lion8bit"),
    Optimizer.ADAMW_8BIT_TORCHAO: partial(_torchao, "AdamW8bit"),
    Optimizer.ADAMW_4BIT: partial(_torchao, "AdamW4bit"),
    Optimizer.ADAMW_OFFLOAD: _offloaded,
}
"""Where the planner's own builder makes a stand-in."""
