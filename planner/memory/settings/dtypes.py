"""Says which dtype each tensor has under a precision, a fine-tuning method and a sharding."""

from typing import NamedTuple

from strategies import (
    AdapterDtype,
    DataParallel,
    Fsdp1,
    Full,
    FullySharded,
    Lora,
    Method,
    Precision,
    Quantization,
    ShardingBackend,
    raises_trained,
)

FP32, HALF = 4, 2


class Dtypes(NamedTuple):
    """Holds bytes per element of a model's parameters, in forward and backward and between steps.

    The fields `stored_*` apply between steps: FSDP2 can store another dtype than it gathers for forward and backward.
    """

    linear: int
    """Weights of linear layers. For quantized ones this is the dtype that they are computed in."""
    other: int
    """Embeddings, norms and the language-model head."""
    adapter: int
    """Weights of LoRA adapters."""
    trained: int
    """Parameters of the model itself that train while others are frozen."""
    autocast: int | None
    """The dtype that autocast casts to; None without autocast."""
    half_is_fp16: bool
    """Whether the dtype of two bytes is fp16 instead of bf16."""
    stored_linear: int
    stored_other: int
    stored_adapter: int
    stored_trained: int
    kept: int = FP32
    """Linear layers of `_keep_in_fp32_modules`: in fp32 when the others are in fp16 or quantized; never quantized."""
    stored_kept: int = FP32
    fp8: bool = False
    """Whether linear layers multiply in fp8."""
    casts_inputs: bool = False
    """Whether FSDP2, with mixed precision, casts the inputs of its units; FSDP1 casts the model's alone
    (torch/distributed/fsdp/api.py, `MixedPrecision.cast_forward_inputs`)."""
    adapters_apart: bool = False
    """Whether adapters are units of FSDP1 of their own, so that PEFT sees their stored dtype around their forward."""
    adapters_stay: bool = False
    """Whether these stay gathered until backward, so that PEFT sees what was gathered in a recomputation."""

    casts_all: bool = False
    """Whether weights that transformers always keeps in fp32 are cast as well."""

    @property
    def kept_in_fp32(self) -> int:
        """Returns bytes per element, in forward and backward, of weights that transformers always keeps in fp32."""
        return self.other if self.casts_all or self.other < self.stored_other else FP32

    @classmethod
    def of(cls, precision: Precision, method: Method, sharding: DataParallel) -> "Dtypes":
        """Applies the rules of Trainer, accelerate and PEFT.

        - Full fine-tuning: all weights are in the trained dtype of the precision.
        - LoRA: the base and the copies of trained modules are in the frozen dtype, adapters in fp32 (PEFT's
          `autocast_adapter_dtype`) or as the base.
        - QLoRA: what is not quantized is in fp32 if PEFT prepares the model (`prepare_model_for_kbit_training`, which
          leaves a GPTQ model as it is), else as it is loaded; adapters are in fp32 or in the dtype it is loaded in.
        - Freeze and BitFit: trained parameters are in the trained dtype, all others in the frozen one (LLaMA-Factory's
          adapter.py, `cast_trainable_params_to_fp32`).
        - FSDP1 and FSDP2 with mixed precision gather parameters in the compute dtype (accelerate's
          `MixedPrecision(param_dtype=...)`); FSDP2 runs without autocast (`_prepare_fsdp2`). What trains is stored in
          fp32, whatever dtype it was made in (`raises_trained`).
        - DeepSpeed casts every parameter to half precision, adapters too, and runs without autocast
          (deepspeed/runtime/engine.py, `_cast_module_mixed_precision`); its fp32 masters are counted with the states.
        """
        facts = precision.facts
        if sharding.backend is ShardingBackend.DEEPSPEED:
            whole, is_fp16 = FP32 if facts.matmul_dtype in ("fp32", "tf32") else HALF, facts.matmul_dtype == "fp16"
            fp8 = facts.linear_dtype == "fp8"
            return cls(*(whole,) * 4, None, is_fp16, *(whole,) * 6, fp8, casts_all=True)
        autocast, frozen, trained = facts.autocast_bytes, facts.frozen_bytes, facts.trained_bytes
        if isinstance(method, Full):
            stored = (trained, trained, trained, trained)
        elif not isinstance(method, Lora):
            stored = (frozen, frozen, frozen, trained)
        else:
            as_loaded = method.quantization is Quantization.NONE or method.quantization.is_gptq
            adapter = FP32 if method.adapter_dtype is AdapterDtype.FP32 else frozen
            other = FP32 if method.is_prepared else frozen
            raised = raises_trained(precision, method, sharding)
            linear = frozen if as_loaded else autocast or frozen
            stored = (linear, other, FP32 if raised else adapter, FP32 if raised else other)
        is_fp16 = facts.matmul_dtype == "fp16"
        prepared = isinstance(method, Lora) and method.is_prepared
        kept = FP32 if is_fp16 or prepared else stored[0]
        apart = isinstance(sharding, Fsdp1)
        if isinstance(sharding, FullySharded) and autocast is not None:
            return cls(
                *(autocast,) * 4,
                autocast if apart else None,
                is_fp16,
                *stored,
                autocast,
                kept,
                casts_inputs=not apart,
                adapters_apart=apart,
                adapters_stay=apart and not sharding.reshards,
            )
        fp8 = facts.linear_dtype == "fp8"
        return cls(*stored, autocast, is_fp16, *stored, kept, kept, fp8, adapters_apart=apart)

    def of_trained(self) -> "Dtypes":
        """Returns the dtypes of a part in which every parameter trains."""
        computed, stored = self.trained, self.stored_trained
        return self._replace(linear=computed, other=computed, stored_linear=stored, stored_other=stored)
