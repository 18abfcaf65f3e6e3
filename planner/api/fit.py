"""Provides `fit`, which searches the configurations that fit."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Unpack

from hardware import GPU
from planner.answers.fitted import Listed, answer_of
from planner.answers.settled import settle
from planner.answers.studies import about, study_name
from planner.extras import Progress
from planner.models import Model
from planner.problem.accumulation import adds_nothing, check_divisible
from planner.problem.arguments import RankingArguments
from planner.problem.problem import Problem
from planner.problem.questions import options_in, question
from planner.problem.search_request import fields_of, number_of, solver_of
from planner.records.advice import Shortfall, Way, WhyNot
from planner.records.asked.axes import several
from planner.records.result import FitResult
from planner.records.verification import Verification
from planner.search import Candidate, EngineError, EngineSettings, Found, Solver, search
from strategies import ContradictionError, Engine, Exactly, Space


@question(RankingArguments)
def fit(
    model: str | Model,
    *,
    gpu: str | GPU,
    gpus: int | None = None,
    nodes: int = 1,
    pareto: bool = False,
    verify: bool = False,
    advice: bool = False,
    why_not: str | Sequence[str] = (),
    engine: str = "exhaustive",
    sampler: str | None = None,
    trials: int | None = None,
    timeout: float | None = None,
    seed: int | None = None,
    storage: str | None = None,
    **asked: Unpack[RankingArguments],
) -> FitResult:
    """Finds the configurations that fit, by default those of the largest effective batch.

    The effective batch is micro-batch x accumulation steps x GPUs, in sequences per optimizer step. Plans with equal
    effective batches are ordered by predicted step time, then by less recomputation, then by more memory left free.
    Whatever the objective, plans come last that put convergence at risk by a choice nobody asked for, such as fp16
    where the GPU has bf16; an option with a single value is asked for.

    Args:
        model: Name or alias in the registry, path to a config.json, `hf:org/name` on the Hugging Face Hub, size such as
            `1B` for a Llama-shaped model of about that size, `package.module:function`, which is imported and called
            for a `torch.nn.Module`, or a `Model`. Models outside the registry's families are planned by replays.
        gpu: Name or alias of a GPU or machine in the catalog, a size such as `24GiB` for a card that is not listed, or
            a `GPU`. A machine, such as `p5.48xlarge`, decides GPUs, host memory, network and price of each node. A name
            may say how many a node has: `8xH100`.
        gpus: GPUs per node, from 1 to 1024; by default as many as the machine has, or else one.
        nodes: Number of nodes, from 1 to 65,536. Every GPU of every node is one data-parallel rank.
        pareto: Whether to return the front of effective batch, speed and memory as well, which is exact.
        verify: Whether to replay the best plan, and if its replay does not fit, the next ones, until one fits. Plans
            before that one are removed from the answer. Needs the extra `verify`.
        advice: Whether the answer says, where something fits, which one change would double the batch, or make the
            plan to run faster by a third.
        why_not: Values of options, such as `checkpointing=none`, of which the answer says what beats them, or by how
            much they do not fit and what would pay for them.
        engine: `exhaustive` decides every strategy of the space; `optuna` samples a space that is too large for that.
        sampler: Sampler of optuna: `tpe` (the default), `nsga2` for the Pareto front of effective batch, speed and
            headroom, `gp` (needs the extra `gp`), `random` or `brute-force`.
        trials: Completed trials, including earlier ones in `storage`, after which optuna stops; 200 by default.
        timeout: Seconds after which optuna starts no further trial. By default there is no limit.
        seed: Seed of the sampler, 0 by default.
        storage: URL of a database such as `sqlite:///study.db` that keeps the trials of optuna; later runs and parallel
            processes with the same request, sampler and seed continue the study. The exhaustive engine writes its best
            candidates to it.
        asked: Options of `SearchSpace` by name (`precision`, `lora_rank`, ...), each with a value, several values,
            `all` choices, or a range such as `"4..64"`. Those that are not given are searched over their usual values.

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
    top, progress = number_of("top", asked["top"]), asked["progress"]
    settings = EngineSettings.of(engine, sampler=sampler, trials=trials, timeout=timeout, seed=seed, storage=storage)
    fields = fields_of({**asked, "gpus": gpus, "nodes": nodes})
    problem = Problem(model, gpu, asked["catalog"], options_in(asked), fields, progress, asked["space"])
    solver, searched = solver_of(problem), problem.space()
    settings = settings._replace(study=study_name(problem, settings), about=about(problem, searched, settings))
    found = _search(searched, solver, settings, progress)
    if found.num_trials == 0:
        raise EngineError(f"timeout is {settings.timeout_seconds}: no trial was completed in time", "--timeout 60")
    if not found.num_strategies:
        raise ContradictionError(f"nothing can run: {'; '.join(found.rejected)}", "drop one of the restrictions")
    if not found.ranking and isinstance(solver.accumulation, Exactly):
        check_divisible(solver.accumulation, solver)
    start = time.perf_counter()
    settle(found, solver, top)
    settled = time.perf_counter()
    verification = _verified(problem, solver, found, progress) if verify else None
    verified = time.perf_counter()
    bounded = asked["max_accumulation"] is not None or adds_nothing(problem.request.task)
    listed = Listed.of(found, solver, top, bounded=bounded)
    # The search ends with the candidates that are listed; replays say their own time.
    found = found._replace(seconds=found.seconds + settled - start + time.perf_counter() - verified)
    answer = answer_of(problem, solver, found, listed, settings, pareto=pareto, verification=verification)
    unwanted = several(why_not) if why_not else ()
    if not answer.plans:
        short = None if answer.fastest else _shortfall(problem, searched, solver)
        why = _why_not(problem, searched, solver, None, None, unwanted)
        return answer.model_copy(update={"shortfall": short, "why_not": why})
    run, more = listed.run_of(answer), None
    if advice and not verify and settings.engine is Engine.EXHAUSTIVE:
        more = _step_more(problem, searched, solver, found, run, bounded=bounded)
    why = _why_not(problem, searched, solver, listed.first[0], run, unwanted)
    return answer.model_copy(update={"step_more": more, "why_not": why})


def _shortfall(problem: Problem, space: Space, solver: Solver) -> Shortfall | None:
    """Returns why nothing fits; what finds that out is imported only then."""
    from planner.advice.shortfall import shortfall_of

    return shortfall_of(problem, space, solver)


def _step_more(
    problem: Problem, space: Space, solver: Solver, found: Found, run: Candidate, *, bounded: bool
) -> Way | None:
    """Returns a change that would help the plan to run much; what finds that out is imported only then."""
    from planner.advice.step_more import step_more

    return step_more(problem, space, solver, found, run, bounded=bounded)


def _why_not(
    problem: Problem,
    space: Space,
    solver: Solver,
    first: Candidate | None,
    run: Candidate | None,
    asked: Sequence[str],
) -> tuple[WhyNot, ...]:
    """Returns why no plan with each value that is asked about comes first; the means are imported only then."""
    if not asked:
        return ()
    from planner.advice.why_not import why_not

    return tuple(why_not(problem, space, solver, first, run, one) for one in asked)


def _search(space: Space, solver: Solver, settings: EngineSettings, progress: Progress) -> Found:
    if settings.engine is Engine.EXHAUSTIVE:
        found = search(space, solver)
        if settings.storage is not None:
            from planner.search.studies import study

            study.write(space, solver, found, settings, progress)
        return found
    from planner.search.studies import study

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
