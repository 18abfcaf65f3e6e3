"""Applies changes to a resolved request: what is searched, on which machine, within which budget."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

from planner.memory import StepMemory
from planner.problem.accumulation import accumulation_of
from planner.problem.goal import limits_of
from planner.problem.model import step_memory_of
from planner.problem.one import options_of_one
from planner.problem.problem import Problem, named_at
from planner.problem.site import Site
from planner.records.asked.request import Request, fillable
from planner.search import Solver
from planner.search.exhaustive import possible
from planner.search.solver import ALIKE_FROM
from strategies import AXES, OPTIONS, Accumulation, ContradictionError, Space, Steps, Strategy, UpTo, WholeNumbers

_RESOLVED = frozenset({"finetuning", "expert_quantization", "framework", "sharding_backend", "quantization"})
"""Options on which the values of others depend where a request leaves those open."""
_DIVIDED = frozenset(option.name for axis in ("sharding", "optimizer", "update") for option in AXES[axis].options)
"""Options that make sense on some numbers of GPUs, or under some shardings, alone."""
_NUMBERS = tuple(option.name for option in OPTIONS.values() if isinstance(option.kind, WholeNumbers))
MOST_NEAR = 500
"""Strategies near another one above which the numbers that are open have their first value: ranges can be long."""
_OF_MEMORY = ("sequence_length", "evaluation_batch_size", "outputs", "loading", "host_memory_bytes")


class Variants:
    """Makes the variants of one request, which share what was traced of the model.

    Args:
        problem: The resolved request, of a search or of one configuration.
        space: What it searches; a single configuration is a space of one strategy.
        solver: Solves strategies of that space.
        beyond: Bytes that a process is known to take beyond what the memory model says.
    """

    def __init__(self, problem: Problem, space: Space, solver: Solver, beyond: int = 0) -> None:
        self.problem, self.space, self.solver, self._beyond = copy.copy(problem), space, solver, beyond
        self.problem.memory = problem.memory.at_hand()  # a replay for each variant would take minutes
        self._memories: dict[Any, StepMemory] = {}

    @property
    def is_search(self) -> bool:
        """Whether the request is one for a search, which solves the micro-batch, and not of one configuration."""
        return self.problem.request.objective is not None

    def changed(self, options: Mapping[str, Any]) -> Variant:
        """Returns the request with other values of options.

        Options that apply to none of the choices any more are dropped, as their user has to drop them.

        Args:
            options: New values by name; `site` is another GPU or machine.
        """
        problem = copy.copy(self.problem)
        problem.request = _request(problem.request, options)
        cluster, request = problem.cluster, problem.request
        site = options.get("site") or Site(cluster.gpu, request.gpus, cluster.machine if request.machine else None)
        problem.cluster = site.cluster(request.nodes, request.host_memory_bytes)
        problem.budget_bytes = fillable(site.gpu.memory_bytes, request.headroom) - self._beyond
        if problem.cluster != cluster or any(name in options for name in _OF_MEMORY):
            problem.memory = self._memory(problem)
        return Variant(self, problem, options)

    def _memory(self, problem: Problem) -> StepMemory:
        """Returns the model's memory under a changed request, each computed once."""
        request, known = problem.request, self.problem.memory
        key = (problem.cluster, *(getattr(request, name) for name in _OF_MEMORY))
        if key not in self._memories:
            beside = ("evaluation_batch_size", "outputs", "loading")
            if all(getattr(request, name) == getattr(self.problem.request, name) for name in beside):
                at = known.at(request.sequence_length) if request.sequence_length != known.sequence_length else known
                self._memories[key] = at.on(problem.cluster)
            else:
                self._memories[key] = step_memory_of(problem.model, request, problem.cluster).at_hand()
        return self._memories[key]


class Variant:
    """Holds a request with changes.

    Attributes:
        problem: The changed request.
        options: What was changed.
        solver: Solves its strategies.
    """

    def __init__(self, variants: Variants, problem: Problem, options: Mapping[str, Any]) -> None:
        self._variants, self.problem, self.options = variants, problem, options
        sizes, order = problem.request.micro_batch_size, variants.solver.order
        limits = limits_of(problem) if variants.solver.limits.bind else variants.solver.limits
        self.solver = Solver(problem.memory, problem.budget_bytes, self._accumulation, sizes, order, limits)

    @property
    def is_search(self) -> bool:
        """Whether the request is one for a search."""
        return self._variants.is_search

    @property
    def _on_as_many(self) -> bool:
        """Whether the number of GPUs is that of the request without changes."""
        return self.problem.cluster.world_size == self._variants.problem.cluster.world_size

    @property
    def _accumulation(self) -> Accumulation:
        request = self.problem.request
        if not self.is_search:
            return Steps(request.gradient_accumulation_steps or 1)
        return accumulation_of(request, self.problem.memory.real_tokens)

    def space(self) -> Space:
        """Returns what the changed request searches.

        Raises:
            ContradictionError: Nothing of it makes sense.
        """
        before, machine = self._variants.problem, self.problem.cluster != self._variants.problem.cluster
        if self._variants.is_search:
            if machine or any(name in _RESOLVED for name in self.options):
                return self.problem.space()
            return self._variants.space._replace(**{n: (v,) for n, v in self.options.items() if n in OPTIONS})
        default = self.problem.default_space() if machine else before.default_space()
        options = options_of_one(self.problem.request, self.problem.cluster, default, self.problem.framework)
        return default._replace(**{name: (value,) for name, value in options.items()})

    def strategies(self, near: Strategy | None = None) -> Iterator[Strategy]:
        """Yields the strategies that can run.

        Args:
            near: A strategy; only those are yielded that differ from it in what was changed, or in options that do not
                apply to it. None yields all of the space.
        """
        try:
            space = self.space()
        except ContradictionError:
            return
        if near is not None:
            kept = {n: v for n, v in near.to_options().items() if n not in self.options}
            if not self._on_as_many:  # one GPU shards nothing
                kept = {n: v for n, v in kept.items() if n not in _DIVIDED}
            other_gpu = self.problem.cluster.gpu != self._variants.problem.cluster.gpu  # which decides what is open
            held = {n: (v,) for n, v in kept.items() if v in getattr(space, n) or not (getattr(space, n) or other_gpu)}
            space = space._replace(**held)
            if space.num_divisible(self.problem.cluster) > MOST_NEAR:
                space = space._replace(**{name: getattr(space, name)[:1] for name in _NUMBERS})
        chains, _ = possible(space, self.solver)
        for chain in chains:
            said = chain.least.to_options()
            if all(said.get(name) == value for name, value in self.options.items() if name in OPTIONS):
                yield chain.least

    def batches(self, strategy: Strategy) -> Iterator[tuple[int, int]]:
        """Yields pairs (micro-batch, accumulation steps); if any pair of the strategy fits, one of these does."""
        accumulation, size = self.solver.accumulation, self.solver.smallest_micro_batch
        if isinstance(accumulation, Steps):
            if accumulation.steps == 1 or strategy.update.accumulates:
                yield size, accumulation.steps
        elif isinstance(accumulation, UpTo):
            yield size, 1
        else:
            least: dict[int, tuple[int, int]] = {}
            for wanted, steps in accumulation.factors(self.solver.cluster.world_size):
                accumulates = steps == 1 or strategy.update.accumulates
                if accumulates and (not self.solver.allowed or wanted in self.solver.allowed):
                    key = min(steps, ALIKE_FROM)
                    least[key] = min(least.get(key, (wanted, steps)), (wanted, steps))
            yield from least.values()


def _request(request: Request, options: Mapping[str, Any]) -> Request:
    """Returns a request with other values of options, without those that then apply to nothing."""
    said: dict[str, Any] = {}
    for name, value in options.items():
        if name == "site":
            said |= {**named_at(value), "gpus": value.gpus}
        elif name in OPTIONS or name == "micro_batch_size":
            said[name] = (value,)
        else:
            said[name] = value
    if "gpus" in options:  # a machine is rented as a whole
        said["machine"] = None
    found = request.model_copy(update=said)
    chosen = {name: values for name in OPTIONS if (values := getattr(found, name))}
    dropped = {
        option.name: ()
        for axis in AXES.values()
        for option in axis.refinements
        if option.name in chosen and option.name not in options and not option.can_refine(chosen)
    }
    return found.model_copy(update=dropped) if dropped else found
