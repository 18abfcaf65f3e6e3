"""Computes the seconds that Python and torch take on the host to launch a micro-batch: the floor of short ones."""

from __future__ import annotations

from planner.memory import Traffic, Work
from planner.time.rates import Rates

UNIT_LAUNCHES = 78
"""Launches' worth of Python for each unit of FSDP, whose hooks gather, free and reduce it in forward and backward. The
163 units of Llama 3.1 8B with adapters take 0.60 s of the 0.89 s of a micro-batch of 512 tokens, 3.6 ms each, on hosts
that take 46 us to launch a kernel (LLMFineTuningBench). On hosts with more processors it is 2.1 ms, as the steps of
fms-acceleration say."""
MODULE_LAUNCHES = 37
"""The same for each module with DeepSpeed's hooks of ZeRO-3. Qwen's micro-batches of 256 tokens take 0.26 s with 219
modules, 0.50 s with 291 and 2.2 s with 1,523 (github.com/QwenLM/Qwen, README): 0.85, 1.2 and 0.95 ms beside what is
launched and computed, on hosts that take 27 us for a launch."""
ATTENTION_KERNELS, ATTENTION_SECONDS = 0.63, 0.26
"""Shares of a block's kernels, and of its seconds on the GPU, up to the residual behind attention. Of the 38 kernels
that a block of Llama launches in forward, 24 are there: the norm's 8, 4 products, 10 for rotary embeddings, attention
and the sum. Of the products of Llama 3.1 8B they are 19%, of what other operations move 55%, and products are four
fifths of the time."""


def busy_seconds(gpu: float, work: Work, traffic: Traffic, rates: Rates) -> float:
    """Returns the seconds of a micro-batch in which the GPU computes, or waits for the host.

    The host runs ahead of the GPU where its own part is shorter. It does so at will, or in lockstep: FSDP1's waits at
    each unit until the one before the last is computed (`limit_all_gathers`, torch/distributed/fsdp/_limiter_utils.py),
    ZeRO-3's until the fetch before the last is (`__max_ongoing_fetch_events`, partitioned_param_coordinator.py). Hooks
    run before a unit's kernels, so that what attention computes hides them, and what the MLP computes hides only what
    is launched for it.

    Args:
        gpu: Seconds that the GPU computes.
        work: Work of one micro-batch.
        traffic: What the rank exchanges.
        rates: What a rank can do per second.
    """
    hooks = (traffic.units * UNIT_LAUNCHES + traffic.modules * MODULE_LAUNCHES) * rates.launch
    launching = work.kernels * rates.launch
    if not traffic.lockstep:
        return max(gpu, hooks + launching)
    attention = max(hooks + ATTENTION_KERNELS * launching, ATTENTION_SECONDS * gpu)
    return attention + max((1 - ATTENTION_KERNELS) * launching, (1 - ATTENTION_SECONDS) * gpu)
