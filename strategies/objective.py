"""Names what a search looks for among the plans that fit."""

from __future__ import annotations

from collections.abc import Mapping

from strategies.choice import Choice


class Objective(Choice):
    """Names the first thing that plans are compared by; `planner.search.order` has the whole key of each."""

    BATCH = "batch", "the largest effective batch, then the shortest time"
    THROUGHPUT = "throughput", "the most tokens per second"
    COST = "cost", "the lowest price per token, by the price of the GPUs"
    MEMORY = "memory", "the fewest bytes of the process, at a usual effective batch unless one is given"

    @classmethod
    def mistaken(cls) -> Mapping[str, str]:
        """Returns other words for what plans are compared by."""
        fast = dict.fromkeys(("speed", "fast", "fastest", "time", "tokens-per-second"), cls.THROUGHPUT)
        cheap = dict.fromkeys(("price", "cheap", "cheapest", "money"), cls.COST)
        return {**fast, **cheap, **dict.fromkeys(("vram", "smallest"), cls.MEMORY), "batch-size": cls.BATCH}
