"""The set of strategies to search: some choices per axis, and their product."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

from hardware import Cluster
from strategies.attention import Attention
from strategies.checkpointing import Checkpointing
from strategies.finetuning import ALL_LINEAR, Finetuning, Full, Lora, LoraTargets, Method, Quantization
from strategies.framework import Framework
from strategies.kernels import Kernels
from strategies.loss import Loss
from strategies.optimizer import Optimizer
from strategies.precision import Precision
from strategies.sharding import Sharding
from strategies.strategy import Strategy

DEFAULT_LORA_RANK = 16
"""The rank of most recipes (PEFT's QLoRA examples, axolotl's, Unsloth's). Memory always prefers the smallest rank and
the fewest targets, so searching them would only find the weakest adapter: both are given, not searched."""


_LOW_RANK = (Optimizer.ADAMW,)
USUAL_OPTIMIZERS = {
    Finetuning.FULL: (Optimizer.ADAMW, Optimizer.ADAMW_8BIT, Optimizer.ADAFACTOR),
    Finetuning.LORA: _LOW_RANK,
    Finetuning.QLORA: _LOW_RANK,
}
"""Adapters are so small that nobody trades AdamW's states for memory."""


@dataclass(frozen=True, slots=True)
class Space:
    """Choices per axis. The defaults are what practitioners run; the rest must be asked for by name: plain SGD (does not
    train transformers well), eager attention and the foreach step (they only ever cost memory)."""

    precision: tuple[Precision, ...]
    optimizer: tuple[Optimizer, ...] = ()
    """Empty: `USUAL_OPTIMIZERS` of each method."""
    finetuning: tuple[Finetuning, ...] = tuple(Finetuning)
    lora_rank: tuple[int, ...] = (DEFAULT_LORA_RANK,)
    lora_targets: tuple[LoraTargets, ...] = (ALL_LINEAR,)
    quantization: tuple[Quantization, ...] = (Quantization.NF4, Quantization.NF4_DOUBLE)
    checkpointing: tuple[Checkpointing, ...] = tuple(Checkpointing)
    sharding: tuple[Sharding, ...] = tuple(Sharding)
    attention: tuple[Attention, ...] = (Attention.SDPA,)
    loss: tuple[Loss, ...] = tuple(Loss)
    kernels: tuple[Kernels, ...] = tuple(Kernels)
    framework: tuple[Framework, ...] = (Framework.TRANSFORMERS,)

    @classmethod
    def default(cls, cluster: Cluster) -> Space:
        """What makes sense on the cluster: bf16 where the GPU computes in it, else fp16 with loss scaling, and fp32 as
        the GPU has it; sharding where there are several GPUs; bitsandbytes where it runs."""
        gpu = cluster.gpu
        full = Precision.TF32 if gpu.supports_tf32 else Precision.FP32
        half = (Precision.BF16_MIXED, Precision.BF16_TRUE) if gpu.supports_bf16 else ()
        if not half and gpu.supports_fp16:
            half = (Precision.FP16_MIXED,)
        return cls(
            precision=(*half, full),
            sharding=tuple(Sharding) if cluster.world_size > 1 else (Sharding.NO_SHARD,),
        )

    def methods(self) -> Iterator[Method]:
        """Every fine-tuning method, with the options that belong to it."""
        for method in self.finetuning:
            if method is Finetuning.FULL:
                yield Full()
            else:
                wanted = self.quantization if method is Finetuning.QLORA else (Quantization.NONE,)
                for rank, targets, quantization in product(self.lora_rank, self.lora_targets, wanted):
                    if (quantization is Quantization.NONE) == (method is Finetuning.LORA):
                        yield Lora(rank, targets, quantization)

    def strategies(self) -> Iterator[Strategy]:
        for method in self.methods():
            optimizers = self.optimizer or USUAL_OPTIMIZERS[method.method]
            axes = (self.precision, optimizers, (method,), self.checkpointing, self.sharding)
            for choices in product(*axes, self.attention, self.loss, self.kernels, self.framework):
                yield Strategy(*choices)

    def valid(self, cluster: Cluster) -> tuple[list[Strategy], Counter[str]]:
        """The strategies that can run on the cluster, and how many cannot, by reason."""
        found: list[Strategy] = []
        rejected: Counter[str] = Counter()
        for strategy in self.strategies():
            obstacle = strategy.obstacle(cluster)
            if obstacle is None:
                found.append(strategy)
            else:
                rejected[obstacle] += 1
        return found, rejected
