"""Says precision and the dtypes of adapters, from the dtype of the stored weights, autocast and who raises them."""

from __future__ import annotations

from collections.abc import Collection

from planner.readers.documents.reading import Place, Reading
from strategies import AdapterDtype, Finetuning, Precision, Sharding, ShardingBackend, UnquantizedDtype

MIXED = {"bf16": Precision.BF16_MIXED, "fp16": Precision.FP16_MIXED}
TRUE = {"bf16": Precision.BF16_TRUE, "fp16": Precision.FP16_TRUE}
RAISED_BY_ACCELERATE = (ShardingBackend.FSDP1, ShardingBackend.FSDP2)
"""Backends under which accelerate 1.15 makes what trains fp32: accelerator.py, utils/fsdp_utils.py."""


def read_precision(
    reading: Reading,
    autocast: str | None,
    place: Place | None,
    *,
    stored: str,
    raised_by: Collection[ShardingBackend] = RAISED_BY_ACCELERATE,
    tf32: bool = False,
    why: str = "",
) -> None:
    """Says the precision: which dtype what trains has, and in which it computes.

    Args:
        reading: What is read so far: fine-tuning, sharding and its backend.
        autocast: Dtype of autocast, bf16 or fp16; None without it.
        place: The key that says so.
        stored: Dtype in which trained weights are loaded: bf16, fp16 or fp32.
        raised_by: Backends that make trained weights fp32.
        tf32: Whether fp32 multiplies as TF32.
        why: Source of a default.
    """
    backend = reading.value("sharding_backend")
    is_full = reading.value("finetuning") is Finetuning.FULL
    if backend is ShardingBackend.DEEPSPEED:
        # runtime/bf16_optimizer.py, zero/: half-precision weights, fp32 masters and states apart
        for half in MIXED:
            if reading.value(f"deepspeed {half}"):
                autocast = half
        if reading.value("deepspeed bf16 masters") and autocast == "bf16":
            said = reading.said["deepspeed bf16 masters"]
            reading.say("precision", Precision.BF16_TRUE, said.place, "masters and states in bf16")
            return
        why = why or (f"{autocast} weights, fp32 masters and states apart" if autocast and is_full else "")
        stored = "fp32"
        if autocast is None and reading.value("sharding") is Sharding.FULL_SHARD:
            # runtime/zero/partition_parameters.py, `_set_dtype`, whatever dtype the checkpoint has
            why = "DeepSpeed 0.19's zero.Init: fp32, as neither bf16 nor fp16 is enabled"
    elif backend in raised_by and is_full and stored != "fp32":
        stored, why = "fp32", f"{backend}: what trains is raised to fp32"
    if autocast is None and stored in TRUE:
        reading.say("precision", TRUE[stored], place, why)
    elif autocast is None:
        reading.say("precision", Precision.TF32 if tf32 else Precision.FP32, place, why)
    elif is_full and stored == autocast:
        reading.say("precision", TRUE[autocast], place, why or "weights stay as they are loaded")
    else:
        reading.say("precision", MIXED[autocast], place, why)


def read_adapter_dtypes(reading: Reading, adapters: AdapterDtype, unquantized: UnquantizedDtype, why: str) -> None:
    """Says the dtypes of adapters and of what a quantized base leaves unquantized, for methods that have them."""
    method = reading.value("finetuning")
    if method in (Finetuning.LORA, Finetuning.QLORA):
        reading.say("adapter_dtype", adapters, why=why)
    if method is Finetuning.QLORA:
        reading.say("unquantized_dtype", unquantized, why=why)
