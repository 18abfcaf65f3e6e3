"""Replays several settings of a model at once, each in a process of its own."""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import Final

from planner.extras import Progress, needed_for
from planner.processes import forked
from planner.profiles.asked import Asked, Key
from planner.profiles.measure import FEATURE, measured
from planner.profiles.records import Profile, Refusal
from strategies import Lora

MOST_PROCESSES: Final = 8
"""Most processes that replay at once. Each takes about half a GiB of its own; a search has some sixteen settings."""


def in_processes(questions: Sequence[Asked], progress: Progress) -> dict[Key, Profile | Refusal]:
    """Answers questions on several cores, and keeps the answers on disk.

    Where it cannot (with one core or question, within a process of another pool, without `fork`), and where a replay
    fails, answers are left out; asked one by one, the questions say why.

    Args:
        questions: What nothing is kept about.
        progress: Told what has been done.

    Returns:
        The answers, by the keys of their questions.
    """
    processes = min(forked(len(questions)), MOST_PROCESSES)
    if processes < 2:
        return {}
    with needed_for(FEATURE, "verify"):
        from planner.replay import step  # noqa: F401  # so that no process has to import torch by itself
    found: dict[Key, Profile | Refusal] = {}
    progress(f"{questions[0].foreign.name}, {len(questions)} settings in {processes} processes")
    pool = ProcessPoolExecutor(processes, multiprocessing.get_context("fork"), initializer=_begin)
    try:
        asked = {
            pool.submit(measured, question): question for question in sorted(questions, key=_operators, reverse=True)
        }
        for number, future in enumerate(as_completed(asked), start=1):
            question = asked[future]
            found[question.key] = future.result()
            progress(f"{question.foreign.name}, {number} of {len(questions)} settings: {question}")
    except Exception:  # a model's code that fails, a process without memory
        pass
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
    return found


def _operators(question: Asked) -> tuple[bool, bool]:
    """Returns what orders questions by the number of operators in their steps.

    The longest replays begin first, so that none runs alone at the end.
    """
    strategy = question.strategy
    return isinstance(strategy.finetuning, Lora), strategy.checkpointing.recomputes


def _begin() -> None:
    """Prepares a process that only replays."""
    import gc

    import torch

    torch.set_num_threads(1)  # threads that torch had before the fork are not there any more
    gc.freeze()  # a replay begins with a collection, which need not look at the imported libraries
