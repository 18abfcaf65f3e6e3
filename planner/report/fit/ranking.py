"""Draws plans next to each other: which columns their table has, and what it leaves out on a narrow terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import IntEnum

from planner.records.plan import Plan, StrategyChoice
from planner.report.parts import words
from planner.report.parts.blocks import free_share
from planner.report.parts.format import gib, grouped, thousands
from planner.report.parts.table import GAP, Column, fits
from strategies import AXES

_BATCH = "micro x accum x ranks = batch"


class Level(IntEnum):
    """Says how much a table leaves out; each level leaves out what the ones before it do."""

    EVERYTHING = 0
    SHORT_HEADINGS = 1
    SHORT_CELLS = 2
    NO_FREE_SHARE = 3
    NO_EQUAL_CELLS = 4
    SHORT_METHOD = 5
    NARROW_GAPS = 6
    NO_SPEED = 7


def _axis(name: str) -> Callable[[StrategyChoice], str]:
    return lambda choice: words.axis(choice, name)


_AXES: dict[str, Callable[[StrategyChoice], str]] = {
    "method": lambda choice: str(choice.finetuning) if words.has_adapters(choice) else words.method(choice),
    "precision": _axis("precision"),
    "optimizer": _axis("optimizer"),
    "checkpointing": _axis("checkpointing"),
    "sharding": _axis("sharding"),
    "LoRA": words.adapters,
    "quantization": words.quantization,
    **{name: _axis(name) for name in words.SURROUNDINGS},
}
"""Columns of strategies, and the text that each has for a strategy, empty where the axis does not apply."""
_MAIN_AXES = ("method", "precision", "optimizer", "checkpointing", "sharding")
"""Axes that have a column even if all plans agree."""
_NAMED_ALONE = ("method", "precision", "optimizer", "quantization", "framework")
"""Axes whose values say in a caption what they are."""


def ranking(
    plans: Sequence[Plan], number_of: Callable[[Plan], int], width: int, in_full: Plan | None = None
) -> tuple[list[Column], int, str]:
    """Returns the columns of a table that fits, the blanks between them, and a caption with what no column shows.

    Args:
        plans: Plans of the table, in its order.
        number_of: Returns the number of a plan in the table.
        width: Columns of the terminal.
        in_full: Plan of which all choices are told elsewhere, so that the caption needs only say where others differ.
    """
    for level in Level:
        table = _Table(plans, number_of, level)
        columns, gap = table.columns(), 1 if level >= Level.NARROW_GAPS else GAP
        if fits(columns, width, gap):
            break
    return columns, gap, table.caption(in_full)


class _Table:
    """Makes the columns and the caption of a table at one level."""

    def __init__(self, plans: Sequence[Plan], number_of: Callable[[Plan], int], level: Level) -> None:
        self.plans = plans
        self.number_of = number_of
        self.level = level
        has_ranks = any(plan.data_parallel_size > 1 for plan in plans)
        self.axes = {axis: text for axis, text in _AXES.items() if axis != "sharding" or has_ranks}
        if len(self._values("quantization")) > 1:  # then the method names it, since only qlora has one
            self.axes |= {"method": words.method, "quantization": lambda _: ""}
        always = _MAIN_AXES if level < Level.NO_EQUAL_CELLS else ()
        self.shown = [axis for axis in self.axes if axis in always or len(self._values(axis)) > 1]

    def _values(self, axis: str) -> set[str]:
        """Returns the texts of an axis, of the plans that have one."""
        return {self.axes[axis](plan.strategy) for plan in self.plans} - {""}

    def caption(self, in_full: Plan | None) -> str:
        """Returns what is true of each row that has such a choice, and no column shows."""
        parts = [_BATCH] if self.level >= Level.SHORT_HEADINGS else []
        everywhere: list[str] = []
        of_some: dict[str, list[str]] = {}
        for axis in self.axes:
            value = next(iter(self._values(axis)), None) if axis not in self.shown else None
            if value is None:
                continue
            said = value if axis in _NAMED_ALONE else f"{axis} {value}"
            having = [plan for plan in self.plans if self.axes[axis](plan.strategy)]
            if len(having) < len(self.plans) and (in_full is None or in_full not in having):
                methods = dict.fromkeys(str(plan.strategy.finetuning) for plan in having)
                of_some.setdefault(", ".join(methods), []).append(said)
            elif in_full is None and not self._is_default(axis):
                everywhere.append(said)
        parts += [f"{of}: {', '.join(said)}" for of, said in of_some.items()]
        if in_full is not None:
            parts.append(f"rest as plan {self.number_of(in_full)}")
        return "; ".join([*parts, f"all: {', '.join(everywhere)}"] if everywhere else parts)

    def _is_default(self, axis: str) -> bool:
        """Returns whether all plans have the default of an axis, which sentences about a plan do not mention."""
        default = AXES[axis].choices.hidden_default if axis in AXES else None
        return default is not None and all(getattr(plan.strategy, axis) == default for plan in self.plans)

    def columns(self) -> list[Column]:
        numbers = [str(self.number_of(plan)) for plan in self.plans]
        before = [axis for axis in self.shown if axis not in ("checkpointing", "sharding")]
        after = [axis for axis in self.shown if axis not in before]
        columns = [
            Column("#", numbers, right=True),
            *map(self._axis, before),
            Column(_BATCH if self.level < Level.SHORT_HEADINGS else "batch", self._batches(), right=True),
            *map(self._axis, after),
            self._peak(),
        ]
        if self.level < Level.NO_FREE_SHARE:
            columns.append(Column("budget free", [free_share(plan.memory) for plan in self.plans], right=True))
            if any(plan.run is not None and plan.usd_per_million_tokens is not None for plan in self.plans):
                columns.append(Column("USD/M tokens", [_usd(plan) for plan in self.plans], right=True))
        if self.level < Level.NO_SPEED:
            columns.append(self._speed())
        return columns

    def _axis(self, axis: str) -> Column:
        cells = [self.axes[axis](plan.strategy) for plan in self.plans]
        if axis == "sharding" and self.level >= Level.SHORT_CELLS:
            return Column("shard", [cell.replace("shard_", "").replace("_shard", "") for cell in cells])
        if axis == "method" and self.level >= Level.SHORT_METHOD:
            cells = [cell.replace(", rest ", "/") for cell in cells]
        if axis == "checkpointing" and self.level >= Level.SHORT_CELLS:
            short = [cell.partition("-")[0] for cell in cells]
            cells = short if len(set(short)) == len(set(cells)) else cells
        heading = "ckpt" if axis == "checkpointing" and self.level >= Level.SHORT_HEADINGS else axis
        return Column(heading, cells, style="bold" if axis == "method" else "")

    def _peak(self) -> Column:
        heading = "peak GiB" if self.level < Level.SHORT_HEADINGS else "GiB"
        return Column(heading, [gib(plan.memory.process_bytes) for plan in self.plans], right=True)

    def _speed(self) -> Column:
        heading = "tokens/s" if self.level < Level.SHORT_HEADINGS else "tok/s"
        write = grouped if self.level < Level.SHORT_CELLS else thousands
        speeds = [write(plan.time.tokens_per_second) for plan in self.plans]
        return Column(heading, speeds, right=True, style="cyan")

    def _batches(self) -> list[str]:
        """Returns texts such as `4 x 16 x 1 = 64`, each factor aligned in a column of its own."""
        rows = [words.batch_numbers(plan) for plan in self.plans]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        aligned = [[number.rjust(width) for number, width in zip(row, widths, strict=True)] for row in rows]
        spelled = [words.spelled_batch(row) for row in aligned]
        if self.level < Level.SHORT_CELLS:
            return spelled
        return [text.replace(" x ", "x").replace(" = ", "=") for text in spelled]


def _usd(plan: Plan) -> str:
    return "" if plan.usd_per_million_tokens is None else f"{plan.usd_per_million_tokens:.3g}"
