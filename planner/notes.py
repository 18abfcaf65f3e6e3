"""What a user should know about an answer: techniques left out, risks, approximations."""

from __future__ import annotations

from collections.abc import Sequence

from planner.memory.numerics import FP32, Numerics
from planner.question import Question
from strategies import Allocator, Attention, Finetuning, Precision, Strategy


def notes_for(question: Question, strategies: Sequence[Strategy]) -> tuple[str, ...]:
    """Notes on a request and the strategies that answer it."""
    model, request, gpu = question.model, question.request, question.cluster.gpu
    notes = list(model.notes)
    context = model.max_positions
    if context is not None and request.sequence_length > context:
        relative = model.usual_length is not None
        notes.append(
            f"{request.sequence_length} tokens are more than the {context} that {model.name} was trained with: "
            + ("relative positions go on." if relative else "rotary positions go on, quality needs RoPE scaling.")
        )
    lacking = [name for name, has in (("bf16", gpu.supports_bf16), ("fp16", gpu.supports_fp16)) if not has]
    if lacking:
        notes.append(f"{gpu.name} has no {' or '.join(lacking)}: precisions that need it are left out.")
    if not gpu.supports_flash_attention:
        notes.append(f"{gpu.name} has no flash attention: {_without_flash(model.groups_heads)}.")
    elif model.groups_heads and any(_attends_in_fp32(s) for s in strategies):
        notes.append(
            "sdpa in fp32 and tf32 (also qlora without autocast) runs the math kernel, since heads share keys and "
            "values: scores are written out, as with eager attention."
        )
    if not gpu.supports_bitsandbytes:
        notes.append(f"bitsandbytes does not run on {gpu.name}: qlora and adamw-8bit are left out.")
    full_bf16 = any(s.precision is Precision.BF16_TRUE and s.finetuning.method is Finetuning.FULL for s in strategies)
    if full_bf16:
        notes.append(
            "bf16-true keeps weights and optimizer states in bf16 (8 bits of precision): small updates are rounded "
            "away, which can stall training at low learning rates."
        )
    if any(s.sharding.shards for s in strategies):
        notes.append(
            "FSDP plans reduce gradients after every micro-batch (accelerate's sync_each_batch); without it, whole "
            "gradients stay on every GPU while accumulating."
        )
    if any(s.allocator is Allocator.EXPANDABLE for s in strategies):
        notes.append("plans run with PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True; without it, memory fragments.")
    if any(s.allocator is Allocator.NATIVE for s in strategies):
        notes.append("native segments fragment by what cannot be told in advance: reserved_bytes is a usual amount.")
    notes.append("tokens/s is an upper bound by a roofline.")
    return tuple(notes)


def _without_flash(groups_heads: bool | None) -> str:
    efficient = "sdpa runs the memory-efficient kernel"
    if groups_heads is None:
        return f"{efficient}, or the math kernel, which writes scores out, where heads share keys and values"
    if groups_heads:
        return "sdpa runs the math kernel, since heads share keys and values: scores are written out"
    return efficient


def _attends_in_fp32(strategy: Strategy) -> bool:
    numerics = Numerics.of(strategy.precision, strategy.finetuning, strategy.sharding)
    return strategy.attention is Attention.SDPA and (numerics.autocast or numerics.other) == FP32
