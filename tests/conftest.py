"""What several folders of tests need."""

from __future__ import annotations

import gc
import os
import re
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

# Before torch is imported, here and in what tests start: threads of one step spin while they wait for each other, and
# beside another worker's threads on the same cores a step of a tiny model takes up to fifty times as long.
os.environ.setdefault("OMP_NUM_THREADS", "1")

SLOW = (
    "benchmarks",
    "examples",
    "faults",
    "planner/exporting/test_changed_exports.py",
    "planner/exporting/test_export_round_trip.py",
    "planner/exporting/test_launchers.py",
    "planner/exporting/test_scripts.py",
    "planner/pages/test_browser.py",
    "planner/pages/test_commands.py",
    "planner/profiles",
    "planner/replay",
    "planner/checking/test_changes.py",
    "planner/cli/test_interrupts.py",
    "planner/cli/test_process.py",
    "planner/cli/test_process_imports.py",
    "planner/cli/test_verify.py",
    "planner/memory/workloads/test_batching.py",
    "planner/memory/workloads/test_between_steps.py",
    "planner/memory/settings/test_finetuning.py",
    "planner/models/test_families.py",
    "planner/report/test_timeline_files.py",
    "planner/test_python_door.py",
    "test_contributing.py",
    "test_pages.py",
)
"""Folders and files of tests that replay steps, start many processes, build real models or try many runs: all others
are fast."""

NEEDS_TORCH = re.compile(
    r"^(?:import|from) (?:torch|transformers|huggingface_hub|psycopg|planner\.replay|planner\.profiles)\b", re.MULTILINE
)
TESTS = Path(__file__).parent

FORBID_SKIPS = "PLANNER_TESTS_FORBID_SKIPS"
"""Where everything that tests need is installed, a test that is skipped is one that fails."""


def pytest_sessionfinish(session: pytest.Session) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get(FORBID_SKIPS) and reporter is not None and reporter.stats.get("skipped"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if os.environ.get(FORBID_SKIPS):
        for report in terminalreporter.stats.get("skipped", ()):
            terminalreporter.write_line(f"SKIPPED {report.nodeid}: {report.longrepr}", red=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        path = item.path.relative_to(TESTS).as_posix()
        if any(path == slow or path.startswith(f"{slow}/") for slow in SLOW):
            item.add_marker(pytest.mark.slow)
    if "PYTEST_XDIST_WORKER" in os.environ:  # the slow ones first: no worker is left with one of them at the end
        items.sort(key=lambda item: item.get_closest_marker("slow") is None)


def pytest_collection_finish() -> None:
    """Lets no search for cycles look at the libraries that the tests have imported."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Gives whole files to the workers of `pytest -n`: what a file computes for its tests is computed once."""
    if config.getoption("dist") != "load":  # another distribution is asked for
        return None
    from xdist.scheduler import LoadFileScheduling

    config.option.loadscopereorder = False  # they are in order
    return LoadFileScheduling(config, log)


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Without torch the fast tests run that need none."""
    if collection_path.suffix != ".py" or find_spec("torch") is not None:
        return None
    return bool(NEEDS_TORCH.search(collection_path.read_text())) or None


@pytest.fixture
def as_anybody() -> list[str]:
    """What stands before a command so that the rights of files hold for it, also where root runs it."""
    if os.geteuid() != 0:
        return []
    if shutil.which("setpriv") is None:
        pytest.skip("root runs the tests, and setpriv of util-linux is not installed")
    lost = "-dac_override,-dac_read_search"
    return ["setpriv", f"--inh-caps={lost}", f"--bounding-set={lost}"]
