"""Lists the changes of techniques that save memory, with what each costs the user.

A choice that is missing here is never advised: it saves nothing (`eager`), needs a checkpoint that somebody has
calibrated (GPTQ, AWQ), is another's equal (cut cross-entropy, where liger-kernel's loss has no logits either), or has
no switch in trainers of transformers (flash-attn's cross-entropy, a compiled loss).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from planner.advice.changes import Change
from planner.records.advice import Cost
from strategies import (
    AdapterDtype,
    Allocator,
    Attention,
    Checkpointing,
    Finetuning,
    GradientBuckets,
    GradientSync,
    Kernels,
    LoraVariant,
    Loss,
    Offload,
    Optimizer,
    Precision,
    Quantization,
    Sharding,
    ShardingBackend,
    Strategy,
    TrainedModules,
    UnquantizedDtype,
    Update,
)

_BITSANDBYTES, _LIGER, _TORCHAO = "bitsandbytes", "liger-kernel", "torchao"
_OTHER_OPTIMIZER = "another optimizer, whose learning rate has to be found anew"


def _flag(words: str, **options: Any) -> Change:
    return Change(options, words)


def _package(needs: str, words: str, but: str = "", **options: Any) -> Change:
    return Change(options, words, Cost.PACKAGE, needs, but)


def _method(words: str, but: str, needs: str = "", **options: Any) -> Change:
    return Change(options, words, Cost.METHOD, needs, but)


def _optimizer(optimizer: Optimizer, needs: str = "") -> Change:
    return _method(optimizer.value, _OTHER_OPTIMIZER, needs, optimizer=optimizer)


def _deepspeed(words: str, **options: Any) -> Change:
    return _package("deepspeed", words, sharding_backend=ShardingBackend.DEEPSPEED, **options)


_ON_HOST = "DeepSpeed with the optimizer on the host"
_TO_HOST = (
    _deepspeed(f"{_ON_HOST}, ZeRO-2", sharding=Sharding.SHARD_GRAD_OP, offload=Offload.OPTIMIZER),
    _deepspeed(f"{_ON_HOST}, ZeRO-3", sharding=Sharding.FULL_SHARD, offload=Offload.OPTIMIZER),
    _deepspeed("DeepSpeed's ZeRO-3 with all of it on the host", sharding=Sharding.FULL_SHARD, offload=Offload.CPU),
)
_FP32_COPIES = {"precision": Precision.BF16_MIXED, "optimizer": Optimizer.ADAMW}

UNROUNDED: tuple[Change, ...] = tuple(
    replace(change, options={**change.options, **_FP32_COPIES}) for change in _TO_HOST
)
"""Changes after which updates go to fp32 copies of 16-bit weights, for which the GPU needs no room."""

TECHNIQUES: tuple[Change, ...] = (
    _flag("expandable segments, which do not fragment", allocator=Allocator.EXPANDABLE),
    _flag("embeddings, norms and head left in bf16", unquantized_dtype=UnquantizedDtype.BF16),
    _flag("embeddings, norms and head left in fp16", unquantized_dtype=UnquantizedDtype.FP16),
    _flag("scales of NF4 quantized, too", quantization=Quantization.NF4_DOUBLE),
    _flag("fused attention", attention=Attention.SDPA),
    _flag("memory-efficient attention", attention=Attention.SDPA_EFFICIENT),
    _flag("flex attention", attention=Attention.FLEX),
    _flag("gradients as views of DDP's buckets", gradient_buckets=GradientBuckets.VIEWS),
    _flag("compiled blocks", kernels=Kernels.COMPILE),
    _flag("AdamW, fused", optimizer=Optimizer.ADAMW),
    _flag("mixed precision in bf16", precision=Precision.BF16_MIXED),
    _flag("mixed precision in fp16", precision=Precision.FP16_MIXED),
    _flag("every block checkpointed", checkpoint_every=1),
    _flag("checkpointing of every block", checkpointing=Checkpointing.FULL),
    _flag("selective checkpointing, products kept", checkpointing=Checkpointing.SELECTIVE_MATMULS),
    _flag(
        "selective checkpointing, every second product kept", checkpointing=Checkpointing.SELECTIVE_EVERY_SECOND_MATMUL
    ),
    _flag("checkpointing, the blocks' inputs on the host", checkpointing=Checkpointing.OFFLOAD),
    _flag("optimizer states sharded", sharding=Sharding.ZERO1),
    _flag("gradients and states sharded", sharding=Sharding.SHARD_GRAD_OP),
    _flag("the whole model sharded", sharding=Sharding.FULL_SHARD),
    _flag("sharded by FSDP2", sharding=Sharding.FULL_SHARD, sharding_backend=ShardingBackend.FSDP2),
    _flag("sharded by FSDP1", sharding=Sharding.FULL_SHARD, sharding_backend=ShardingBackend.FSDP1),
    _flag("gradients reduced in every micro-batch", gradient_sync=GradientSync.EACH),
    _flag("the optimizer step in the host's memory", offload=Offload.OPTIMIZER),
    _flag("shards and the optimizer step in the host's memory", offload=Offload.CPU),
    _flag("shards and the optimizer step in the host's memory", sharding=Sharding.FULL_SHARD, offload=Offload.CPU),
    _package(_LIGER, "liger-kernel's fused loss, without logits", loss=Loss.LIGER_FUSED_LINEAR),
    _package(_LIGER, "liger-kernel's cross-entropy, in place", loss=Loss.LIGER_CROSS_ENTROPY),
    _package("trl", "TRL's chunked loss, without logits", loss=Loss.CHUNKED),
    _package(_LIGER, "liger-kernel's norms, rotary embeddings and MLPs", kernels=Kernels.LIGER),
    _package("flash-attn", "flash attention 2", attention=Attention.FLASH_2),
    _package("flash-attn", "flash attention 3", attention=Attention.FLASH_3),
    _package(_BITSANDBYTES, "AdamW with 8-bit states", optimizer=Optimizer.ADAMW_8BIT),
    _package(_BITSANDBYTES, "AdamW with paged 8-bit states", optimizer=Optimizer.PAGED_ADAMW_8BIT),
    _package(_BITSANDBYTES, "AdamW with paged fp32 states", optimizer=Optimizer.PAGED_ADAMW_32BIT),
    _package(_TORCHAO, "torchao's AdamW with 8-bit states", optimizer=Optimizer.ADAMW_8BIT_TORCHAO),
    _package(_TORCHAO, "AdamW with states and step on the host", optimizer=Optimizer.ADAMW_OFFLOAD),
    _package(
        "torchtune (or a hook of your own)",
        "each parameter updated in backward",
        "gradients are neither clipped nor accumulated",
        update=Update.IN_BACKWARD,
    ),
    _deepspeed("DeepSpeed's ZeRO-3", sharding=Sharding.FULL_SHARD),
    *_TO_HOST,
    _method("weights in bf16", "small updates are rounded away", precision=Precision.BF16_TRUE),
    _method("linear layers in fp8", "products are rounded to fp8", _TORCHAO, precision=Precision.FP8_MIXED),
    _method("AdamW with 4-bit states", "states are rounded to 4 bits", _TORCHAO, optimizer=Optimizer.ADAMW_4BIT),
    _optimizer(Optimizer.ADAFACTOR),
    _optimizer(Optimizer.LION_8BIT, _BITSANDBYTES),
    _optimizer(Optimizer.LION, _BITSANDBYTES),
    _optimizer(Optimizer.MUON),
    _optimizer(Optimizer.ADAM_MINI, "adam-mini"),
    _optimizer(Optimizer.GALORE, "galore-torch"),
    _optimizer(Optimizer.APOLLO, "apollo-torch"),
    _optimizer(Optimizer.APOLLO_MINI, "apollo-torch"),
    _method("LoRA", "adapters alone train", finetuning=Finetuning.LORA),
    _method("QLoRA", "adapters alone train, over 4 bits", _BITSANDBYTES, finetuning=Finetuning.QLORA),
    _method("the last blocks alone train", "all others are frozen", finetuning=Finetuning.FREEZE),
    _method("adapters in the base's dtype", "their updates are rounded", adapter_dtype=AdapterDtype.WEIGHTS),
    _method("LoRA in place of DoRA", "no magnitudes", lora_variant=LoraVariant.LORA),
    _method("no dropout of adapters", "nothing is dropped", lora_dropout=0.0),
    _method("embeddings and head frozen", "they do not train", trained_modules=TrainedModules.NONE),
    _method("adapters of rank 8", "they can learn less", lora_rank=8),
    _method("one block alone trains", "all others are frozen", trained_blocks=1),
    _optimizer(Optimizer.SGD_MOMENTUM),
    _optimizer(Optimizer.SGD),
)
"""Every change of a technique that is advised, within each cost the most usual first."""

ON_ACTIVATIONS = frozenset({"loss", "attention", "kernels", "checkpointing", "checkpoint_every"})
"""Options on which nothing depends that stays between steps."""

_NUMBERS = ("lora_rank", "trained_blocks", "checkpoint_every", "lora_dropout")


def changes_from(values: Mapping[str, tuple[Any, ...]]) -> Iterator[Change]:
    """Yields the changes that lead out of a space.

    Args:
        values: Values of each option in the space; an option that applies to none of its strategies is left out.
    """
    for change in TECHNIQUES:
        if _is_less(change, values) and any(v not in values.get(n, ()) for n, v in change.options.items()):
            yield change


def values_of(strategies: Iterable[Strategy]) -> dict[str, tuple[object, ...]]:
    """Returns the values that options have in any strategy."""
    found: dict[str, dict[object, None]] = {}
    for strategy in strategies:
        for name, value in strategy.to_options().items():
            found.setdefault(name, {})[value] = None
    return {name: tuple(values) for name, values in found.items()}


def _is_less(change: Change, values: Mapping[str, tuple[Any, ...]]) -> bool:
    """Returns whether a number is smaller than all that are there; True for what is no number."""
    numbers = {name: value for name, value in change.options.items() if name in _NUMBERS}
    return all(values.get(name) and value < min(values[name]) for name, value in numbers.items())


def unusual(changes: Iterable[Change]) -> int:
    """Returns the place, among the changes of methods, of the least usual one; 0 where the method stays."""
    places = {change: place for place, change in enumerate(TECHNIQUES)}
    return max((places[change] for change in changes if change.cost is Cost.METHOD), default=0)


def is_slow_to_try(change: Change) -> bool:
    """Returns whether trying a change takes tens of milliseconds: ZeRO-3's prefetching is followed module by module."""
    options = change.options
    deepspeed = options.get("sharding_backend") is ShardingBackend.DEEPSPEED
    return deepspeed and options.get("sharding") is Sharding.FULL_SHARD
