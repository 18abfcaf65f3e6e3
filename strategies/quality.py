"""Says which choices put the quality of the training at risk, which neither memory nor time shows.

A search prefers plans without such choices, whatever its objective. A choice that a user asks for by name, as the only
value of its option, is the user's own and does not count.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from hardware import GPU
from strategies.finetuning.methods import Finetuning, Lora
from strategies.optimizer import Optimizer
from strategies.precision import Precision
from strategies.strategy import Strategy

LOW_RANK = 8
"""Smallest rank of adapters that recipes use. Rank 4 leaves the loss curve of full fine-tuning earlier than larger ones
do, as soon as the data is more than it can hold (Schulman et al., "LoRA Without Regret", Thinking Machines, 2025)."""


def risks(strategy: Strategy, gpu: GPU) -> Iterator[tuple[str, str]]:
    """Yields the choices of a strategy that put convergence at risk: the option, and what it does.

    Args:
        strategy: The strategy.
        gpu: The GPU, which may offer the safer choice.
    """
    precision, optimizer, method = strategy.precision, strategy.optimizer.choice, strategy.finetuning
    if precision.facts.matmul_dtype == "fp16" and gpu.supports_bf16:
        # Micikevicius et al. 2018 scale the loss for the range of fp16; bf16 has that of fp32 (Kalamkar et al. 2019).
        yield "precision", "fp16 overflows where bf16 does not"
    if rounds_updates(strategy):
        # Zamirai et al. 2020, "Revisiting BFloat16 Training": nearest rounding cancels small weight updates.
        yield "precision", "small updates of 16-bit weights are rounded away"
    if optimizer in (Optimizer.SGD, Optimizer.SGD_MOMENTUM):
        # Zhang et al. 2020, "Why are Adaptive Methods Good for Attention Models?"
        yield "optimizer", "SGD trains transformers much more slowly than adaptive methods"
    if method.method in (Finetuning.FREEZE, Finetuning.BITFIT):
        yield "finetuning", "trains fewer layers or parameters than LoRA does at its quality"
    if isinstance(method, Lora) and method.rank < LOW_RANK:
        yield "lora_rank", f"adapters of a rank below {LOW_RANK} hold little"


def rounds_updates(strategy: Strategy) -> bool:
    """Returns whether the optimizer adds its updates to 16-bit weights, with no fp32 copy of them."""
    is_half = strategy.precision in (Precision.BF16_TRUE, Precision.FP16_TRUE)
    trains_weights = strategy.finetuning.method in (Finetuning.FULL, Finetuning.FREEZE, Finetuning.BITFIT)
    return is_half and trains_weights and strategy.optimizer.choice is not Optimizer.ADAMW_FP32_MASTER


def num_risks(strategy: Strategy, gpu: GPU, asked: Collection[str] = ()) -> int:
    """Returns the number of choices that put convergence at risk and were not asked for.

    Args:
        strategy: The strategy.
        gpu: The GPU.
        asked: Options that have the value which a user asked for by name.
    """
    return sum(option not in asked for option, _ in risks(strategy, gpu))
