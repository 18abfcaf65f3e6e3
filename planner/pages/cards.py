"""Writes a card for each plan with pictures of its own: what it is, what it fills, and how fast it is."""

from __future__ import annotations

from html import escape

from planner.pages.charts.filling import filling
from planner.pages.subjects import Subject
from planner.records.plan import Plan
from planner.report.fit.to_run import takes
from planner.report.parts import words
from planner.report.parts.blocks import free_share, of_budget
from planner.report.parts.format import gib_difference, grouped, rounded_percent, seconds, seconds_between


def card(subject: Subject) -> str:
    """Returns the card."""
    row = subject.row
    plan = row.plan
    number = f'<small class="place">#{row.rank}</small>' if row.rank is not None else ""
    return (
        f'<article class="card"><h3><i class="swatch g{row.group}"></i>{escape(subject.label)} {number}</h3>'
        f"<p>{escape(words.strategy(plan.strategy, plan.data_parallel_size))}</p>"
        f"{_facts(subject)}{_run(plan)}{_verdict(subject)}{filling(plan.memory)}</article>"
    )


def _facts(subject: Subject) -> str:
    plan = subject.row.plan
    time = plan.time
    utilization = time.model_flops_utilization
    between = ""
    if time.step_seconds_low is not None and time.step_seconds_high is not None:
        between = seconds_between(time.step_seconds_low, time.step_seconds_high)
    facts = [
        (grouped(plan.global_batch_size), "effective batch", " x ".join(words.batch_numbers(plan)[:-1])),
        (
            grouped(time.tokens_per_second),
            "tokens/s",
            f"{rounded_percent(utilization)} of peak" if utilization is not None else "",
        ),
        (seconds(time.step_seconds), "per step", between),
    ]
    items = "".join(
        f"<div><dd>{escape(number)}</dd><dt>{escape(name)}<small>{escape(more)}</small></dt></div>"
        for number, name, more in facts
    )
    return f'<dl class="facts">{items}</dl>'


def _run(plan: Plan) -> str:
    """Returns what a run takes, and what tokens cost, as far as the answer says so."""
    said = []
    if plan.run is not None:
        said.append(f"the run: {takes(plan)}")
    if plan.usd_per_million_tokens is not None:
        said.append(f"{plan.usd_per_million_tokens:#.3g} USD per million tokens")
    return f'<p class="run">{escape("; ".join(said))}</p>' if said else ""


def _verdict(subject: Subject) -> str:
    memory = subject.row.plan.memory
    if memory.fits:
        return (
            f'<p class="verdict"><strong class="fits">fits</strong> {of_budget(memory)}, {free_share(memory)} free; '
            f"peak: {escape(words.moment(memory.moment))}</p>"
        )
    over = ""
    if memory.process_bytes > memory.budget_bytes:
        over = f", {gib_difference(memory.process_bytes, memory.budget_bytes)} GiB too many"
    return f'<p class="verdict"><strong class="over">does not fit</strong> {of_budget(memory)}{over}</p>'
