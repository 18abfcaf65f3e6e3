"""Predicts each source of step times by constants that it did not give.

Most rates come from other measurements: of products, kernels, memory and links. Those below come from step times. To
predict a source, each is fitted again to the step times of the other sources; where no other source says anything of
it, it takes the value that one would have assumed without it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any, NamedTuple
from unittest.mock import patch

from published.throughput import speed
from published.throughput.speed import Asked, Speed

from hardware import sustained
from planner.time import collectives, host, rates

USUAL_LAUNCH: float = sustained.Sustained._field_defaults["launch"]

Put = Callable[[float], AbstractContextManager[Any]]
"""Puts a value in the place of a constant, for as long as a context lasts."""


class Constant(NamedTuple):
    """A constant of the model that step times gave.

    Attributes:
        sources: Beginnings of the names of the sources that gave it.
        assumed: Value without any of them.
        concerns: Whether it has a part in the prediction of a run.
        put: Puts another value in its place.
        value: The value in use.
    """

    sources: tuple[str, ...]
    assumed: float
    concerns: Callable[[Asked], bool]
    put: Put
    value: float

    @contextmanager
    def at(self, value: float) -> Iterator[None]:
        """Predicts with another value while the context lasts."""
        with ExitStack() as stack:
            stack.callback(rates.of_cluster.cache_clear)  # when the value in use is back
            stack.enter_context(self.put(value))
            rates.of_cluster.cache_clear()
            yield


def _share(capability: str, name: str) -> tuple[Put, float]:
    def put(value: float) -> AbstractContextManager[Any]:
        found = sustained.BY_CAPABILITY[capability]
        return patch.dict(sustained.BY_CAPABILITY, {capability: found._replace(**{name: value})})

    return put, getattr(sustained.BY_CAPABILITY[capability], name)


def _attention(capability: str, kernel: str) -> tuple[Put, float]:
    def put(value: float) -> AbstractContextManager[Any]:
        found = sustained.BY_CAPABILITY[capability]
        kernels = {**found.attention, kernel: (value, value / 1.2)}
        return patch.dict(sustained.BY_CAPABILITY, {capability: found._replace(attention=kernels)})

    return put, sustained.BY_CAPABILITY[capability].attention[kernel][0]


def _of_board(board: str) -> tuple[Put, float]:
    def put(value: float) -> AbstractContextManager[Any]:
        return patch.dict(sustained.BY_BOARD, {board: {"flops_per_joule": value}})

    return put, sustained.BY_BOARD[board]["flops_per_joule"]


def _on_an_a5000(asked: Asked) -> bool:
    return asked.cluster.gpu.name == "RTX-A5000"


def _on(capability: str) -> Callable[[Asked], bool]:
    return lambda asked: asked.cluster.gpu.compute_capability == capability


def _constants() -> list[Constant]:
    hopper, hf = sustained.BY_CAPABILITY["9.0"].attention, "HF trainer"
    return [
        # the best shape's share, as an A100 would reach it
        Constant(("llm-foundry", "fms-fsdp"), 0.80 * sustained.BEST_TO_MEDIAN, _on("9.0"), *_share("9.0", "products")),
        Constant(("torchtitan", hf), math.inf, _on("9.0"), *_share("9.0", "flops_per_joule")),
        Constant(("fsdp_qlora",), 0.39e12, _on_an_a5000, *_of_board("RTX-A5000")),  # as other boards
        Constant((hf,), math.inf, _on("8.9"), *_share("8.9", "flops_per_joule")),
        # The middle of what FlashAttention-2's paper says of the first one; on Hopper by the ratio of the second.
        Constant(("llm-foundry",), 0.325, _of_flash_1("8.0"), *_attention("8.0", "flash-1")),
        Constant(("llm-foundry",), 0.65 * hopper["flash-2"][0], _of_flash_1("9.0"), *_attention("9.0", "flash-1")),
        Constant((hf,), 0.43, _by_pcie("8.0"), *_share("8.0", "pcie")),  # SimuMax: 13.5 of 31.5 GB/s
        Constant((hf,), 0.43, _by_pcie("8.9"), *_share("8.9", "pcie")),
        Constant((hf, "llm-foundry"), collectives.OVERLAP, _of_fsdp1, *_of_module(collectives, "OVERLAP_OF_FSDP1")),
        Constant(("qwen",), sustained.RECENT_LAUNCH, _on("8.0"), *_share("8.0", "launch")),
        Constant((hf,), 0.0, lambda asked: asked.traffic.units > 0, *_of_module(host, "UNIT_LAUNCHES")),
        Constant(("qwen",), 0.0, lambda asked: asked.traffic.modules > 0, *_of_module(host, "MODULE_LAUNCHES")),
        Constant((hf,), USUAL_LAUNCH, lambda asked: asked.run.slow_host, *_of_module(speed, "SLOW_LAUNCH")),
        # An A100's share of it.
        Constant(("fitcheck",), 0.36, _on("7.5"), *_attention("7.5", "efficient")),
        Constant(("fitcheck",), 0.39e12, _on("7.5"), *_share("7.5", "flops_per_joule")),
    ]  # fmt: skip


def _of_flash_1(capability: str) -> Callable[[Asked], bool]:
    return lambda asked: asked.run.kernel == "flash-1" and asked.cluster.gpu.compute_capability == capability


def _by_pcie(capability: str) -> Callable[[Asked], bool]:
    on = _on(capability)
    return lambda asked: on(asked) and asked.cluster.gpus_per_node > 2 and asked.cluster.gpu.gpu_link.kind == "pcie"


def _of_fsdp1(asked: Asked) -> bool:
    return asked.traffic.lockstep and asked.traffic.units > 0


def _of_module(module: object, name: str) -> tuple[Put, float]:
    return lambda value: patch.object(module, name, value), getattr(module, name)


def left_out(runs: Sequence[Asked]) -> Iterator[Speed]:
    """Yields the speed of each run, by constants that its source did not give."""
    constants = _constants()
    for source in dict.fromkeys(asked.run.source for asked in runs):
        family = source.partition(",")[0]
        with ExitStack() as stack:
            for constant in constants:
                if any(family.startswith(name) for name in constant.sources):
                    others = [asked for asked in runs if not asked.run.source.startswith(family)]
                    value = _fitted(constant, [asked for asked in others if constant.concerns(asked)])
                    stack.enter_context(constant.at(value))
            yield from (asked.speed() for asked in runs if asked.run.source == source)


def _fitted(constant: Constant, others: Sequence[Asked]) -> float:
    """Returns the value with which the median error of other sources' runs is smallest; the assumed one if none has."""
    if not others:
        return constant.assumed

    def error(value: float) -> float:
        with constant.at(value):
            errors = sorted(abs(math.log(1 + asked.speed().error)) for asked in others)
        return errors[len(errors) // 2]

    candidates = [constant.value * 1.04**n for n in range(-12, 13)]
    best = min(candidates, key=error)
    # A constant that makes no difference to them is as unknown as one that they have no part in.
    return best if error(candidates[0]) != error(candidates[-1]) else constant.assumed
