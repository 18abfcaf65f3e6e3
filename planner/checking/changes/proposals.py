"""Proposes changes of a run's files, each with its diff and the plan that it makes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from planner.advice.changes import cost_of
from planner.checking.changes.found import MOST_SHOWN, Found
from planner.checking.changes.rewrite import arguments, diff, new_texts, said_by_command
from planner.checking.changes.running import Runnable, runnable
from planner.checking.changes.search import changes_of
from planner.checking.changes.trials import Trials
from planner.readers.run import Run
from planner.records.advice import Cost
from planner.records.check import FITS, ROOMIER, Change, KeyChange
from planner.records.plan import Plan
from planner.records.result import EstimateResult


def proposals(trials: Trials, plan: EstimateResult | None) -> tuple[tuple[Change, ...], list[str]]:
    """Returns the changes of a run, and notes about those that its files cannot say.

    Args:
        trials: The run's files and its GPUs.
        plan: The run as it is; None if its GPU cannot run it.
    """
    notes: list[str] = []
    if plan is not None:
        found = changes_of(trials)
        if plan.memory.fits:
            wanted = [each for each in found if each.purpose != FITS or plan.is_tight]
            found = [each._replace(purpose=ROOMIER) if each.purpose == FITS else each for each in wanted]
        return tuple(_made(trials, found, notes)), notes
    found = [each for way in runnable(trials) for each in _after(way)]
    found.sort(key=lambda each: (each.alters, each.size, each.trial.candidate.seconds))
    return tuple(_made(trials, found[:MOST_SHOWN], notes)), notes


def _after(way: Runnable) -> Iterator[Found]:
    """Yields what makes a run fit once it runs: no other change, or the smallest."""
    now = way.trials.of({})
    assert now is not None
    words, alters = tuple(change.words for change in way.changes), cost_of(way.changes) is Cost.METHOD
    if now.fits:
        yield Found(FITS, words, now, alters, len(words))
        return
    for found in changes_of(way.trials):
        what, size = (*words, *found.what), found.size + len(words)
        yield found._replace(what=what, alters=alters or found.alters, size=size)


def _made(trials: Trials, changes: Sequence[Found], notes: list[str]) -> Iterator[Change]:
    original = trials.unchanged()
    for found in changes:
        keys = found.trial.keys
        command = said_by_command(original, keys)
        texts = new_texts(original, {key: value for key, value in keys.items() if key not in command})
        what = ", ".join(found.what)
        if texts is None:
            notes.append(f"{what} is left out: the text of the files cannot be changed so without changing more")
            continue
        then = found.trial.plan
        both = sorted(trials.overrides.keys() & (keys.keys() - command.keys()))
        note = f"{', '.join(both)}: of the command line; a changed file needs it no more"
        if both and note not in notes:
            notes.append(note)
        if then.memory.fits:
            yield _change(found, what, texts, then, original).model_copy(update={"arguments": arguments(command)})


def _change(found: Found, what: str, texts: dict[str, str], then: Plan, original: Run) -> Change:
    trial, there = found.trial, original.entries()
    keys = []
    for key, value in trial.keys.items():
        source, entry = original.source_for(key), there.get(key)
        assert source is not None
        keys.append(KeyChange(key=key, file=source.file, before=entry and entry.value, after=value))
    return Change(
        purpose=found.purpose,
        what=what,
        alters=found.alters,
        keys=tuple(keys),
        diff=diff(original, texts),
        files=texts,
        micro_batch_size=trial.rows,
        gradient_accumulation_steps=trial.steps,
        global_batch_size=trial.rows * trial.steps * then.data_parallel_size,
        process_bytes=then.memory.process_bytes,
        budget_bytes=then.memory.budget_bytes,
        fits=then.memory.fits,
        step_seconds=then.time.step_seconds,
    )
