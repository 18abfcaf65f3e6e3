"""Quantized bases are refused where their layers, or what wraps them, do not run."""

from __future__ import annotations

import pytest
from refusals import BF16, CATALOG, EVERY, NVIDIA, TWO_A100S, gpus_that_run, on, refused

from strategies import (
    PLAIN,
    Checkpointing,
    Checkpoints,
    Fsdp1,
    Fsdp2,
    Lora,
    LoraVariant,
    Optimizer,
    Precision,
    Quantization,
    Replicated,
    Sharding,
    UnquantizedDtype,
)

BY_BITSANDBYTES = [quantization for quantization in Quantization if quantization.by_bitsandbytes]
FROM_CHECKPOINT = [quantization for quantization in Quantization if quantization.from_checkpoint]


def test_fsdp1_has_no_gptq_but_autogptqs_and_no_reentrant_checkpoint_beside_blocks_without_one() -> None:
    gptq = PLAIN._replace(precision=Precision.FP16_MIXED, optimizer=Optimizer.ADAMW, sharding=Fsdp1())

    def told(quantization: Quantization, every: int = 1) -> str:
        checkpointing = Checkpoints(Checkpointing.FULL_REENTRANT, every)
        strategy = gptq._replace(finetuning=Lora(quantization=quantization), checkpointing=checkpointing)
        return refused(strategy, TWO_A100S)

    assert told(Quantization.GPTQ) == "gptq-4bit weights cannot be sharded by FSDP1"
    assert told(Quantization.GPTQ_TRITON) == ""
    assert "checkpoint_every 1" in told(Quantization.GPTQ_TRITON, every=2)


def test_autogptqs_kernel_multiplies_in_fp16() -> None:
    triton = BF16._replace(finetuning=Lora(quantization=Quantization.GPTQ_TRITON))
    reason = "AutoGPTQ's Triton kernel multiplies in fp16: it needs a precision in fp16"
    for precision in (Precision.BF16_MIXED, Precision.BF16_TRUE, Precision.FP32, Precision.TF32):
        assert refused(triton._replace(precision=precision), on("A100-40GB")) == reason
    for precision in (Precision.FP16_MIXED, Precision.FP16_TRUE):
        assert refused(triton._replace(precision=precision), on("A100-40GB")) == ""


def test_what_is_not_quantized_has_fp32_or_the_dtype_of_the_computation() -> None:
    def told(dtype: UnquantizedDtype, precision: Precision, quantization: Quantization) -> str:
        method = Lora(quantization=quantization, unquantized_dtype=dtype)
        return refused(BF16._replace(finetuning=method, precision=precision), on("A100-40GB"))

    other = "weights in fp16 that are not quantized go with a precision that computes in fp16"
    assert told(UnquantizedDtype.BF16, Precision.BF16_MIXED, Quantization.NF4) == ""
    assert told(UnquantizedDtype.BF16, Precision.BF16_TRUE, Quantization.INT8) == ""
    assert told(UnquantizedDtype.FP16, Precision.FP16_MIXED, Quantization.AWQ) == ""
    assert told(UnquantizedDtype.FP16, Precision.BF16_MIXED, Quantization.NF4) == other
    assert "PEFT prepares no GPTQ model" in told(UnquantizedDtype.BF16, Precision.BF16_MIXED, Quantization.GPTQ)
    assert told(UnquantizedDtype.FP32, Precision.BF16_MIXED, Quantization.GPTQ) == ""


@pytest.mark.parametrize("quantization", [*BY_BITSANDBYTES, *FROM_CHECKPOINT])
def test_of_quantized_bases_only_nf4_can_be_sharded(quantization: Quantization) -> None:
    strategy = PLAIN._replace(precision=Precision.FP16_MIXED, finetuning=Lora(quantization=quantization))
    kind = quantization.partition("-")[0].upper()
    told = "" if kind == "NF4" else f"{kind} weights cannot be sharded by FSDP2"
    assert refused(strategy._replace(sharding=Fsdp2()), TWO_A100S) == told
    assert refused(strategy, TWO_A100S) == ""
    assert refused(strategy._replace(sharding=Replicated(Sharding.ZERO1)), TWO_A100S) == ""
    assert refused(strategy._replace(finetuning=Lora(), sharding=Fsdp2()), TWO_A100S) == ""


@pytest.mark.parametrize("quantization", BY_BITSANDBYTES)
def test_bitsandbytes_layers_run_on_cuda_gaudi_and_newer_cdna(quantization: Quantization) -> None:
    without = {gpu.name for gpu in CATALOG.gpus if not gpu.supports_bitsandbytes}
    assert without == {CATALOG.get("MI100").name}
    method = Lora(quantization=quantization)
    assert gpus_that_run(finetuning=method) == EVERY - without
    assert refused(PLAIN._replace(finetuning=method), on("MI100")).startswith("bitsandbytes does not run on MI100")


@pytest.mark.parametrize("quantization", FROM_CHECKPOINT)
def test_gptqmodels_kernels_are_for_cuda(quantization: Quantization) -> None:
    method = Lora(quantization=quantization)
    assert gpus_that_run(finetuning=method, precision=Precision.FP16_TRUE) == NVIDIA
    reason = refused(PLAIN._replace(finetuning=method), on("Gaudi2"))
    assert reason == "GPTQModel's Triton kernels are for CUDA, not for Gaudi2"


@pytest.mark.parametrize(
    ("quantization", "reason"),
    [
        (Quantization.NONE, ""),
        (Quantization.NF4, ""),
        (Quantization.INT8, ""),
        (Quantization.GPTQ, "PEFT has no DoRA over GPTQ"),
        (Quantization.AWQ, "PEFT has no DoRA over AWQ"),
    ],
)
def test_peft_has_no_dora_over_gptq_and_awq(quantization: Quantization, reason: str) -> None:
    assert refused(BF16._replace(finetuning=Lora(quantization=quantization, variant=LoraVariant.DORA))) == reason
    assert refused(BF16._replace(finetuning=Lora(quantization=quantization, variant=LoraVariant.RSLORA))) == ""
