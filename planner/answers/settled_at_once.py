"""Settles several candidates at once, in processes that share them.

Settling one strategy takes 0.01 to 0.2 s, and some fourteen are shown.
"""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from planner.memory import MemoryModel
from planner.memory.reserved import Asked, Reserved, Served
from planner.processes import forked
from planner.search import Candidate, Solver

LEAST_PARTS = 200
"""Parts of all candidates from which on processes settle them sooner than one alone: a part took 1.4 ms of gpt2 and 2.4
of llama-2-7b, and to have two processes took 0.1 s, on 2 shared cores."""

Settle = Callable[[Candidate, Solver], Candidate | None]

_settle: Settle | None = None
_solver: Solver | None = None
_candidates: Sequence[Candidate] = ()


def settled_at_once(candidates: Sequence[Candidate], solver: Solver, settle: Settle) -> list[Candidate | None] | None:
    """Settles candidates.

    Args:
        candidates: The candidates.
        solver: The solver that found them.
        settle: Settles one of them.

    Returns:
        What each is settled as; None where no processes can do so: with one core, in a process of another pool, beside
        threads, without `fork`; and where they are not worth it.
    """
    global _settle, _solver, _candidates
    model = solver.model
    if not isinstance(model, MemoryModel) or sum(len(model.parts(c.strategy, 1)) for c in candidates) < LEAST_PARTS:
        return None
    processes = forked(len(candidates))
    if processes < 2 or threading.active_count() > 1:
        return None
    _settle, _solver, _candidates = settle, solver, candidates
    try:
        with ProcessPoolExecutor(processes, multiprocessing.get_context("fork")) as pool:
            found = list(pool.map(_settled, range(len(candidates))))
    except (OSError, BrokenProcessPool):  # without memory for processes
        return None
    finally:
        _settle, _solver, _candidates = None, None, ()
    served = Served(solver.model)
    for candidate, (_, known) in zip(candidates, found, strict=True):
        served.known(candidate.strategy).update(known)
    pairs = zip(candidates, found, strict=True)
    return [None if one is None else _as_settled(candidate, solver, *one) for candidate, (one, _) in pairs]


def _settled(place: int) -> tuple[tuple[int, int, Reserved | None] | None, dict[Asked, Reserved]]:
    """Settles a candidate in a forked process.

    Returns:
        The micro-batch, the accumulation steps and the reserve of what it is settled as, or None; and all that was
        served of it.
    """
    assert _settle is not None
    assert _solver is not None
    found = _settle(_candidates[place], _solver)
    known = Served(_solver.model).known(_candidates[place].strategy)
    if found is None:
        return None, known
    return (found.micro_batch_size, found.gradient_accumulation_steps, found.served), known


def _as_settled(candidate: Candidate, solver: Solver, size: int, steps: int, served: Reserved | None) -> Candidate:
    return solver.candidate(candidate.strategy, size, steps)._replace(served=served)
