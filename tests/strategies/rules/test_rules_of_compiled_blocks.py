"""Compiled blocks are refused where they have no account."""

from __future__ import annotations

from typing import Any

import pytest
from refusals import BF16, on, refused

from strategies import (
    Attention,
    BitFit,
    Checkpointing,
    Checkpoints,
    Freeze,
    Kernels,
    Lora,
    LoraVariant,
    Precision,
    Quantization,
    Update,
)

COMPILED = BF16._replace(kernels=Kernels.COMPILE)
FLASH_ONLY = "compiled blocks have an account for SDPA's flash kernel alone: half precision, newer GPUs"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({}, ""),
        ({"precision": Precision.BF16_TRUE}, ""),
        ({"precision": Precision.FP16_MIXED}, ""),
        ({"precision": Precision.FP32}, FLASH_ONLY),
        ({"precision": Precision.TF32}, FLASH_ONLY),
        ({"attention": Attention.EAGER}, FLASH_ONLY),
        ({"attention": Attention.SDPA_EFFICIENT}, FLASH_ONLY),
        ({"attention": Attention.FLASH_2}, FLASH_ONLY),
        ({"checkpointing": Checkpoints(Checkpointing.FULL)}, ""),
        ({"checkpointing": Checkpoints(Checkpointing.FULL, 2)}, "of all blocks as a whole, or of none"),
        ({"checkpointing": Checkpoints(Checkpointing.OFFLOAD)}, "of all blocks as a whole, or of none"),
        ({"checkpointing": Checkpoints(Checkpointing.SELECTIVE_MATMULS)}, "of all blocks as a whole, or of none"),
        ({"update": Update.IN_BACKWARD}, "no account of updates in backward"),
        ({"finetuning": Lora()}, ""),
        ({"finetuning": Lora(variant=LoraVariant.DORA)}, "an account for plain LoRA without dropout"),
        ({"finetuning": Lora(variant=LoraVariant.RSLORA)}, "an account for plain LoRA without dropout"),
        ({"finetuning": Lora(dropout=0.1)}, "an account for plain LoRA without dropout"),
        ({"finetuning": Lora(quantization=Quantization.NF4)}, "no account of bitsandbytes' layers"),
        ({"finetuning": Lora(quantization=Quantization.GPTQ)}, "no account of GPTQModel's layers"),
        ({"finetuning": Freeze()}, "no account of freeze, where parts of a block train"),
        ({"finetuning": BitFit()}, "no account of bitfit, where parts of a block train"),
    ],
    ids=lambda x: " ".join(map(str, x.values())) if isinstance(x, dict) else "",
)
def test_compiled_blocks_are_refused_where_they_have_no_account(change: dict[str, Any], reason: str) -> None:
    found = refused(COMPILED._replace(**change))
    assert reason in found
    assert bool(found) == bool(reason)
    assert not refused(COMPILED._replace(**change, kernels=Kernels.EAGER))


def test_compiled_blocks_need_the_flash_kernel_of_newer_gpus() -> None:
    half = COMPILED._replace(precision=Precision.FP16_MIXED)
    assert refused(half, on("T4")) == FLASH_ONLY
    assert refused(half, on("MI300X")) == ""


def test_compiled_blocks_have_no_account_of_fp8() -> None:
    fp8 = COMPILED._replace(precision=Precision.FP8_MIXED)
    assert refused(fp8, on("H100")) == "compiled blocks have no account of products in fp8"
