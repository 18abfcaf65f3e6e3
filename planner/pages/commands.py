"""Writes the commands that go on from a plan, each with a button that copies it."""

from __future__ import annotations

from html import escape

from planner.exporting.targets.registry import TARGETS
from planner.pages.subjects import Subject


def commands(subject: Subject) -> str:
    """Returns the commands of a plan: to itemize it, to replay it, and to write it for a framework."""
    if subject.spelled is None:
        return f'<p class="quiet">{escape(subject.missing)}</p>'
    estimate = f"planner estimate {subject.spelled}"
    lines = {
        "itemize its memory": estimate,
        "replay its real step, without a GPU": f"planner verify {subject.spelled}",
    }
    target = str(subject.row.plan.strategy.framework)
    if target in TARGETS and subject.row.request.nodes == 1:
        lines[f"write it as files of {target}"] = f"{estimate} --json | planner export - --to {target} -o run"
    elif target in TARGETS and TARGETS[target].many_nodes:
        lines["write it as a job of Slurm"] = f"{estimate} --json | planner export - --to slurm --with {target} -o run"
    return "".join(
        f'<figure class="command"><figcaption>{escape(said)}</figcaption><button>copy</button>'
        f"<pre><code>{_breakable(line)}</code></pre></figure>"
        for said, line in lines.items()
    )


def _breakable(line: str) -> str:
    """Returns a command that breaks before its options, not at their dashes."""
    first, *options = line.split(" --")
    return " ".join(f"<span>{escape(part)}</span>" for part in (first, *(f"--{option}" for option in options)))
