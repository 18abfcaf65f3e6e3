"""Provides `report_page`, which draws answers of `fit` and `estimate` as one page of HTML."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from html import escape
from importlib.resources import files
from string import Template

from planner.pages.cards import card
from planner.pages.charts import memory, speed
from planner.pages.charts.front import front
from planner.pages.charts.moments import categories, moments
from planner.pages.charts.price import price
from planner.pages.charts.shares import shares
from planner.pages.commands import commands
from planner.pages.ranking import legend, ranking
from planner.pages.subjects import Answer, Sheet, Subject, sheet_of
from planner.printable import printable
from planner.problem.problem import CatalogSource
from planner.records.machines import MachineRanking
from planner.report.parts import words
from planner.report.parts.format import count, gib


def report_page(*plans: Answer, catalog: CatalogSource = None) -> str:
    """Draws answers of `fit` and `estimate` as one page of HTML, which needs no network and no other file.

    It shows each plan's memory at every moment of the step against the budget, memory and speed over the micro-batch
    and over the length of sequences, effective batch against speed and free memory, what the seconds of a step go to,
    a ranking that sorts, and commands to copy. One answer of `fit` is shown by the plan to run, the best by the
    objective, and one of each other fine-tuning method; a ranking of machines, by the best, cheapest, fastest and
    smallest of them; several answers, by the plan to run of each, side by side.

    Args:
        plans: Answers, or paths of their JSON; `-` is standard input. At most six.
        catalog: The catalog of the plans' GPUs, as for `fit`.

    Returns:
        The text of the page.

    Raises:
        PlanFileError: A file does not hold a plan.
        PlannerError: No answer has a plan.
    """
    sheet = sheet_of(plans, catalog)
    package = files(__package__)
    style, script, page = (
        package.joinpath(name).read_text(encoding="utf-8").strip() for name in ("style.css", "script.js", "page.html")
    )
    return printable(
        Template(page).substitute(
            title=escape(_title(sheet)),
            style=style,
            script=script,
            subtitles="".join(f"<p>{escape(text)}</p>" for text in _subtitles(sheet)),
            legend=legend(sheet) if len(sheet.rows) > 1 else "",
            sections="\n".join(_sections(sheet)),
            footer=escape(_FOOTER),
        )
        + "\n"
    )


_FOOTER = (
    "Predicted by planner. Memory is what a process needs, with CUDA context and the allocator's reserve. "
    "Nine of ten measured steps are within the range of seconds that is given."
)


def _title(sheet: Sheet) -> str:
    models = dict.fromkeys(row.request.model for row in sheet.rows)
    machines = dict.fromkeys(row.place for row in sheet.rows)
    return f"{_listed(models, 'models')} on {_listed(machines, 'machines')}"


def _listed(names: Collection[str], kind: str) -> str:
    """Returns one or two names, or the number of more."""
    return " and ".join(names) if len(names) < 3 else f"{len(names)} {kind}"


def _subtitles(sheet: Sheet) -> Iterator[str]:
    answer = sheet.answers[0]
    if len(sheet.answers) > 1:
        yield f"{len(sheet.answers)} answers side by side"
        return
    if isinstance(answer, MachineRanking):
        yield answer.headline()
    else:
        request, plan = answer.request, sheet.rows[0].plan
        sizes = f"{count(request.num_parameters)} parameters, {gib(request.gpu_memory_bytes)} GiB usable"
        yield f"{sizes}, {words.workload(request, plan.memory.budget_bytes)}"


def _sections(sheet: Sheet) -> Iterator[str]:
    subjects = sheet.subjects
    drawn = [subject for subject in subjects if subject.curves is not None]
    yield f'<section class="cards">{"".join(map(card, subjects))}</section>'
    plans, prices, seconds = front(sheet.rows), price(sheet.rows), shares(subjects)
    if prices and len({row.plan.global_batch_size for row in sheet.rows}) == 1:
        plans = ""  # which would stand in one column
    all_of = "All machines" if isinstance(sheet.answers[0], MachineRanking) else "All plans"
    yield _cards(
        "Batch, speed, memory" if plans else "Price, speed, memory" if prices else "Speed",
        [
            (all_of, plans, _OF_FRONT),
            ("Price and speed", prices, _OF_PRICES),
            ("Where the seconds of a step go", seconds, ""),
        ],
    )
    yield _cards(
        "Memory at each moment of a step",
        [(_named(subject), moments(subject), "") for subject in drawn],
        "What a process needs that does not go beyond that moment, by category. The peak decides.",
        categories(drawn),
    )
    yield _cards(
        "What if",
        [
            ("Memory over the micro-batch", memory.by_micro_batch(drawn), ""),
            ("Speed over the micro-batch", speed.by_micro_batch(drawn), ""),
            ("Memory over the length", memory.by_length(drawn), ""),
            ("Speed over the length", speed.by_length(drawn), ""),
        ],
        "Each curve changes one number of a plan; its mark is the plan. Shaded: nine of ten measured speeds.",
    )
    if len(sheet.rows) > 1:
        yield _cards("Ranking", [("", ranking(sheet), "")], "A click on a heading sorts.")
    yield _cards(
        "Go on",
        [(_named(subject), commands(subject), "") for subject in subjects],
        "Each command is of exactly the plan that is shown.",
    )
    if notes := list(dict.fromkeys(note for answer in sheet.answers for note in answer.notes)):
        items = "".join(f"<li>{escape(note)}</li>" for note in notes)
        yield f'<section><h2>Notes</h2><ul class="notes">{items}</ul></section>'


_OF_FRONT = (
    "A mark's area is the memory that is left free. It is filled where no other plan has more of batch, speed or free "
    "memory without less of another. Dotted: the most speed at each batch."
)


_OF_PRICES = "Filled: nothing is both faster and cheaper. Dotted: the most speed up to each price."


def _cards(title: str, cards: Sequence[tuple[str, str, str]], said: str = "", key: str = "") -> str:
    """Returns a section of cards.

    Args:
        title: Its heading.
        cards: Heading, content and what is said below of each card; those without content are left out.
        said: What is said before all cards.
        key: A legend of all cards.
    """
    shown = [
        f'<article class="card">{f"<h3>{heading}</h3>" if heading else ""}{content}'
        f"{f'<p class=quiet>{escape(below)}</p>' if below else ''}</article>"
        for heading, content, below in cards
        if content
    ]
    if not shown:
        return ""
    introduced = f"<p>{escape(said)}</p>" if said else ""
    many = " thirds" if len(shown) % 3 == 0 else ""
    return f'<section><h2>{escape(title)}</h2>{introduced}{key}<div class="pair{many}">{"".join(shown)}</div></section>'


def _named(subject: Subject) -> str:
    return f'<i class="swatch g{subject.row.group}"></i>{escape(subject.label)}'
