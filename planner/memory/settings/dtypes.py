"""Which dtype each tensor has under a precision, a fine-tuning method and a sharding."""

from __future__ import annotations

from typing import NamedTuple

from strategies import AdapterDtype, DataParallel, Full, Lora, Method, Precision, Quantization, quantization_of

FP32, HALF = 4, 2


class Dtypes(NamedTuple):
    """Bytes per element during forward and backward; `stored_*` between steps, where FSDP2 keeps another dtype."""

    linear: int
    """Weights of linear layers; for quantized ones the dtype that they are computed in."""
    other: int
    """Embeddings, norms and the language-model head."""
    adapter: int
    trained: int
    """What trains of the model itself beside frozen parameters."""
    autocast: int | None
    half_is_fp16: bool
    """What two bytes are."""
    stored_linear: int
    stored_other: int
    stored_adapter: int
    stored_trained: int
    kept: int = FP32
    """Of linear layers that are kept in fp32 beside fp16 weights, and not quantized (`_keep_in_fp32_modules`)."""
    stored_kept: int = FP32
    fp8: bool = False
    """Whether linear layers multiply in fp8."""
    casts_inputs: bool = False
    """FSDP2 with mixed precision casts what its units are called with."""

    @property
    def kept_in_fp32(self) -> int:
        """Of weights that transformers keeps in fp32 whatever the precision, during forward and backward."""
        return self.other if self.other < self.stored_other else FP32

    @classmethod
    def of(cls, precision: Precision, method: Method, sharding: DataParallel) -> Dtypes:
        """The rules of Trainer, accelerate and PEFT.

        Full: weights in the trained dtype. LoRA: the base in the frozen dtype, copies of trained modules as well,
        adapters in fp32 (PEFT's `autocast_adapter_dtype`) or as the base. QLoRA: everything that is not quantized in
        fp32 (PEFT's `prepare_model_for_kbit_training`, which leaves a GPTQ model as it is). Freeze and BitFit: what
        trains in the trained dtype, the rest in the frozen one (LLaMA-Factory's adapter.py,
        `cast_trainable_params_to_fp32`). FSDP2 with mixed precision gathers parameters in the compute dtype and runs
        without autocast (accelerate's `_prepare_fsdp2`, `MixedPrecisionPolicy(param_dtype=...)`).
        """
        facts = precision.facts
        autocast, frozen, trained = facts.autocast_bytes, facts.frozen_bytes, facts.trained_bytes
        if isinstance(method, Full):
            stored = (trained, trained, trained, trained)
        elif not isinstance(method, Lora):
            stored = (frozen, frozen, frozen, trained)
        elif method.quantization is Quantization.NONE:
            stored = (frozen, frozen, FP32 if method.adapter_dtype is AdapterDtype.FP32 else frozen, frozen)
        elif method.quantization is Quantization.GPTQ:
            stored = (frozen, frozen, FP32, frozen)
        else:
            stored = (autocast or frozen, FP32, FP32, FP32)
        is_fp16 = facts.matmul_dtype == "fp16"
        prepared = quantization_of(method) not in (Quantization.NONE, Quantization.GPTQ)
        kept = FP32 if is_fp16 or prepared else stored[0]
        if sharding.shards and autocast is not None:
            return cls(
                autocast, autocast, autocast, autocast, None, is_fp16, *stored, autocast, kept, casts_inputs=True
            )
        return cls(*stored, autocast, is_fp16, *stored, kept, kept, facts.linear_dtype == "fp8")

    def of_trained(self) -> Dtypes:
        """Where all of a part trains."""
        computed, stored = self.trained, self.stored_trained
        return self._replace(linear=computed, other=computed, stored_linear=stored, stored_other=stored)
