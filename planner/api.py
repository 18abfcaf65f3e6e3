"""Provides `fit`, which searches the configurations that fit, and `estimate`, which itemizes one configuration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hardware import GPU
from hardware.errors import shown
from planner.advice import shortfall_of, ways_of_one
from planner.answers.notes import notes_for
from planner.answers.plans import plan_of
from planner.answers.settled import settle
from planner.answers.studies import study_name
from planner.extras import Progress
from planner.models import Model
from planner.problem.accumulation import accumulation_of, check_divisible
from planner.problem.problem import CatalogSource, Problem, resolve_one
from planner.records.axes import RequestError, several, whole
from planner.records.result import EstimateResult, FitResult, Searched
from planner.records.space import SpaceSource
from planner.records.verification import Verification
from planner.search import EngineError, EngineSettings, Found, Solver, search
from strategies import DEFAULT_MAX_ACCUMULATION, ContradictionError, Engine, Exactly, Space

if TYPE_CHECKING:
    from typing import Unpack

    from planner.records.option_types import Options


def fit(
    model: str | Model,
    *,
    gpu: str | GPU,
    gpus: int | None = None,
    nodes: int = 1,
    task: str | None = None,
    sequence_length: int | None = None,
    micro_batch_size: int | Sequence[int] = (),
    evaluation_batch_size: int | None = None,
    batching: str = "full",
    mean_length: int | None = None,
    outputs: str = "released",
    max_accumulation: int | None = None,
    global_batch_size: int | None = None,
    headroom: float = 0.05,
    host_memory: int | str | None = None,
    loading: str = "auto",
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
    """Finds the configurations that fit and give the largest effective batch.

    The effective batch is micro-batch x accumulation steps x GPUs, in sequences per optimizer step. Plans with equal
    effective batches are ordered by predicted step time, then by less recomputation, then by more memory left free.

    Args:
        model: Name or alias in the registry, path to a config.json, `hf:org/name` on the Hugging Face Hub, size such as
            `1B` for a Llama-shaped model of about that size, `package.module:function`, which is imported and called
            for a `torch.nn.Module`, or a `Model`. Models outside the registry's families are planned by replays.
        gpu: Name or alias of a GPU or machine in the catalog, a size such as `24GiB` for a card that is not listed, or
            a `GPU`. A machine, such as `p5.48xlarge`, decides GPUs, host memory, network and price of each node.
        gpus: GPUs per node, from 1 to 1024; by default as many as the machine has, or else one.
        nodes: Number of nodes, from 1 to 65,536. Every GPU of every node is one data-parallel rank.
        task: What the model is trained to do, such as `masked-lm`; by default what people train it for, an encoder for
            `sequence-classification`.
        sequence_length: Tokens per sequence. By default 2048, or all of the model's positions if they end earlier;
            for a model whose samples all have one length, such as ViT, that length, and no other is accepted.
        micro_batch_size: Allowed numbers of sequences per GPU and forward pass, one or several. By default any number.
        evaluation_batch_size: Samples that each GPU evaluates at once between steps. By default nothing is evaluated.
        batching: How samples become sequences: `full`, every sequence is full; `padded`, samples of different lengths
            are padded to `sequence_length`; `packed`, several samples share a sequence, each with its own positions.
        mean_length: Tokens per sample on average, if samples are padded or packed. With it, tokens per second leave
            padding out; memory does not depend on it.
        outputs: How long the training loop keeps what the model returned, the logits among it: `released`, as Trainer
            does; `kept` until the next forward has returned, as `outputs = model(...)` in a loop; `kept-in-step`.
        max_accumulation: Largest number of gradient accumulation steps per optimizer step; 16 by default, since
            accumulation costs almost no memory. Excludes `global_batch_size`.
        global_batch_size: Effective batch, in sequences, that every plan must have; the fastest plan comes first.
        headroom: Share of the GPU's usable bytes that is left free, from 0 to below 1.
        host_memory: Host memory of one node that processes can use, in bytes or as text such as `512GB`; by default
            what is usual with its GPUs.
        loading: `every-rank` or `rank-0`: which ranks of a node have the whole model while it is loaded. By default
            every one, or rank 0 where a node cannot hold that and FSDP can send the others their shares.
        top: Number of plans to return.
        catalog: A `Catalog`, or the path of a YAML file that adds GPUs to the built-in catalog. By default the file
            that the environment variable PLANNER_CATALOG names, if any, is added.
        space: A `SearchSpace`, or the path of a YAML file that holds one. Options in `axes` take precedence over it.
        verify: Whether to replay the best plan, and if its replay does not fit, the next ones, until one fits. Plans
            before that one are removed from the answer. Needs the extra `verify`.
        engine: `exhaustive` decides every strategy of the space; `optuna` samples a space that is too large for that.
        sampler: Sampler of optuna: `tpe` (the default), `nsga2` for the Pareto front of effective batch, speed and
            headroom, `gp` (needs the extra `gp`), `random` or `brute-force`.
        trials: Completed trials, including earlier ones in `storage`, after which optuna stops; 200 by default.
        timeout: Seconds after which optuna starts no further trial. By default there is no limit.
        seed: Seed of the sampler, 0 by default.
        storage: URL of a database such as `sqlite:///study.db` that keeps the trials of optuna; later runs and parallel
            processes with the same request, sampler and seed continue the study. The exhaustive engine writes its best
            candidates to it.
        progress: Function that is called with a line of text about what takes long, such as a replay.
        axes: Options of `SearchSpace` by name (`precision`, `lora_rank`, ...), each with a value, several values, `all`
            choices, or a range such as `"4..64"`. Options that are not given are searched over their usual values.

    Returns:
        The `top` best plans, the best plan of each fine-tuning method, the number of strategies that were searched,
        the reasons for which others were rejected, and notes. If nothing fits, `shortfall` says what is missing and
        which changes of the request would fit, unless the space is too large to find that out.

    Raises:
        UnknownNameError: The registry has no such model, or the catalog no such GPU.
        InvalidChoiceError: There is no such option, choice, engine or sampler.
        RequestError: A value is of the wrong type or out of range.
        ContradictionError: Arguments exclude each other, or no strategy of the space can run.
        CatalogError: The catalog file has problems.
        SpaceFileError: The file of the search space has problems.
        ModelConfigError: The config.json cannot be used.
        MissingExtraError: A replay is needed, and torch or transformers is not installed.
        PlannerError: The base class of these; alone or as another subclass, it reports a model that cannot be
            downloaded, built or replayed, a space that is too large for the engine, or a storage that cannot be used.
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
            "task": task,
            "sequence_length": sequence_length,
            "headroom": headroom,
            "host_memory": host_memory,
            "loading": loading,
            "micro_batch_size": tuple(map(whole, several(micro_batch_size))),
            "evaluation_batch_size": evaluation_batch_size,
            "batching": batching,
            "mean_length": mean_length,
            "outputs": outputs,
            "max_accumulation": steps,
            "global_batch_size": global_batch_size,
        },
        progress,
        space,
    )
    accumulation = accumulation_of(problem.request)
    searched = problem.space()
    settings = settings._replace(study=study_name(problem, settings))
    solver = Solver(problem.memory, problem.budget_bytes, accumulation, problem.request.micro_batch_size)
    found = _search(searched, solver, settings, progress)
    if found.num_trials == 0:
        raise EngineError(f"timeout is {settings.timeout_seconds}: no trial was completed in time", "--timeout 60")
    if not found.num_strategies:
        raise ContradictionError(f"nothing can run: {'; '.join(found.rejected)}", "drop one of the restrictions")
    if not found.ranking and isinstance(accumulation, Exactly):
        check_divisible(accumulation, solver)
    settle(found, solver, top)
    verification = _verified(problem, solver, found, progress) if verify else None
    first, best = found.ranking.recommended(top), found.ranking.best_by_method()
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
    gpus: int | None = None,
    nodes: int = 1,
    task: str | None = None,
    sequence_length: int | None = None,
    micro_batch_size: int = 1,
    gradient_accumulation_steps: int = 1,
    evaluation_batch_size: int | None = None,
    batching: str = "full",
    mean_length: int | None = None,
    outputs: str = "released",
    headroom: float = 0.05,
    host_memory: int | str | None = None,
    loading: str = "auto",
    catalog: CatalogSource = None,
    progress: Progress = lambda _: None,
    **axes: Unpack[Options],
) -> EstimateResult:
    """Itemizes the memory and time of one configuration, whether it fits or not.

    Args:
        model: The model, as for `fit`.
        gpu: Name or alias of a GPU or a machine in the catalog, or a `GPU`, as for `fit`.
        gpus: GPUs per node, by default as for `fit`.
        nodes: Number of nodes.
        task: What the model is trained to do, by default as for `fit`.
        sequence_length: Tokens per sequence, by default as for `fit`.
        micro_batch_size: Sequences per GPU and forward pass.
        gradient_accumulation_steps: Forward and backward passes per optimizer step.
        evaluation_batch_size: Samples that each GPU evaluates at once between steps; None for no evaluation.
        batching: `full`, `padded` or `packed`, as for `fit`.
        mean_length: Tokens per sample on average, if samples are padded or packed.
        outputs: `released`, `kept` or `kept-in-step`, as for `fit`.
        headroom: Share of the GPU's usable bytes that is left free, from 0 to below 1.
        host_memory: Host memory of one node, as for `fit`.
        loading: `auto`, `every-rank` or `rank-0`, as for `fit`.
        catalog: A `Catalog`, or the path of a YAML file that adds GPUs to the built-in catalog.
        progress: Function that is called with a line of text about what takes long.
        axes: Options of `SearchSpace` by name, with one value each. By default fine-tuning is full, several GPUs shard
            fully (with qlora not at all), and every other option has the first value of the default space: mixed
            precision where the GPU supports it, AdamW, no checkpointing.

    Returns:
        The plan, with its memory by category and by moment of the step in `memory`, its time in `time`, notes, and if
        it does not fit, `ways` out.

    Raises:
        ContradictionError: An option has several values, or the GPU, the model or another choice excludes a choice.
        PlannerError: Any other reason for which `fit` raises.
    """
    workload = {
        "gpus": gpus,
        "nodes": nodes,
        "task": task,
        "sequence_length": sequence_length,
        "evaluation_batch_size": evaluation_batch_size,
        "batching": batching,
        "mean_length": mean_length,
        "outputs": outputs,
        "headroom": headroom,
        "host_memory": host_memory,
        "loading": loading,
    }
    problem, solver, candidate = resolve_one(
        model, gpu, catalog, axes, workload, micro_batch_size, gradient_accumulation_steps, progress
    )
    plan, notes = plan_of(candidate, solver, serves=True), notes_for(problem, [candidate.strategy])
    ways = () if plan.memory.fits else ways_of_one(problem, solver, candidate, "estimate")
    return EstimateResult.model_construct(**dict(plan), request=problem.request, notes=notes, ways=ways)


def _search(space: Space, solver: Solver, settings: EngineSettings, progress: Progress) -> Found:
    if settings.engine is Engine.EXHAUSTIVE:
        found = search(space, solver)
        if settings.storage is not None:
            from planner.search import study

            study.write(space, solver, found, settings, progress)
        return found
    from planner.search import study

    return study.search(space, solver, settings, progress)


def _verified(problem: Problem, solver: Solver, found: Found, progress: Progress) -> Verification | None:
    """Returns the verification of the best candidate whose replay fits, or None if there is none.

    Candidates before it are removed from the ranking and counted as rejected.
    """
    from planner.verification.replayed import verify_candidate

    while found.ranking:
        (candidate,) = found.ranking.first(1)
        verification = verify_candidate(problem, solver, candidate, progress).verification
        if verification.fits:
            return verification
        found.rejected["the replay does not fit"] += 1
        found.ranking.take()
    return None
