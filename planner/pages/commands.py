"""Writes the commands that go on from a plan, each with a button that copies it."""

from __future__ import annotations

from html import escape

from planner.pages.subjects import Subject


def commands(subject: Subject) -> str:
    """Returns the commands of a plan: to itemize it, to replay it, and to write it for a framework."""
    if subject.spelled is None:
        return f'<p class="quiet">{escape(subject.missing)}</p>'
    estimate = f"planner estimate {subject.spelled}"
    lines = {
        "itemize its memory": estimate,
        "replay its real step, without a GPU": f"planner verify {subject.spelled}",
        "write it as files of a framework": f"{estimate} --json | planner export - --to trl -o run",
    }
    return "".join(
        f'<figure class="command"><figcaption>{escape(said)}</figcaption>'
        f"<pre><code>{escape(line)}</code></pre><button>copy</button></figure>"
        for said, line in lines.items()
    )
