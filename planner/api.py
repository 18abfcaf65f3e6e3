"""The two questions one can ask: what fits, and what does this configuration take."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hardware import GPU
from hardware.errors import shown
from planner.answers.notes import notes_for
from planner.answers.plans import plan_of, shortfall_of
from planner.extras import Progress
from planner.models import Model
from planner.problem.problem import CatalogSource, Problem, resolve_one
from planner.records.axes import RequestError, several, whole
from planner.records.result import EstimateResult, FitResult, Searched
from planner.records.space import SpaceSource
from planner.records.verification import Verification
from planner.search import EngineError, EngineSettings, Found, Solver, search
from strategies import DEFAULT_MAX_ACCUMULATION, Accumulation, ContradictionError, Engine, Exactly, Space, UpTo

if TYPE_CHECKING:
    from typing import Unpack

    from planner.records.option_types import Options


def fit(
    model: str | Model,
    *,
    gpu: str | GPU,
    gpus: int = 1,
    nodes: int = 1,
    sequence_length: int | None = None,
    micro_batch_size: int | Sequence[int] = (),
    evaluation_batch_size: int | None = None,
    batching: str = "full",
    mean_length: int | None = None,
    max_accumulation: int | None = None,
    global_batch_size: int | None = None,
    headroom: float = 0.05,
    top: int = 10,
    catalog: CatalogSource = None,
    space: SpaceSource = None,
    verify: bool = False,
    engine: str = "exhaustive",
    sampler: str | None = None,
    trials: int | None = None,
    timeout: float | None = None,
    seed: int | None = None,
    storage: str | None = None,
    progress: Progress = lambda _: None,
    **axes: Unpack[Options],
) -> FitResult:
    """The configurations that fit and give the largest effective batch, best first.

    Args:
        model: a registry name or alias, a path to a config.json, `hf:org/name`, a bare size such as `1B`, or
            `package.module:function`, which is imported and called for a `torch.nn.Module`.
        gpu: a name of the catalog, or a `GPU`.
        gpus: GPUs per node.
        nodes: number of nodes.
        sequence_length: tokens per sequence; by default 2048, or the model's positions where those end earlier.
        micro_batch_size: sequences per GPU and forward pass to choose from; by default the largest that fits.
        evaluation_batch_size: samples that are evaluated at once between steps; by default nothing is evaluated.
        batching: `full`; `padded`, samples of different lengths padded to `sequence_length`; or `packed`, several of
            them in a sequence, with positions that begin anew.
        mean_length: tokens of a sample on average, where samples are padded or packed.
        max_accumulation: most gradient accumulation steps (default 16). Excludes `global_batch_size`.
        global_batch_size: micro-batch x accumulation x ranks must equal this; the fastest wins.
        headroom: share of the GPU's usable bytes to leave free.
        top: number of plans to return.
        catalog: a `Catalog`, or a YAML file that adds to the built-in one.
        space: a `SearchSpace`, or a YAML file of one; `axes` come before what it says.
        verify: replay the best plan, and where the replay does not fit, the next ones, until one does: that is the
            first plan of the answer. Needs the extra `verify`.
        engine: `exhaustive`, which decides every strategy, or `optuna`, which samples.
        sampler: of optuna: `tpe`, `nsga2` for the front of batch, speed and headroom, `gp`, `random`, `brute-force`.
        trials: most trials of optuna, 200 by default.
        timeout: seconds after which no trial begins.
        seed: of the sampler, 0 by default.
        storage: a database such as `sqlite:///study.db` that keeps the trials, and from which the next run with the
            same question goes on; of the exhaustive engine it gets the candidates.
        progress: is told what the replay or the sampler does.
        axes: what to search of an option of `SearchSpace`, as it is said there: a value, several, or a range.

    Returns:
        Plans, notes and counts; without a plan that fits, `shortfall` says what is missing and what would help.

    Raises:
        PlannerError: an unknown name, an invalid value, or choices that contradict each other.
    """
    if max_accumulation is not None and global_batch_size is not None:
        raise ContradictionError(
            f"max_accumulation={max_accumulation} and global_batch_size={global_batch_size} exclude each other",
            "a wanted global batch decides the accumulation steps: give one of the two",
        )
    top = whole(top)
    if isinstance(top, bool) or not isinstance(top, int) or top < 1:
        raise RequestError(f"top is {shown(top)}, which is not a positive whole number", "10 is the default")
    settings = EngineSettings.of(engine, sampler=sampler, trials=trials, timeout=timeout, seed=seed, storage=storage)
    steps = DEFAULT_MAX_ACCUMULATION if max_accumulation is None and global_batch_size is None else max_accumulation
    problem = Problem(
        model,
        gpu,
        catalog,
        axes,
        {
            "gpus": gpus,
            "nodes": nodes,
            "sequence_length": sequence_length,
            "headroom": headroom,
            "micro_batch_size": tuple(map(whole, several(micro_batch_size))),
            "evaluation_batch_size": evaluation_batch_size,
            "batching": batching,
            "mean_length": mean_length,
            "max_accumulation": steps,
            "global_batch_size": global_batch_size,
        },
        progress,
        space,
    )
    accumulation = _accumulation(problem)
    searched = problem.space()
    settings = settings._replace(study=_study_name(problem, settings))
    solver = Solver(problem.memory, problem.budget_bytes, accumulation, problem.request.micro_batch_size)
    found = _search(searched, solver, settings, progress)
    if found.num_trials == 0:
        raise EngineError(f"timeout is {settings.timeout_seconds}: no trial was completed in time", "--timeout 60")
    if not found.num_strategies:
        raise ContradictionError(f"nothing can run: {'; '.join(found.rejected)}", "drop one of the restrictions")
    if not found.ranking and isinstance(accumulation, Exactly):
        _check_divisible(accumulation, solver)
    verification = _verified(problem, solver, found, progress) if verify else None
    first, best = found.ranking.first(top), found.ranking.best_by_method()
    return FitResult.model_construct(
        request=problem.request,
        plans=tuple(plan_of(c, solver) for c in first),
        best_by_method=tuple(plan_of(c, solver) for c in best),
        searched=Searched.model_construct(
            strategies=found.num_strategies,
            feasible=len(found.ranking),
            seconds=found.seconds,
            engine=settings.engine,
            sampler=settings.sampler if settings.engine is Engine.OPTUNA else None,
            trials=found.num_trials,
        ),
        rejected=dict(found.rejected),
        notes=notes_for(problem, [c.strategy for c in (*first, *best)]),
        shortfall=None if found.ranking else shortfall_of(problem, searched, solver),
        verification=verification,
    )


def estimate(
    model: str | Model,
    *,
    gpu: str | GPU,
    gpus: int = 1,
    nodes: int = 1,
    sequence_length: int | None = None,
    micro_batch_size: int = 1,
    gradient_accumulation_steps: int = 1,
    evaluation_batch_size: int | None = None,
    batching: str = "full",
    mean_length: int | None = None,
    headroom: float = 0.05,
    catalog: CatalogSource = None,
    progress: Progress = lambda _: None,
    **axes: Unpack[Options],
) -> EstimateResult:
    """The itemised memory and time of one configuration, whether it fits or not.

    Arguments are those of `fit`, with one choice per axis; an axis that is not given takes the first choice of the
    default space, full fine-tuning, no checkpointing, and full sharding on several GPUs.

    Raises:
        PlannerError: an unknown name, an invalid value, or a choice that the GPU or another choice excludes.
    """
    workload = {
        "gpus": gpus,
        "nodes": nodes,
        "sequence_length": sequence_length,
        "evaluation_batch_size": evaluation_batch_size,
        "batching": batching,
        "mean_length": mean_length,
        "headroom": headroom,
    }
    problem, solver, candidate = resolve_one(
        model, gpu, catalog, axes, workload, micro_batch_size, gradient_accumulation_steps, progress
    )
    plan, notes = plan_of(candidate, solver), notes_for(problem, [candidate.strategy])
    return EstimateResult.model_construct(**dict(plan), request=problem.request, notes=notes)


def _search(space: Space, solver: Solver, settings: EngineSettings, progress: Progress) -> Found:
    if settings.engine is Engine.EXHAUSTIVE:
        found = search(space, solver)
        if settings.storage is not None:
            from planner.search import study

            study.write(space, solver, found, settings, progress)
        return found
    from planner.search import study

    return study.search(space, solver, settings, progress)


def _study_name(problem: Problem, settings: EngineSettings) -> str:
    """The same for the same question to the same engine."""
    if settings.storage is None:
        return ""
    from hashlib import sha256

    request = problem.request
    how = settings.sampler if settings.engine is Engine.OPTUNA else settings.engine
    digest = sha256(f"{request.model_dump_json()} {how} {settings.seed}".encode()).hexdigest()[:8]
    return f"{request.model} on {problem.cluster.world_size} x {request.gpu}, {how}, {digest}"


def _verified(problem: Problem, solver: Solver, found: Found, progress: Progress) -> Verification | None:
    """The certificate of the first candidate whose replay fits; those before it are taken away and counted."""
    from planner.verification.replayed import verify_candidate

    while found.ranking:
        (candidate,) = found.ranking.first(1)
        verification = verify_candidate(problem, solver, candidate, progress).verification
        if verification.fits:
            return verification
        found.rejected["the replay does not fit"] += 1
        found.ranking.take()
    return None


def _accumulation(problem: Problem) -> Accumulation:
    wanted, ranks = problem.request.global_batch_size, problem.cluster.world_size
    if wanted is None:
        return UpTo(problem.request.max_accumulation or DEFAULT_MAX_ACCUMULATION)
    if wanted % ranks:
        raise ContradictionError(
            f"a global batch of {wanted} cannot be divided over {ranks} GPUs",
            f"--global-batch-size {-(-wanted // ranks) * ranks}",
        )
    return Exactly(wanted)


def _check_divisible(accumulation: Exactly, solver: Solver) -> None:
    """Raises ContradictionError if none of the micro-batches asked for makes the wanted batch."""
    sizes = [size for size, _ in accumulation.factors(solver.cluster.world_size)]
    if solver.allowed and not set(solver.allowed) & set(sizes):
        raise ContradictionError(
            f"no micro-batch of {', '.join(map(str, solver.allowed))} makes a global batch of "
            f"{accumulation.global_batch_size} on {solver.cluster.world_size} GPUs",
            f"one of {', '.join(map(str, sizes[:8]))}",
        )
