"""Writes the table of all plans, whose columns sort."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from typing import NamedTuple

from planner.pages.subjects import Row, Sheet
from planner.records.plan import Plan
from planner.report.parts import words
from planner.report.parts.blocks import free_share
from planner.report.parts.format import gib, grouped, rounded_percent, seconds


class _Column(NamedTuple):
    """A column: its heading, what it is sorted by, its cell, and what stands small below."""

    heading: str
    unit: str
    key: Callable[[Row], float]
    cell: Callable[[Plan], str]
    below: Callable[[Plan], str]


_COLUMNS = (
    _Column(
        "batch",
        "sequences",
        lambda row: row.plan.global_batch_size,
        lambda plan: grouped(plan.global_batch_size),
        lambda plan: " x ".join(words.batch_numbers(plan)[:-1]),
    ),
    _Column(
        "memory",
        "GiB",
        lambda row: row.plan.memory.process_bytes,
        lambda plan: gib(plan.memory.process_bytes),
        lambda plan: f"{free_share(plan.memory)} free" if plan.memory.fits else "does not fit",
    ),
    _Column(
        "speed",
        "tokens/s",
        lambda row: row.plan.time.tokens_per_second,
        lambda plan: grouped(plan.time.tokens_per_second),
        lambda plan: _utilization(plan),
    ),
    _Column(
        "step",
        "",
        lambda row: row.plan.time.step_seconds,
        lambda plan: seconds(plan.time.step_seconds),
        lambda plan: "",
    ),
)


def ranking(sheet: Sheet) -> str:
    """Returns the table: the best first, as in the answers."""
    several = len(sheet.answers) > 1
    heads = "".join(
        f'<th scope="col" class="number"><button>{c.heading}</button><small>{c.unit}</small></th>' for c in _COLUMNS
    )
    rows = "".join(_row(place, row, sheet, several) for place, row in enumerate(sheet.rows, start=1))
    return (
        '<table id="ranking"><thead><tr>'
        '<th scope="col" aria-sort="ascending"><button>#</button></th>'
        f'<th scope="col"><button>plan</button></th>{heads}</tr></thead><tbody>{rows}</tbody></table>'
    )


def _row(place: int, row: Row, sheet: Sheet, several: bool) -> str:
    plan = row.plan
    title = words.method(plan.strategy)
    if several:
        title = f"{sheet.groups[row.group]}: {title}"
    cells = "".join(
        f'<td class="number" data-key="{column.key(row):.6g}">{escape(column.cell(plan))}'
        f"<small>{escape(column.below(plan))}</small></td>"
        for column in _COLUMNS
    )
    number = grouped(row.rank) if row.rank is not None else ""
    front = ' class="front"' if row.on_front else ""
    return (
        f'<tr{front}><td data-key="{place}">{number}</td>'
        f'<td data-key="{escape(title)}"><i class="swatch g{row.group}"></i>{escape(title)}'
        f"<small>{escape(_rest(plan))}</small></td>{cells}</tr>"
    )


def _rest(plan: Plan) -> str:
    """Returns what else tells plans of a method apart."""
    choice = plan.strategy
    parts = [words.axis(choice, "precision"), words.axis(choice, "optimizer")]
    parts.append(f"checkpointing {words.axis(choice, 'checkpointing')}")
    parts.append(words.sharding(choice, plan.data_parallel_size))
    return ", ".join(part for part in parts if part)


def _utilization(plan: Plan) -> str:
    share = plan.time.model_flops_utilization
    return f"{rounded_percent(share)} MFU" if share is not None else ""


def legend(groups: Sequence[str]) -> str:
    """Returns what the colors and marks of the page mean."""
    items = "".join(f'<li><i class="swatch g{i}"></i>{escape(name)}</li>' for i, name in enumerate(groups))
    return f'<ul class="legend groups">{items}</ul>'
