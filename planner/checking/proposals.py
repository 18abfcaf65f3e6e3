"""Proposes changes of a run's files, each with its diff and the plan that it makes."""

from __future__ import annotations

from collections.abc import Iterator

from planner.checking.changes import FITS, Found, changes_of
from planner.checking.rewrite import diff, new_texts
from planner.checking.trials import Trials
from planner.records.check import Change, KeyChange
from planner.records.plan import Plan


def proposals(trials: Trials, plan: Plan) -> tuple[tuple[Change, ...], list[str]]:
    """Returns the changes of a run, and notes about those that its files cannot say.

    Args:
        trials: The run's files and its GPUs.
        plan: The run as it is.
    """
    notes: list[str] = []
    return tuple(_made(trials, plan, notes)), notes


def _made(trials: Trials, plan: Plan, notes: list[str]) -> Iterator[Change]:
    now = trials.of({})
    assert now is not None
    for found in changes_of(trials):
        texts = new_texts(now.run, found.trial.keys)
        what = ", ".join(found.what)
        if texts is None:
            notes.append(f"{what} is left out: the text of the files cannot be changed so without changing more")
            continue
        then = found.trial.plan
        both = sorted(trials.overrides.keys() & found.trial.keys.keys())
        if both:
            notes.append(f"{', '.join(both)}: of the command line; a changed file needs it no more")
        if then.memory.fits and (found.purpose != FITS or not plan.memory.fits):
            yield _change(found, what, texts, then, trials)


def _change(found: Found, what: str, texts: dict[str, str], then: Plan, trials: Trials) -> Change:
    now, trial = trials.of({}), found.trial
    assert now is not None
    there = now.run.entries()
    keys = []
    for key, value in trial.keys.items():
        source, entry = now.run.source_for(key), there.get(key)
        assert source is not None
        keys.append(KeyChange(key=key, file=source.file, before=entry and entry.value, after=value))
    return Change(
        purpose=found.purpose,
        what=what,
        alters=found.alters,
        keys=tuple(keys),
        diff=diff(now.run, texts),
        files=texts,
        micro_batch_size=trial.rows,
        gradient_accumulation_steps=trial.steps,
        global_batch_size=trial.rows * trial.steps * then.data_parallel_size,
        process_bytes=then.memory.process_bytes,
        budget_bytes=then.memory.budget_bytes,
        fits=then.memory.fits,
        step_seconds=then.time.step_seconds,
    )
