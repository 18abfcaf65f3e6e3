"""Computes the seconds that Python and torch take on the host to launch a micro-batch: the floor of short ones."""

from __future__ import annotations

from planner.memory import Traffic, Work

KERNEL_SECONDS = 22e-6
"""Seconds for each eager kernel. Llama 3.2 1B at 512 tokens on a B200 takes 48.8 ms with a checkpointed backward
(stas00/ml-engineering 744d01e, training/performance), in which 2,200 tensors are allocated; a forward alone 8.1 ms for
630."""
UNIT_SECONDS = 5e-3
"""Seconds for each unit of FSDP, whose hooks gather, free and reduce it in forward, recomputation and backward. 33
units of Llama 3.1 8B add 0.2 s to a short micro-batch, 162 units with adapters 0.7 s (LLMFineTuningBench, 512 to 1,024
tokens)."""
MODULE_SECONDS = 1.4e-3
"""Seconds for each module with DeepSpeed's hooks of ZeRO-3. A micro-batch of Qwen-72B with LoRA takes 2.2 s at 256
tokens, one of Qwen-7B 0.5 s at 256 to 1,024 (github.com/QwenLM/Qwen, README)."""


def host_seconds(work: Work, traffic: Traffic) -> float:
    """Returns the seconds that the host needs for one micro-batch.

    It runs ahead of the GPU where its own part is shorter.

    Args:
        work: Work of one micro-batch.
        traffic: What the rank exchanges.
    """
    return work.kernels * KERNEL_SECONDS + traffic.units * UNIT_SECONDS + traffic.modules * MODULE_SECONDS
