"""Draws mutants of the source, each a change of one expression, and reports which of them the fast tests kill.

    python benchmarks/robustness/mutants.py --seed 1                    # 60 mutants of all packages
    python benchmarks/robustness/mutants.py --only search --number 20   # of planner/search alone; --list prints them

Every line that can be changed is equally likely to be drawn. A mutant is alive if the tests of its package pass.
"""

from __future__ import annotations

import argparse
import ast
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from copy import deepcopy
from functools import partial
from itertools import accumulate, groupby
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
ON_STRATEGIES = ("questions/test_space.py", "test_api.py", "test_axes.py", "search")
IMPORTS_TORCH = "tests/planner/memory/operations/test_tape.py"
TESTS = {  # what pytest is told to test the source of each folder
    "hardware": ("tests/hardware",),
    "strategies": ("tests/strategies", *(f"tests/planner/{name}" for name in ON_STRATEGIES)),
    "planner/search": ("tests/planner/search",),
    "planner/memory": (
        "tests/planner/memory",
        "--ignore=tests/planner/memory/operations/test_tape.py",
    ),  # which imports torch
}
LIMIT_SECONDS = 90  # after which a run of the tests counts as failed
START = partial(subprocess.Popen[bytes], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
EQUIVALENT = {  # reasons why mutants change no observable behavior, by file and changed line
    "hardware/files/document.py: @dataclass(slots=(False))": "slots save memory alone",
    "planner/memory/step/footprint.py: least, most = most, (3) * most": "any bound that is large enough is bisected",
    "strategies/spaces/counting.py: choice = classes[(-1)][0]": "there is one class",
    "strategies/spaces/counting.py: choice = classes[0][(-1)]": "values of a class are alike to every rule",
}
REPLACED: dict[type[ast.AST], type[ast.AST]] = {
    **{ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.FloorDiv, ast.FloorDiv: ast.Mult},
    **{ast.Div: ast.Mult, ast.Mod: ast.Mult, ast.Pow: ast.Mult, ast.And: ast.Or, ast.Or: ast.And},
    **{ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq},
    **{ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In},
}
PLACE = attrgetter("file", "line")
CALLED = {"min": "max", "max": "min", "any": "all", "all": "any"}
LEFT_ALONE = (ast.Raise, ast.Assert, ast.JoinedStr)  # errors and other texts, and what only type checkers need
KEYWORDS_LEFT_ALONE = ("strict", "deepcopy")  # zip's, which only ever raises, and optuna's, which costs time alone


class Mutant(NamedTuple):
    """Describes a change of one expression in a file, whose whole text is then `content`."""

    folder: str
    file: str
    line: int
    before: str
    after: str
    content: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}  {self.before}  ->  {self.after}"


def in_place_of(node: ast.expr) -> Iterator[ast.expr]:
    """Returns the expressions that may replace a node."""
    new: ast.expr = deepcopy(node)
    match new:
        case ast.BinOp(op=operator) | ast.BoolOp(op=operator) if type(operator) in REPLACED:
            new.op = REPLACED[type(operator)]()  # type: ignore[assignment]  # an operator of the same kind
        case ast.Compare(ops=[operator]):
            new.ops = [REPLACED[type(operator)]()]  # type: ignore[list-item]  # as above
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            new = operand
        case ast.Call(func=ast.Name(id=name)) if name in CALLED:
            new.func = ast.Name(CALLED[name])
        case ast.Constant(value=int(value)):
            return map(ast.Constant, (not value,) if isinstance(value, bool) else (value + 1, value - 1))
        case _:
            return iter(())
    return iter((new,))


def changes(node: ast.AST, optional: bool = False) -> Iterator[tuple[ast.expr, ast.expr]]:
    """Yields expressions at or below a node, each with one that may replace it; `optional`: None may be returned."""
    if isinstance(node, LEFT_ALONE) or (isinstance(node, ast.keyword) and node.arg in KEYWORDS_LEFT_ALONE):
        return
    if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
        return
    if isinstance(node, ast.FunctionDef):
        optional = node.returns is not None and "None" in ast.unparse(node.returns).split(" | ")
    if isinstance(node, ast.expr):
        yield from ((node, new) for new in in_place_of(node))
    for condition in node.ifs if isinstance(node, ast.comprehension) else [getattr(node, "test", None)]:
        if condition is not None:
            yield condition, ast.UnaryOp(ast.Not(), condition)
    if isinstance(node, ast.Return) and optional and node.value is not None and ast.unparse(node.value) != "None":
        yield node.value, ast.Constant(None)
    for field, value in ast.iter_fields(node):
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST) and field not in ("annotation", "returns"):
                yield from changes(child, optional)


def mutants_of(folder: str, file: Path) -> Iterator[Mutant]:
    content = file.read_bytes()  # columns of ast count bytes
    starts = [*accumulate(map(len, content.splitlines(keepends=True)), initial=0)]
    for old, new in changes(ast.parse(content)):
        assert old.end_lineno and old.end_col_offset  # noqa: PT018  # of what was parsed
        start, end = starts[old.lineno - 1] + old.col_offset, starts[old.end_lineno - 1] + old.end_col_offset
        after = ast.unparse(new)
        whole = content[:start] + f"({after})".encode() + content[end:]
        yield Mutant(folder, str(file.relative_to(ROOT)), old.lineno, ast.unparse(old), after, whole.decode())


def drawn(folders: list[str], number: int, seed: int) -> list[Mutant]:
    """Draws mutants of different lines, sorted by file and line."""
    files = ((folder, file) for folder in folders for file in sorted((ROOT / folder).rglob("*.py")))
    mutants = sorted((mutant for folder, file in files for mutant in mutants_of(folder, file)), key=PLACE)
    lines = [list(of_line) for _, of_line in groupby(mutants, PLACE)]
    source = random.Random(seed)
    return sorted(map(source.choice, source.sample(lines, min(number, len(lines)))), key=PLACE)


class Copy:
    """Holds a copy of the checkout, in which files are changed and tests run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(".*", "__pycache__"))
        # Bytecode is checked by the hash of the source, since a file may change twice within a second.
        self._python("-m", "compileall", "-q", "--invalidation-mode=checked-hash", "hardware", "strategies", "planner")
        if not self._python("-c", "import os, planner; planner.__file__.index(os.getcwd())"):
            raise SystemExit("what is installed would be tested, not the copy")

    def passes(self, folder: str) -> bool:
        """Returns whether the fast tests of a folder pass."""
        options = ("-x", "-q", "-m", "not slow", "-p", "no:cacheprovider", "--hypothesis-seed=0")
        return self._python("-m", "pytest", *options, *TESTS[folder])

    def kills(self, mutant: Mutant) -> bool:
        """Returns whether the tests fail with a mutant."""
        file = self.folder / mutant.file
        before = file.read_bytes()
        file.write_text(mutant.content)
        killed = not self.passes(mutant.folder)
        file.write_bytes(before)
        return killed

    def _python(self, *arguments: str) -> bool:
        """Returns whether Python succeeds in time; otherwise all processes that it started are killed."""
        paths = {"PYTHONPATH": str(self.folder), "PYTHONDONTWRITEBYTECODE": "1"}
        process = START([sys.executable, *arguments], cwd=self.folder, env=os.environ | paths)
        try:
            return process.wait(LIMIT_SECONDS) == 0
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            return process.wait() == 0


def run(mutants: list[Mutant]) -> Iterator[str]:
    """Yields a line with the outcome of each mutant, and then a table of all."""
    found: dict[str, Counter[str]] = defaultdict(Counter)
    with tempfile.TemporaryDirectory() as temporary:
        copy = Copy(Path(temporary) / "copy")
        for folder in dict.fromkeys(mutant.folder for mutant in mutants):
            if not copy.passes(folder):
                raise SystemExit(f"the tests of {folder} fail without any mutant")
        for mutant in mutants:
            start, changed = time.monotonic(), mutant.content.splitlines()[mutant.line - 1].strip()
            reason = EQUIVALENT.get(f"{mutant.file}: {changed}", "")
            outcome = "equivalent" if reason else "killed" if copy.kills(mutant) else "alive"
            found[mutant.folder][outcome] += 1
            yield f"{outcome:10} {time.monotonic() - start:3.0f} s  {mutant}  {reason}"
    yield "\n| folder | killed | alive | equivalent | killed of those that are not |\n|---|---|---|---|---|"
    for name, of in (*found.items(), ("all", sum(found.values(), Counter[str]()))):
        killed, alive = of["killed"], of["alive"]
        yield f"| {name} | {killed} | {alive} | {of['equivalent']} | {killed / max(1, killed + alive):.0%} |"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--number", type=int, default=60)
    parser.add_argument("--only", choices=[Path(folder).name for folder in TESTS])
    parser.add_argument("--list", action="store_true", help="only print the mutants")
    options = parser.parse_args()
    folders = [folder for folder in TESTS if options.only in (None, Path(folder).name)]
    mutants = drawn(folders, options.number, options.seed)
    for said in mutants if options.list else run(mutants):
        print(said, flush=True)
