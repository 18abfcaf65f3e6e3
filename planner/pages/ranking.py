"""Writes the table of all plans, whose columns sort."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from itertools import compress
from typing import NamedTuple

from planner.pages.rows import OTHERS, Row
from planner.pages.subjects import Sheet
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
    kind: str = ""
    """Class of its cells: `wide` for a column that a phone leaves out, `last` for the one before those."""


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
        "last",
    ),
    _Column(
        "step",
        "",
        lambda row: row.plan.time.step_seconds,
        lambda plan: seconds(plan.time.step_seconds),
        lambda plan: "",
        "wide",
    ),
)
_PRICE = _Column(
    "price",
    "USD",
    lambda row: row.plan.usd_per_million_tokens or 0,
    lambda plan: f"{plan.usd_per_million_tokens:#.3g}" if plan.usd_per_million_tokens is not None else "-",
    lambda plan: "per M tokens",
    "wide",
)


def ranking(sheet: Sheet) -> str:
    """Returns the table: the best first, as in the answers."""
    has_prices = any(row.plan.usd_per_million_tokens is not None for row in sheet.rows)
    columns = (*_COLUMNS, _PRICE) if has_prices else _COLUMNS
    heads = "".join(
        f'<th scope="col" class="number {c.kind}"><button>{c.heading}</button><small>{c.unit}</small></th>'
        for c in columns
    )
    rows = "".join(_row(place, row, sheet, columns) for place, row in enumerate(sheet.rows, start=1))
    return (
        '<table id="ranking"><thead><tr>'
        '<th scope="col" aria-sort="ascending"><button>#</button></th>'
        f'<th scope="col"><button>plan</button></th>{heads}</tr></thead><tbody>{rows}</tbody></table>'
    )


def _row(place: int, row: Row, sheet: Sheet, columns: Sequence[_Column]) -> str:
    plan = row.plan
    title = words.method(plan.strategy)
    rest = _rest(plan)
    several = [len({other.request.model for other in sheet.rows}) > 1, len({other.place for other in sheet.rows}) > 1]
    rest = ", ".join([*compress((row.request.model, row.place), several), rest])
    cells = "".join(
        f'<td class="number {column.kind}" data-key="{column.key(row):.6g}">{escape(column.cell(plan))}'
        f"<small>{escape(column.below(plan))}</small></td>"
        for column in columns
    )
    number = grouped(row.rank) if row.rank is not None else ""
    front = ' class="front"' if row.on_front else ""
    return (
        f'<tr{front}><td data-key="{place}">{number}</td>'
        f'<td data-key="{escape(title)}"><i class="swatch g{row.group}"></i>{escape(title)}'
        f"<small>{escape(rest)}</small></td>{cells}</tr>"
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


def legend(sheet: Sheet) -> str:
    """Returns what the colors and marks of the page mean."""
    named = list(enumerate(sheet.groups))
    if any(row.group == OTHERS for row in sheet.rows):
        named.append((OTHERS, "other plans"))
    items = "".join(f'<li><i class="swatch g{i}"></i>{escape(name)}</li>' for i, name in named)
    return f'<ul class="legend groups">{items}</ul>'
