"""A model of which every number is known: so many bytes by strategy and sample, a second a sample and one a pass."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from hardware import Cluster, load_catalog
from planner.memory import Footprint
from planner.memory.settings.work import Work
from planner.memory.sharding.persistent import Persistent
from planner.memory.step.process import Outside, Slack
from planner.memory.step.step import Line, Moment
from planner.memory.step.traffic import Traffic
from strategies import PLAIN, Chain, Checkpointing, Checkpoints, Lora, Strategy

A100 = load_catalog().get("A100-40GB-SXM")
SECOND = round(A100.memory_bandwidth_bytes_per_second * A100.sustained.memory)
"""Bytes that it moves in one."""


def usual_bytes(strategy: Strategy, accumulates: bool) -> tuple[int, int]:
    """(fixed, per sample): 10 and 10 for each rank of a LoRA, 5 more where gradients stay; half of it recomputed."""
    rank = strategy.finetuning.rank if isinstance(strategy.finetuning, Lora) else 1
    per_sample = 5 if strategy.checkpointing.recomputes else 10
    return 10 * rank + (5 if accumulates else 0), per_sample


@dataclass
class Toy:
    """Stands in for a model on a cluster."""

    cluster: Cluster = field(default_factory=lambda: Cluster(A100))
    bytes_of: Callable[[Strategy, bool], tuple[int, int]] = usual_bytes
    refuses: Callable[[Strategy], str | None] = lambda strategy: None
    sequence_length: int = 100
    real_tokens: int = 100
    is_cheap: bool = True

    def on(self, cluster: Cluster) -> Toy:
        return Toy(cluster, self.bytes_of, self.refuses)

    def at(self, sequence_length: int) -> Toy:
        return Toy(self.cluster, self.bytes_of, self.refuses, sequence_length)

    def violation(self, strategy: Strategy) -> str | None:
        return self.refuses(strategy)

    def footprint(self, strategy: Strategy, micro_batches: int) -> Footprint:
        fixed, per_sample = self.bytes_of(strategy, micro_batches > 1)
        line = Line(fixed, per_sample, 0, per_sample, 0, 0, 0)
        return Footprint(Persistent(0, 0, 0), {Moment.FORWARD: (line,)}, Outside(0, 0, 0), Slack(0, 0, 0))

    def least_process_bytes(self, strategy: Strategy, micro_batches: int) -> int:
        return self.bytes_of(strategy, micro_batches > 1)[0]

    def work(self, strategy: Strategy) -> Work:
        per_sample = 2 * SECOND if strategy.checkpointing.recomputes else SECOND
        return Work(bytes_per_sample=per_sample, fixed_bytes=SECOND)

    def recomputation(self, strategy: Strategy) -> Work:
        return Work()

    def traffic(self, strategy: Strategy) -> Traffic:
        return Traffic()


LORA = PLAIN._replace(finetuning=Lora(1))
RECOMPUTED = LORA._replace(checkpointing=Checkpoints(Checkpointing.FULL))


def chain_of(*ranks: int) -> Chain:
    """LoRAs of these ranks."""
    return Chain(PLAIN._replace(finetuning=Lora(ranks[0])), "finetuning", tuple(map(Lora, ranks)))
