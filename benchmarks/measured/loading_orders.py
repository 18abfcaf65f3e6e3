"""Draws orders in which threads can load the weights of a model that is quantized while it is loaded.

In transformers 5.0 to 5.2, four threads copied weights to the GPU in half precision, and the main thread quantized them
in turn (core_model_loading.py, `spawn_materialize` and GLOBAL_WORKERS). It was chance how many half-precision weights
existed at once, and next to which of them a quantized weight was allocated. Since huggingface/transformers pull request
44576, one weight is loaded and quantized after another, which is what the replay does.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Container, Iterator
from typing import NamedTuple

from planner.replay import Trace
from planner.replay.recording.trace import Event
from planner.replay.setup.loading import LOADED

THREADS = 4
"""Threads that copy weights to the GPU."""


class Weight(NamedTuple):
    """Holds the events of loading one weight."""

    arrival: Event
    """Allocation of the weight in half precision."""
    turn: list[Event]
    """Events of the main thread's quantization; empty for a weight that is not quantized."""


def in_threads(trace: Trace, seed: int) -> Trace:
    """Returns the trace with its weights loaded in a random order that threads can produce.

    Copying a weight takes a random time between zero and twice its bytes; quantizing it takes none.
    """
    loading = trace.sections[0]
    weights = list(_weights(trace))
    first = loading.events.index(weights[0].arrival)
    end = first + sum(1 + len(weight.turn) for weight in weights)
    events = [*loading.events[:first], *_ordered(weights, random.Random(seed)), *loading.events[end:]]
    return trace._replace(sections=[loading._replace(events=events), *trace.sections[1:]])


def _weights(trace: Trace) -> Iterator[Weight]:
    events = trace.sections[0].events
    halves = {storage for storage, label in trace.labels.items() if label.name.endswith(LOADED)}
    i = next(i for i, event in enumerate(events) if event.storage in halves)
    while events[i].storage in halves and events[i].size > 0:
        turn = _turn(events, i, halves)
        yield Weight(events[i], turn)
        i += 1 + len(turn)


def _turn(events: list[Event], arrival: int, halves: Container[int]) -> list[Event]:
    """Returns the events after a weight's arrival until it is freed; none if those of another weight come first."""
    for i in range(arrival + 1, len(events)):
        if events[i].storage == events[arrival].storage:
            return events[arrival + 1 : i + 1]
        if events[i].storage in halves:
            break
    return []


def _ordered(weights: list[Weight], chance: random.Random) -> Iterator[Event]:
    actions: list[tuple[float, int, list[Event]]] = []
    threads, turn = [0.0] * THREADS, 0.0
    for number, weight in enumerate(weights):
        start = heapq.heappop(threads)
        end = start + weight.arrival.size * chance.uniform(0, 2)
        heapq.heappush(threads, end)
        turn = max(turn, end)
        actions += [(start, number, [weight.arrival]), (turn, len(weights) + number, weight.turn)]
    for _, _, events in sorted(actions):
        yield from events
