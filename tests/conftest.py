"""What several folders of tests need."""

from __future__ import annotations

import os
import shutil

import pytest

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


@pytest.fixture
def as_anybody() -> list[str]:
    """What stands before a command so that the rights of files hold for it, also where root runs it."""
    if os.geteuid() != 0:
        return []
    if shutil.which("setpriv") is None:
        pytest.skip("root runs the tests, and setpriv of util-linux is not installed")
    lost = "-dac_override,-dac_read_search"
    return ["setpriv", f"--inh-caps={lost}", f"--bounding-set={lost}"]
