"""Makes the requests of a process: loading, then two optimizer steps, the second like later ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from planner.memory.memoized import counted
from planner.memory.requests.around import Around
from planner.memory.requests.loop import Loop
from planner.memory.requests.micro_batch import MicroBatch
from planner.memory.requests.requests import Requests
from planner.memory.settings.parts import Part
from planner.memory.sharding.account import TrainedTensor, Unit
from planner.memory.sharding.optimizers import OptimizerRule
from planner.memory.sharding.persistent import Persistent
from planner.memory.step.outputs import KeptOutputs
from planner.memory.step.process import CUBLAS_HANDLES

STEPS = 2
"""Optimizer steps of a process: its states exist from the end of the first one on, and later steps are alike."""


class Steps(NamedTuple):
    """Describes the steps of a process.

    Attributes:
        parts: Stem, blocks, head and loss, with logs.
        units: The parameters of each part.
        micro_batch_size: Samples of a micro-batch.
        micro_batches: Micro-batches of a step.
        batch_bytes: Bytes per sample of ids, labels and what else is fed, which stay until the next micro-batch.
        workspace_bytes: Bytes of cuBLAS workspaces, which stay.
        persistent: What stays for the whole run.
        rule: The optimizer's rule.
        updated: The tensors that the optimizer of one rank updates.
        ranks: The number of ranks that divide each of them.
        outputs: What the training loop keeps of what the model returned.
        optimizes: Whether an optimizer step of its own follows backward on the GPU.
    """

    parts: Sequence[Part]
    units: Sequence[Unit]
    micro_batch_size: int
    micro_batches: int
    batch_bytes: int
    workspace_bytes: int
    persistent: Persistent
    rule: OptimizerRule[Any]
    updated: list[TrainedTensor]
    ranks: int
    outputs: KeptOutputs
    optimizes: bool


class Process(NamedTuple):
    """Makes the requests of a process.

    Attributes:
        steps: Its steps.
        around_of: Makes what the backend does around each part.
    """

    steps: Steps
    around_of: Callable[[Requests], Around]

    def requests(self) -> Requests:
        """Returns all requests."""
        requests = Requests()
        for _ in self.run(requests):
            pass
        return requests

    def run(self, requests: Requests, each: Sequence[Steps] = ()) -> Iterator[None]:
        """Makes the requests, and yields after loading, after each part of a model's passes, and after each step.

        Args:
            requests: Takes the requests.
            each: The optimizer steps one by one, where they differ, as in the length of sequences; by default two like
                `steps`, the second like all later ones.
        """
        steps, around = self.steps, self.around_of(requests)
        _load(requests, steps, around.load())
        requests.end_loading()
        yield
        batch, workspaces = 0, steps.workspace_bytes // CUBLAS_HANDLES
        loop = Loop(requests, steps.outputs, steps.micro_batch_size)
        for i, step in enumerate(each or (steps,) * STEPS):
            for number in reversed(range(min(step.micro_batches, around.most_micro_batches))):
                requests.release(batch)
                around.begin_micro_batch(is_last=not number)
                batch = requests.allocate(step.batch_bytes * step.micro_batch_size)
                alike = not (workspaces or loop.keeps or each)
                requests.begin_micro_batch(around.adds(is_last=not number) if alike else None)
                yield from MicroBatch(requests, around, step.parts, step.micro_batch_size, loop).run(workspaces)
                requests.end_micro_batch()
                workspaces = 0
            if i == 0:
                _make_states(requests, steps)
            if steps.optimizes:
                _optimize(requests, steps)
            around.clear()
            loop.end_step()
            yield


def _load(requests: Requests, steps: Steps, loaded: int) -> None:
    """Allocates parameters and what else is there before the first step.

    Args:
        requests: Takes the requests.
        steps: The steps.
        loaded: Bytes of parameters that have been allocated.
    """
    left = steps.persistent.parameters - loaded
    is_whole = left >= sum(unit.stored_bytes for unit in steps.units)
    sizes = [size for unit in steps.units for size in unit.tensors or (unit.stored_bytes,)] if is_whole else []
    requests.keep([*sizes, left - sum(sizes), steps.persistent.communication + steps.persistent.gradients])


def _make_states(requests: Requests, steps: Steps) -> None:
    """Allocates the optimizer's states, tensor by tensor."""
    left, shares = steps.persistent.optimizer_states, []
    known = {id(tensor): steps.rule.states_one_by_one(tensor) for tensor, _ in counted(steps.updated)}
    for tensor in steps.updated:
        for num_bytes in known[id(tensor)]:
            shares.append(min(left, -(-num_bytes // steps.ranks)))
            left -= shares[-1]
    requests.keep([*shares, left])


def _optimize(requests: Requests, steps: Steps) -> None:
    """Steps all parameters, with what that allocates for each of them."""
    known = {id(tensor): steps.rule.temporaries_of(tensor, steps.ranks) for tensor, _ in counted(steps.updated)}
    sizes = [known[id(tensor)] for tensor in steps.updated]
    if steps.rule.steps_at_once:
        requests.release_all([requests.allocate(num_bytes) for num_bytes in sizes])
    else:
        requests.borrow(sizes)
