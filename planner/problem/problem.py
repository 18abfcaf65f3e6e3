"""From what a caller says to what is searched: names resolved, values checked, axes turned into a space."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from pydantic import ValidationError

from hardware import GPU, Catalog, Cluster, load_catalog
from hardware.errors import shown
from planner.extras import Progress
from planner.memory import MemoryModel, StepMemory, TracedModel
from planner.models import Foreign, Model, recognize
from planner.problem.batches import check_batching
from planner.records.axes import RequestError, parse_axes, whole
from planner.records.request import DEFAULT_SEQUENCE_LENGTH, Request
from planner.records.space import SpaceSource, given_by
from planner.search import Candidate, Solver
from strategies import (
    AXES,
    Attention,
    Batching,
    ContradictionError,
    Finetuning,
    Kernels,
    Lora,
    Loss,
    Optimizer,
    Quantization,
    Sharding,
    Space,
    Strategy,
    UpTo,
    usual_precisions,
    violation,
)

if TYPE_CHECKING:  # torch is imported for models that only replays know
    from planner.profiles import ProfiledModel

C = TypeVar("C")
AnyModel: TypeAlias = "Model | ProfiledModel"
CatalogSource = Catalog | str | Path | None


class Problem:
    """A request with everything it names found: model, cluster, budget, memory model."""

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
        self.catalog = catalog if isinstance(catalog, Catalog) else load_catalog(catalog)
        self.model = _found(model, progress)
        found = gpu if isinstance(gpu, GPU) else self.catalog.get(gpu)
        length = values.get("sequence_length")
        self.request = _request(
            self.model,
            found,
            axes,
            {
                **values,
                "sequence_length": default_length(self.model) if length is None else length,
                "batching": Batching.parse(values.get("batching", Batching.FULL)),
            },
        )
        check_batching(self.request, self.model)
        self.cluster = Cluster(found, self.request.gpus, self.request.nodes)
        self.memory = _memory_of(self.model, self.request, self.cluster)
        self.budget_bytes = budget_bytes(found, self.request.headroom)
        check_sequence(self.model, self.request.sequence_length)
        _check_refinements(self.request)
        _check_lora(self.request, self.model)
        _check_kernels(self.request, self.model)

    def _default(self) -> Space:
        """The cluster's, with the attention that transformers gives this model."""
        space = Space.default(self.cluster)
        return space if self.model.supports_sdpa else space._replace(attention=(Attention.EAGER,))

    def space(self) -> Space:
        """The default space of the cluster, restricted to the request's choices."""
        return self.request.within(self._default())

    def strategy(self) -> Strategy:
        """The one strategy that the request names. Open axes take the first choice of the default space, fine-tuning is
        full, and several GPUs shard fully.

        Raises ContradictionError when an axis has several choices, or when the strategy cannot run.
        """
        default, values = self._default()._asdict(), {}
        finetuning = self._one("finetuning", (Finetuning.FULL,))
        shards = self.cluster.world_size > 1 and finetuning is not Finetuning.QLORA
        default |= {
            "finetuning": (finetuning,),
            "precision": usual_precisions(self.cluster.gpu, finetuning),
            "optimizer": tuple(Optimizer),
            "sharding": (Sharding.FULL_SHARD if shards else Sharding.NO_SHARD,),
        }
        for axis in AXES.values():
            choice = values[axis.name] = self._one(axis.name, default[axis.name])
            values |= {option.name: self._one(option.name, default[option.name]) for option in axis.refining(choice)}
        strategy = Strategy.of(values)
        steps = self.request.gradient_accumulation_steps or 1
        if steps > 1 and not strategy.update.accumulates:
            raise ContradictionError(
                f"update {strategy.update} leaves no gradient to which {steps} micro-batches could add",
                "--gradient-accumulation-steps 1",
            )
        if reason := violation(strategy, self.cluster) or self.memory.violation(strategy):
            raise ContradictionError(f"this configuration cannot run: {reason}", "choose another value for that axis")
        return strategy

    def _one(self, axis: str, default: tuple[C, ...]) -> C:
        given: tuple[C, ...] = getattr(self.request, axis)
        if len(given) > 1:
            raise ContradictionError(f"an estimate is of one {axis}, not of {len(given)}", "give it once")
        return (given or default)[0]


def resolve_one(
    model: str | Model | Foreign,
    gpu: str | GPU,
    catalog: CatalogSource,
    axes: Mapping[str, Any],
    workload: Mapping[str, Any],
    micro_batch_size: int,
    gradient_accumulation_steps: int,
    progress: Progress = lambda _: None,
) -> tuple[Problem, Solver, Candidate]:
    """One configuration with its memory and time, whether it fits or not."""
    micro_batch_size, gradient_accumulation_steps = whole(micro_batch_size), whole(gradient_accumulation_steps)
    if gradient_accumulation_steps is None:
        raise RequestError("gradient_accumulation_steps is None, not a whole number", "1 accumulates nothing")
    sizes = {
        "micro_batch_size": (micro_batch_size,),
        "gradient_accumulation_steps": gradient_accumulation_steps,
        "max_accumulation": None,
    }
    problem = Problem(model, gpu, catalog, axes, {**workload, **sizes}, progress)
    solver = Solver(problem.memory, problem.budget_bytes, UpTo(gradient_accumulation_steps))
    return problem, solver, solver.candidate(problem.strategy(), micro_batch_size, gradient_accumulation_steps)


def budget_bytes(gpu: GPU, headroom: float) -> int:
    """The GPU's usable bytes less the headroom."""
    return gpu.memory_bytes - round(gpu.memory_bytes * headroom)


def _found(model: str | Model | Foreign, progress: Progress) -> AnyModel:
    if not isinstance(model, Model | Foreign):
        model = recognize(model)
    if isinstance(model, Model):
        return model
    from planner.profiles import ProfiledModel

    return ProfiledModel.of(model, progress)


def _memory_of(model: AnyModel, request: Request, cluster: Cluster) -> StepMemory:
    if isinstance(model, Model):
        traced = TracedModel(model.inventory, request.sequence_length)
        return MemoryModel(
            traced,
            cluster,
            evaluation_batch_size=request.evaluation_batch_size,
            batching=request.batching,
            mean_length=request.mean_length,
        )
    if request.evaluation_batch_size is not None:
        raise ContradictionError(
            f"evaluation_batch_size={request.evaluation_batch_size}, but of {model.name} only training steps are known",
            "leave it out: an evaluation of the micro-batch takes less than its training",
        )
    from planner.profiles import ProfiledMemory

    return ProfiledMemory(model, request.sequence_length, cluster)


def default_length(model: AnyModel) -> int:
    """`DEFAULT_SEQUENCE_LENGTH`, or all positions of a model that has fewer, or the only length that it has."""
    if model.tokens_per_sample is not None:
        return model.tokens_per_sample
    return min(DEFAULT_SEQUENCE_LENGTH, model.usual_length or DEFAULT_SEQUENCE_LENGTH)


def check_sequence(model: AnyModel, sequence_length: int) -> None:
    """Raises ContradictionError if the model has no position for the last token, or takes samples of another length."""
    if model.tokens_per_sample not in (None, sequence_length):
        raise ContradictionError(
            f"sequence_length={sequence_length}, but a sample of {model.name} has {model.tokens_per_sample} tokens",
            f"--sequence-length {model.tokens_per_sample}, or leave it out",
        )
    context = model.max_positions
    if context is not None and sequence_length > context and model.has_learned_positions:
        raise ContradictionError(
            f"sequence_length={sequence_length} is longer than the {context} learned positions of {model.name}",
            f"--sequence-length {context}",
        )


def _check_kernels(request: Request, model: AnyModel) -> None:
    """Raises ContradictionError for a kernel that is asked for and that no library has for the model."""
    for axis, plainest in (("attention", Attention.EAGER), ("loss", Loss.FULL), ("kernels", Kernels.EAGER)):
        for choice in getattr(request, axis):
            if reason := model.unsupported(choice):
                raise ContradictionError(reason, f"--{axis} {plainest}")
    if Kernels.COMPILE not in request.kernels:
        return
    if request.batching is not Batching.FULL:
        raise ContradictionError(
            f"batching={request.batching}, but compiled blocks have an account for full sequences alone",
            "--batching full",
        )
    if request.evaluation_batch_size is not None:
        raise ContradictionError(
            f"evaluation_batch_size={request.evaluation_batch_size}, but compiled blocks have no account of evaluation",
            "leave it out",
        )


def _check_refinements(request: Request) -> None:
    """Raises ContradictionError for an option that refines no choice that is asked for."""
    for axis in AXES.values():
        chosen = getattr(request, axis.name)
        for option in axis.refinements if chosen else ():
            given = [value for value in getattr(request, option.name) if value != option.hidden_default]
            if given and not any(option.refines(choice) for choice in chosen):
                owners = [str(choice) for choice in option.belongs_to]
                raise ContradictionError(
                    f"{option.name}={given[0]} is given, but only {' and '.join(owners)} {_has(owners)}",
                    f"add --{axis.name} {owners[0]}",
                )


def _has(owners: list[str]) -> str:
    return "has it" if len(owners) == 1 else "have it"


def _check_lora(request: Request, model: AnyModel) -> None:
    if request.finetuning == (Finetuning.QLORA,) and request.quantization == (Quantization.NONE,):
        raise ContradictionError("qlora without quantization is lora", "--finetuning lora")
    for targets in request.lora_targets:
        Lora(targets=targets).check_targets(model.target_names, model.name)


def _request(model: AnyModel, gpu: GPU, axes: Mapping[str, Any], values: Mapping[str, Any]) -> Request:
    try:
        named = {"model": model.name, "num_parameters": model.num_parameters, "gpu": gpu.name}
        named["gpu_memory_bytes"] = gpu.memory_bytes
        return Request.model_validate({**named, **axes, **{name: whole(value) for name, value in values.items()}})
    except ValidationError as error:
        problems = error.errors(include_url=False)
        lines = [f"{'.'.join(str(p) for p in e['loc'])} is {shown(e['input'])}: {e['msg'].lower()}" for e in problems]
        raise RequestError("; ".join(lines), "sizes are positive whole numbers, headroom is 0.05 for 5%") from None
