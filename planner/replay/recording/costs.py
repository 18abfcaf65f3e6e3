"""Counts what operators compute and move, and adds it up by block."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import torch
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from planner.replay.recording.tensors import local
from planner.replay.recording.trace import Place, Scope, Work

FP32_BYTES: Final = 4
"""Bytes per element of an fp32 tensor."""


class Cost(NamedTuple):
    """Counts what an operator that allocates results computes and moves."""

    flops: int
    """FLOPs, as `torch.utils.flop_counter` counts them."""
    half: bool
    """Whether the first result has less than 4 bytes per element."""
    sizes: tuple[int, ...]
    """Bytes of each tensor that it is given, and of each that it allocates."""


WRITES: Final = Cost(0, half=False, sizes=())
"""Cost of an operator that writes in place: a kernel alone."""


def cost_of(func: Any, args: Any, kwargs: Any, out: Any, made: list[torch.Tensor]) -> Cost:
    """Counts what an operator computes and moves.

    Args:
        func: The operator.
        args: Its arguments.
        kwargs: Its arguments that have a name.
        out: Its results.
        made: Those of them that it allocated; at least one.
    """
    given = (x for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor))
    formula = flop_registry.get(func._overloadpacket)
    flops = 0 if formula is None else formula(*args, **kwargs, out_val=out)
    return Cost(flops, made[0].element_size() < FP32_BYTES, tuple(local(x).nbytes for x in (*given, *made)))


_FLOPS = Work._fields.index("fp32_flops"), Work._fields.index("half_flops")
_AGAIN = Work._fields.index("again_fp32_flops"), Work._fields.index("again_half_flops")
_BYTES, _FIXED = Work._fields.index("num_bytes"), Work._fields.index("fixed_bytes")
_KERNELS = Work._fields.index("kernels")


class Sums:
    """Adds up costs by section and block.

    Args:
        samples: Samples of a micro-batch; sizes that it does not divide are fixed.
    """

    def __init__(self, samples: int) -> None:
        self._samples = samples
        self._times: dict[tuple[int, Scope | None, bool, int], int] = {}
        """How often a cost occurs, by section, block, whether it computes forward again, and the cost's identity."""
        self._costs: dict[int, Cost] = {}
        """The costs that occur, by their identities."""

    def add(self, section: int, scope: Scope | None, cost: Cost, *, is_again: bool) -> None:
        """Adds an operator, which computes forward again if `is_again`."""
        key = section, scope, is_again, id(cost)
        times = self._times.get(key)
        if times is None:
            self._costs[id(cost)] = cost
            times = 0
        self._times[key] = times + 1

    def work(self) -> dict[Place, Work]:
        """Returns the sums."""
        sums: dict[Place, list[int]] = {}
        for (section, scope, is_again, identity), times in self._times.items():
            if (place := (section, scope)) not in sums:
                sums[place] = [0] * len(Work._fields)
            total = sums[place]
            flops, half, sizes = self._costs[identity]
            total[_FLOPS[half]] += flops * times
            total[_AGAIN[half]] += flops * times * is_again
            total[_BYTES] += sum(sizes) * times
            total[_FIXED] += sum(size for size in sizes if size % self._samples) * times
            total[_KERNELS] += times
        return {place: Work(*total) for place, total in sums.items()}
