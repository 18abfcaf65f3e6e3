"""Defines a candidate: a strategy with its micro-batch and accumulation, and the memory and time that they take."""

from typing import NamedTuple

from planner.memory import Footprint
from planner.memory.reserved import Reserved
from planner.search.order import BY_BATCH, Order, Rank, syncs_each
from strategies import (
    AdapterDtype,
    GradientSync,
    Lora,
    Strategy,
    UnquantizedDtype,
    Zero,
)


class Candidate(NamedTuple):
    """Holds a strategy with a micro-batch and accumulation, and what they take.

    Attributes:
        strategy: The strategy.
        footprint: Its memory for every micro-batch.
        micro_batch_size: Samples per rank and forward pass.
        gradient_accumulation_steps: Micro-batches per optimizer step.
        global_batch_size: Samples of all ranks per optimizer step, the effective batch.
        seconds: Predicted time of an optimizer step.
        process_bytes: Peak bytes of the process on one GPU.
        order: What makes a candidate better than another one.
        served: What the allocator's model reserves within the budget, where it has decided the candidate.
    """

    strategy: Strategy
    footprint: Footprint
    micro_batch_size: int
    gradient_accumulation_steps: int
    global_batch_size: int
    seconds: float
    process_bytes: int
    order: Order = BY_BATCH
    served: Reserved | None = None

    @property
    def rank(self) -> Rank:
        """Returns a key that sorts candidates best first."""
        return self.order.rank(self)

    @property
    def seconds_per_sample(self) -> float:
        """Returns the seconds of a step over its samples on all ranks."""
        return self.seconds / self.global_batch_size

    @property
    def syncs_less(self) -> Strategy | None:
        """Returns the strategy that differs in reducing gradients once per step; None if this one does that already."""
        if not syncs_each(self.strategy):
            return None
        options = {**self.strategy.to_options(), "gradient_sync": GradientSync.LAST}
        return Strategy.of(options)

    @property
    def instead(self) -> tuple[Strategy, ...]:
        """Returns strategies that are as good: with fewer reductions of gradients, or the same step in other words."""
        return tuple(s for s in (self.syncs_less, _cast_alike(self.strategy)) if s is not None)


def _cast_alike(strategy: Strategy) -> Strategy | None:
    """Returns the same step with adapters and the rest of the base loaded in fp32, which DeepSpeed casts to half."""
    method = strategy.finetuning
    if not isinstance(strategy.sharding, Zero) or not isinstance(method, Lora):
        return None
    raised = method._replace(adapter_dtype=AdapterDtype.FP32, unquantized_dtype=UnquantizedDtype.FP32)
    return strategy._replace(finetuning=raised) if raised != method else None
