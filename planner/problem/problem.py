"""Resolves a request: looks up the names, checks the values, and turns the options into a space of strategies."""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from hardware import GPU, Catalog, load_catalog
from hardware.errors import shown
from planner.extras import Progress
from planner.memory.settings.dtypes import HALF
from planner.models import Foreign, Model
from planner.problem.accumulation import bound
from planner.problem.batches import check_batching
from planner.problem.checks import (
    check_effect,
    check_kernels,
    check_lora,
    check_refinements,
    check_sequence,
    check_target,
)
from planner.problem.model import AnyModel, default_length, found, step_memory_of
from planner.problem.one import options_of_one
from planner.problem.site import Site, without_count
from planner.problem.ways import cannot_run, ways_to_run
from planner.records.asked.axes import RequestError, parse_axes, whole
from planner.records.asked.request import Request, fillable
from planner.records.asked.sizes import parse_bytes
from planner.records.asked.space import SpaceSource, framework_of, given_by
from strategies import (
    Attention,
    Batching,
    ContradictionError,
    ExpertQuantization,
    Finetuning,
    Loading,
    Outputs,
    ShardingBackend,
    Space,
    Strategy,
    violation,
)

C = TypeVar("C")
CatalogSource = Catalog | str | Path | None
"""Catalog, or path of a file that adds to the built-in one; None for the file that PLANNER_CATALOG names, if any."""


def catalog_of(source: CatalogSource) -> Catalog:
    """Returns a catalog as it is, or the built-in one with what a file adds."""
    return source if isinstance(source, Catalog) else load_catalog(source)


class Problem:
    """Holds a request and what its names stand for: the model, the cluster, the budget and the memory model.

    Args:
        model: The model, or a name for it that `recognize` understands.
        gpu: The GPU, or its name in the catalog.
        axes: What the caller says about each option of a technique, by name; see `parse_axes`.
        values: The other fields of the `Request` by name, such as `gpus`.
        space: Values of the options that `axes` leaves open.

    Raises:
        PlannerError: A name is unknown, a value makes no sense, or values contradict each other or the model.
    """

    def __init__(
        self,
        model: str | Model | Foreign,
        gpu: str | GPU,
        catalog: CatalogSource,
        axes: Mapping[str, Any],
        values: Mapping[str, Any],
        progress: Progress = lambda _: None,
        space: SpaceSource = None,
    ) -> None:
        axes = {**given_by(space), **parse_axes(axes)}
        self.framework = framework_of(axes)
        self.catalog, self.catalog_source = catalog_of(catalog), catalog
        self.task_asked = values.get("task") is not None
        self.model, task = found(model, values.get("task"), progress)
        gpu, gpus = without_count(gpu, values.get("gpus"), self.catalog)
        site = Site.of(gpu, self.catalog, gpus)
        self.gpu_asked = gpu.name if isinstance(gpu, GPU) else gpu.strip()
        length, values = values.get("sequence_length"), {**values, "gpus": site.gpus}
        values["host_memory_bytes"] = parse_bytes("host_memory", values.pop("host_memory", None))
        self.request = _request(
            self.model,
            site,
            axes,
            {
                **values,
                "sequence_length": default_length(self.model) if length is None else length,
                "batching": Batching.parse(values.get("batching", Batching.FULL)),
                "loading": Loading.parse(values.get("loading", Loading.AUTO)),
                "task": task,
                "max_accumulation": bound(values, task),
                "outputs": Outputs.parse(values.get("outputs", Outputs.RELEASED)),
            },
        )
        check_batching(self.request, self.model)
        self.cluster = site.cluster(self.request.nodes, self.request.host_memory_bytes)
        self.memory = step_memory_of(self.model, self.request, self.cluster)
        self.budget_bytes = fillable(site.gpu.memory_bytes, self.request.headroom)
        check_sequence(self.model, "sequence_length", self.request.sequence_length)
        check_target(self.model, self.request.target_length)
        check_refinements(self.request)
        check_lora(self.request, self.model)
        check_kernels(self.request, self.model)

    def at(self, site: Site, nodes: int) -> Problem:
        """Returns the same request for another site; what does not depend on the GPU is computed once for all."""
        other = copy(self)
        where = {**named_at(site), "gpus": site.gpus, "nodes": nodes}
        other.request = self.request.model_copy(update=where)
        other.gpu_asked = site.name
        other.cluster = site.cluster(nodes, self.request.host_memory_bytes)
        other.memory = self.memory.on(other.cluster)
        other.budget_bytes = fillable(site.gpu.memory_bytes, self.request.headroom)
        return other

    @property
    def limit_bytes(self) -> int:
        """The bytes up to which one configuration is said to fit: all usable ones, unless a headroom is asked for."""
        return self.budget_bytes if self.request.headroom is not None else self.cluster.gpu.memory_bytes

    def default_space(self) -> Space:
        """Returns the default space of the cluster, with eager attention if the model does not run with SDPA."""
        space = Space.default(self.cluster, self.framework)
        return space if self.model.supports_sdpa else space._replace(attention=(Attention.EAGER,))

    def space(self) -> Space:
        """Returns the space to search: the request's values of each option, or the default ones if it has none.

        A base that one GPU cannot hold even in 4 bits is divided by FSDP1 as well, with which QLoRA on several GPUs
        began and which most of its recipes use.
        """
        space = self.request.within(self.default_space())
        check_effect(self.request, {name: values for name, values in space._asdict().items() if values})
        sharded = self.cluster.world_size > 1 and self._least_base_bytes(space) > self.budget_bytes
        if sharded and Finetuning.QLORA in space.finetuning and not self.request.sharding_backend:
            return space._replace(sharding_backend=(ShardingBackend.FSDP2, ShardingBackend.FSDP1))
        return space

    def _least_base_bytes(self, space: Space) -> int:
        """Returns the bytes of the base in 4 bits, and of a mixture's experts in half precision where they stay so."""
        experts = self.model.inventory.num_expert_parameters if isinstance(self.model, Model) else 0
        if ExpertQuantization.SAME in space.expert_quantization:
            experts = 0
        return (self.model.num_parameters - experts) // 2 + experts * HALF

    def strategy(self) -> Strategy:
        """Returns the one strategy that the request describes, with a default for each option that it leaves open.

        Raises:
            ContradictionError: An option has several values, or the strategy cannot run.
        """
        strategy, reason = self._with_reason()
        if reason is None:
            return strategy
        ways = ways_to_run(self.request, self.default_space(), self.cluster.gpu, self._runs)
        raise cannot_run(reason, ways, self.framework)

    def _with_reason(self) -> tuple[Strategy, str | None]:
        """Returns the one strategy that the request describes, and why it cannot run, if it cannot."""
        options = options_of_one(self.request, self.cluster, self.default_space(), self.framework)
        check_effect(self.request, {name: (value,) for name, value in options.items()})
        strategy = Strategy.of(options)
        steps = self.request.gradient_accumulation_steps or 1
        if steps > 1 and not strategy.update.accumulates:
            raise ContradictionError(
                f"update {strategy.update} leaves no gradient to which {steps} micro-batches could add",
                "--gradient-accumulation-steps 1",
            )
        return strategy, violation(strategy, self.cluster) or self.memory.violation(strategy)

    def _runs(self, request: Request) -> bool:
        """Returns whether the strategy that another request describes can run."""
        other = copy(self)
        other.request = request
        try:
            return other._with_reason()[1] is None
        except ContradictionError:
            return False


def named_at(site: Site) -> dict[str, Any]:
    """Returns the fields of a request that say where the model is trained."""
    machine = site.machine.name if site.machine else None
    return {"gpu": site.gpu.name, "gpu_memory_bytes": site.gpu.memory_bytes, "machine": machine}


def _request(model: AnyModel, site: Site, axes: Mapping[str, Any], values: Mapping[str, Any]) -> Request:
    """Returns the validated request; raises RequestError with all its invalid values."""
    try:
        named = {"model": model.name, "num_parameters": model.num_parameters, **named_at(site)}
        return Request.model_validate({**named, **axes, **{name: whole(value) for name, value in values.items()}})
    except ValidationError as error:
        problems = error.errors(include_url=False)
        lines = [f"{'.'.join(str(p) for p in e['loc'])} is {shown(e['input'])}: {e['msg'].lower()}" for e in problems]
        raise RequestError("; ".join(lines), _in_range(problems[0])) from None


def _in_range(problem: ErrorDetails) -> str:
    """Returns the values that the field of a problem takes."""
    name = str(problem["loc"][0])
    if name == "headroom":
        return "headroom is from 0 to below 1: 0.05, or 5% on the command line"
    bounds = problem.get("ctx", {})
    return f"{name} is at most {bounds['le']}" if "le" in bounds else f"{name} is a whole number from 1"
