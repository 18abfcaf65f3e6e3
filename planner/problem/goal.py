"""Reads what a search looks for, and what a run may take: the objective, a deadline, a budget, the price of a GPU."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from planner.problem.problem import Problem
from planner.records.asked.amounts import parse_amount, parse_count, parse_dollars, parse_seconds
from planner.records.asked.request import Request
from planner.search import Order, RunLimits
from strategies import OPTIONS, Batching, ContradictionError, Framework, Objective, Strategy, num_risks

SECONDS_PER_HOUR = 3600


def run_fields(tokens: Any, samples: Any, epochs: Any, deadline: Any, budget: Any, price: Any) -> dict[str, Any]:
    """Returns the fields of the request for what a caller says about a run.

    Raises:
        RequestError: A value is not such a number.
        ContradictionError: A limit is given, but not how long the run is, or its length is given twice.
    """
    if tokens is not None and samples is not None:
        raise ContradictionError("tokens and samples both say how long a run is", "give one of the two")
    for name, value in (("epochs", epochs), ("deadline", deadline), ("budget", budget)):
        if value is not None and tokens is None and samples is None:
            raise ContradictionError(f"{name} is given, but not how long the run is", "add --samples N or --tokens N")
    return {
        "tokens": parse_count("tokens", tokens),
        "samples": parse_count("samples", samples),
        "epochs": parse_amount("epochs", epochs),
        "deadline_seconds": parse_seconds("deadline", deadline),
        "budget_usd": parse_dollars("budget", budget),
        "gpu_usd_per_hour": parse_dollars("price", price),
    }


def samples_of_run(request: Request, real_tokens: int) -> float | None:
    """Returns the sequences that a run trains on, all epochs together; None if none is asked for.

    Args:
        request: The request.
        real_tokens: Tokens of a sequence that are not padding, on average.

    Raises:
        ContradictionError: Samples are packed, and nothing says how long they are.
    """
    epochs = request.epochs or 1.0
    if request.tokens is not None:
        return epochs * request.tokens / real_tokens
    if request.samples is None or request.batching is not Batching.PACKED:
        return None if request.samples is None else epochs * request.samples
    if request.mean_length is None:
        raise ContradictionError("samples are counted and packed, but not how long they are", "add --mean-length N")
    return epochs * request.samples * request.mean_length / request.sequence_length


def order_of(problem: Problem) -> Order:
    """Returns the order of a request's candidates: by risks that nobody asked for, then by the objective.

    An option with a single value in the request was asked for by name. So was the precision of a framework that trains
    weights as they are loaded.

    Raises:
        ContradictionError: The objective is the cost, and the price of the GPU is not known.
    """
    request, gpu = problem.request, problem.cluster.gpu
    asked = {name for name in OPTIONS if len(getattr(request, name)) == 1}
    if problem.framework is not Framework.TRANSFORMERS and problem.framework.facts.trains_as_loaded:
        asked.add("precision")
    objective = request.objective or Objective.BATCH
    if objective is Objective.COST:
        _check_price(problem, "--objective cost")

    def risks(strategy: Strategy) -> int:
        return num_risks(strategy, gpu, asked)

    return Order(objective, risks)


def limits_of(problem: Problem) -> RunLimits:
    """Returns what a run may take, and the price of the GPUs.

    Raises:
        ContradictionError: There is a budget, and the price of the GPU is not known; or `samples_of_run` raises.
    """
    request = problem.request
    if request.budget_usd is not None:
        _check_price(problem, "--budget")
    price = usd_per_hour(problem)
    per_second = None if price is None else price / SECONDS_PER_HOUR
    samples = samples_of_run(request, problem.memory.real_tokens)
    return RunLimits(samples, request.deadline_seconds, request.budget_usd, per_second)


def usd_per_hour(problem: Problem) -> float | None:
    """Returns the price of all GPUs for an hour, as given or as the catalog has it; None where it is not known."""
    given = problem.request.gpu_usd_per_hour
    return problem.cluster.price_per_hour_usd if given is None else given * problem.cluster.world_size


def notes_on_price(problem: Problem) -> Iterator[str]:
    """Yields a note on the price of the catalog where an answer depends on it."""
    request, priced = problem.request, problem.cluster.priced
    depends = request.objective is Objective.COST or request.samples is not None or request.tokens is not None
    if not depends or request.gpu_usd_per_hour is not None:
        return
    name = request.machine or request.gpu
    if priced.price_per_hour_usd is None:
        yield f"no price of {name} is known, so that none of a run is said: --price USD, for one GPU and hour."
        return
    read = f", read on {priced.price_date}" if priced.price_date else ""
    source = f" ({priced.price_source})" if priced.price_source else ""
    yield f"prices are of {priced.price_per_hour_usd:,.2f} USD an hour for {name}{read}{source}."


def _check_price(problem: Problem, asked: str) -> None:
    if usd_per_hour(problem) is None:
        raise ContradictionError(
            f"{asked} needs the price of a GPU, and the catalog has none of {problem.cluster.gpu.name}",
            "--price USD, for one GPU and hour; or price_per_hour_usd in a catalog",
        )
