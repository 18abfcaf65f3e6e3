"""Writes a change that `check` proposes as new files."""

from __future__ import annotations

from pathlib import Path

from hardware.errors import PlannerError
from planner.files import write_all
from planner.records.check import Change, CheckResult


def fix(result: CheckResult, path: str | Path, *, rank: int = 1, force: bool = False) -> list[Path]:
    """Writes the files of a change that `check` proposes, and returns their paths.

    Args:
        result: The answer of `check`.
        path: The new file; a folder where several files change, in which they keep their names.
        rank: Which change, from 1.
        force: Whether files that are there are replaced.

    Raises:
        PlannerError: There is no such change, several files change and `path` is no folder, or a file is there already.
    """
    change = _change(result, rank)
    if not change.files:
        raise PlannerError(f"change {rank} is of no file: the run's arguments say it", change.arguments)
    folder = Path(path)
    if len(change.files) == 1 and not folder.is_dir():
        paths = dict(zip([folder], change.files.values(), strict=True))
    elif folder.is_dir():
        paths = {folder / Path(name).name: text for name, text in change.files.items()}
    else:
        names = ", ".join(change.files)
        raise PlannerError(f"change {rank} is of {names}, and {path} is no folder", f"mkdir -p {path}")
    write_all(paths, force=force)
    return list(paths)


def _change(result: CheckResult, rank: int) -> Change:
    if result.plan is None and not result.changes:
        raise PlannerError(f"there is no change to write: {result.headline()}", "-- KEY=VALUE says another run")
    if not 0 < rank <= len(result.changes):
        number = len(result.changes)
        what = f"{number} change{'s' if number != 1 else ''}" if number else "no change that its files can say"
        raise PlannerError(f"there is no change {rank} to write: {what}", "planner check FILE... --gpu NAME lists them")
    return result.changes[rank - 1]
