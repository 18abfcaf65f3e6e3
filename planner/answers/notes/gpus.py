"""Writes the notes on what a GPU lacks, and on what is assumed or not measured of it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from hardware import GPU
from hardware.names.unlisted import ASSUMED, memory_of
from hardware.sustained import BY_CAPABILITY
from planner.memory.settings.dtypes import FP32, Dtypes
from strategies import Attention, Strategy


def on_unlisted(gpu: GPU) -> Iterator[str]:
    """Yields a note on what is assumed of a card that is known by its memory alone."""
    if memory_of(gpu.name) is not None and gpu.source.startswith(ASSUMED):
        yield (
            f"{gpu.name} is no card of the catalog: all of it is taken as usable, of which drivers keep 1 to 8%, and "
            f"architecture ({gpu.architecture}, {gpu.compute_capability}), rates and links are those of "
            f"{gpu.source.removeprefix(ASSUMED)}, so that times are no more than a guess."
        )
        if (sold := re.fullmatch(r"([0-9.]+)GB", gpu.name)) is not None:
            yield (
                f"{gpu.name} is {sold[1]} x 1000^3 bytes, as the unit says; cards that are sold as {sold[1]} GB have "
                f"{sold[1]} GiB, of 1024^3 bytes: {sold[1]}GiB plans one."
            )


def on_dtypes(gpu: GPU) -> Iterator[str]:
    """Yields a note on the dtypes that a GPU does not have."""
    lacking = [name for name, has in (("bf16", gpu.supports_bf16), ("fp16", gpu.supports_fp16)) if not has]
    if lacking:
        yield f"{gpu.name} has no {' or '.join(lacking)}: precisions that need it are left out."


def on_attention(gpu: GPU, groups_heads: bool | None, strategies: Sequence[Strategy]) -> Iterator[str]:
    """Yields a note where SDPA cannot run its flash kernel, because of the GPU or of the dtype."""
    if not gpu.supports_flash_attention:
        yield f"{gpu.name} has no flash attention: {_without_flash(groups_heads)}."
    elif groups_heads and any(_attends_in_fp32(s) for s in strategies):
        yield (
            "sdpa in fp32 and tf32 (also qlora without autocast) runs the math kernel, since heads share keys and "
            "values: scores are written out, as with eager attention."
        )


def on_time(gpu: GPU) -> Iterator[str]:
    """Yields a note where little or nothing was measured of a GPU's speed."""
    if gpu.sustained.measured:
        return
    if gpu.compute_capability in BY_CAPABILITY:
        yield (
            f"rates of {gpu.name} are those of single products and kernels that others measured, or shares of peak as "
            "on an A100: few step times were compared: times are no more than a guess."
        )
    else:
        yield (
            f"no measured rates of {gpu.architecture} GPUs of compute capability {gpu.compute_capability}: times take "
            "the shares of peak of the nearest architecture that has some."
        )


def _without_flash(groups_heads: bool | None) -> str:
    """Says which SDPA kernel runs on a GPU without flash attention.

    Args:
        groups_heads: Whether several query heads share keys and values; None if that is not known.
    """
    efficient = "sdpa runs the memory-efficient kernel"
    if groups_heads is None:
        return f"{efficient}, or the math kernel, which writes scores out, where heads share keys and values"
    if groups_heads:
        return "sdpa runs the math kernel, since heads share keys and values: scores are written out"
    return efficient


def _attends_in_fp32(strategy: Strategy) -> bool:
    """Returns whether SDPA runs in fp32, which its flash kernel does not take."""
    dtypes = Dtypes.of(strategy.precision, strategy.finetuning, strategy.sharding)
    return strategy.attention is Attention.SDPA and (dtypes.autocast or dtypes.other) == FP32
