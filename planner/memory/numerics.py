"""Which dtype each tensor has under a precision, a fine-tuning method and a sharding."""

from __future__ import annotations

from typing import NamedTuple

from strategies import Finetuning, Method, Precision, Quantization, Sharding

FP32, HALF = 4, 2


class Numerics(NamedTuple):
    """Bytes per element during forward and backward; `stored_*` between steps, where FSDP2 keeps another dtype."""

    linear: int
    """Weights of linear layers; for quantized ones the dtype that they are computed in."""
    other: int
    """Embeddings, norms and the language-model head."""
    adapter: int
    autocast: int | None
    stored_linear: int
    stored_other: int
    stored_adapter: int
    kept: int = FP32
    """Of linear layers that are kept in fp32 beside fp16 weights, and not quantized (`_keep_in_fp32_modules`)."""
    stored_kept: int = FP32
    fp16: bool = False
    """Half precision is fp16, which some models treat in another way."""

    @property
    def casts_inputs(self) -> bool:
        """FSDP2 with mixed precision casts what its units are called with; it alone computes adapters in another dtype
        than it stores them in."""
        return self.adapter != self.stored_adapter

    def alike(self) -> Numerics:
        """The same for a model to which fp16 and bf16 are one."""
        return self._replace(kept=self.linear, stored_kept=self.stored_linear, fp16=False)

    @classmethod
    def of(cls, precision: Precision, method: Method, sharding: Sharding) -> Numerics:
        """The rules of Trainer, accelerate and PEFT.

        Full: weights in the trained dtype. LoRA: the base in the frozen dtype, adapters in fp32 (PEFT's
        `autocast_adapter_dtype`). QLoRA: everything that is not quantized in fp32
        (PEFT's `prepare_model_for_kbit_training`). FSDP2 with mixed precision gathers parameters in the compute dtype
        and runs without autocast (accelerate's `_prepare_fsdp2`, `MixedPrecisionPolicy(param_dtype=...)`).
        """
        facts = precision.facts
        autocast = facts.autocast_bytes
        if method.method is Finetuning.FULL:
            stored = (facts.trained_bytes, facts.trained_bytes, facts.trained_bytes)
        elif method.method is Finetuning.LORA:
            stored = (facts.frozen_bytes, facts.frozen_bytes, FP32)
        else:
            stored = (autocast or facts.frozen_bytes, FP32, FP32)
        fp16 = facts.matmul_dtype == "fp16"
        kept = FP32 if fp16 or method.method is Finetuning.QLORA else stored[0]
        if sharding.shards and autocast is not None:
            return cls(autocast, autocast, autocast, None, *stored, autocast, kept, fp16)
        return cls(*stored, autocast, *stored, kept, kept, fp16)


NF4_BLOCK = 64
"""Elements per scale (bitsandbytes `BitsAndBytesConfig`, QLoRA paper section 3)."""
NF4_SCALE_BLOCK = 256
"""Scales per second-level scale under double quantization (same)."""


NF4_TABLES = {Quantization.NF4: 512, Quantization.NF4_DOUBLE: 512 + 512 + 1024}
"""Bytes beside each NF4 tensor, in the allocator's blocks: NF4's 16 values in fp32; under double quantization also the
mean of the scales and the 256 values of a scale (bitsandbytes/functional.py, `get_4bit_type`, `quantize_blockwise`)."""


def quantized_bytes(elements: int, quantization: Quantization) -> int:
    """Bytes of an NF4 tensor with its scales: packed 4-bit values, absmax and, double-quantized, absmax of absmax."""
    scales = -(-elements // NF4_BLOCK)
    packed = -(-elements // 2)
    if quantization is Quantization.NF4:
        return packed + scales * FP32
    return packed + scales + -(-scales // NF4_SCALE_BLOCK) * FP32
