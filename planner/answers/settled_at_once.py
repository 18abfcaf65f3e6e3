"""Settles several candidates at once, in processes that share them.

Serving the requests of one strategy takes 0.05 to 0.3 s, as long as the search of all of them, and some fourteen are
shown.
"""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from planner.memory.reserved import Reserved
from planner.processes import forked
from planner.search import Candidate, Solver

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
        threads, without `fork`.
    """
    global _settle, _solver, _candidates
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
    pairs = zip(candidates, found, strict=True)
    return [None if one is None else _as_settled(candidate, solver, *one) for candidate, one in pairs]


def _settled(place: int) -> tuple[int, int, Reserved | None] | None:
    """Returns the micro-batch, the accumulation steps and the reserve of a settled candidate, in a forked process."""
    assert _settle is not None
    assert _solver is not None
    found = _settle(_candidates[place], _solver)
    return None if found is None else (found.micro_batch_size, found.gradient_accumulation_steps, found.served)


def _as_settled(candidate: Candidate, solver: Solver, size: int, steps: int, served: Reserved | None) -> Candidate:
    return solver.candidate(candidate.strategy, size, steps)._replace(served=served)
