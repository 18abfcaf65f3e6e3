"""Cells of a matrix too large to replay whole: chosen so that every choice meets every other axis and every model.

A pair of values of two factors is covered when one cell has both. Pairs that no valid strategy can have are left out,
with the reason of the last one that was refused.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any, NamedTuple

Cell = dict[str, Any]
"""One value by the name of its factor."""

Pair = frozenset[tuple[str, Any]]

TRIES = 12
"""Fillings of a pair that are compared; the one that covers most new pairs is taken."""

FILLINGS = 20
"""That are looked at, those among them under which the pair means nothing."""

MOST_REFUSED = 3
"""Fillings that are refused, however they are changed, before a pair counts as impossible."""

REPAIRS = 60
"""Changes of a filling that are tried before it counts as refused."""


class Cover(NamedTuple):
    cells: list[Cell]
    impossible: dict[Pair, str]
    """Pairs that no cell can have, and why not."""


def cover(
    factors: Mapping[str, Sequence[Any]],
    usual: Sequence[Mapping[str, Any]],
    refusal: Callable[[Cell], str | None],
    known: Sequence[Cell],
    relevant: Callable[[Cell], Cell],
    seed: int = 0,
) -> Cover:
    """Cells that, with the known ones, cover every possible pair.

    Args:
        factors: the values of each.
        usual: cells that fillings depart from; the last has the fewest reasons to be refused.
        refusal: why a cell cannot be, or None.
        known: cells that are there already.
        relevant: the factors of a cell that mean something in it.
    """
    chance = random.Random(seed)
    missing = {pair for a, b in combinations(factors, 2) for pair in _pairs(factors, a, b)}
    for cell in known:
        missing -= set(_pairs_of(relevant(cell)))
    cells: list[Cell] = []
    impossible: dict[Pair, str] = {}
    while missing:
        pair = min(missing, key=_order)
        best, reason = _best(pair, factors, usual, refusal, relevant, missing, chance)
        if best is None:
            impossible[pair] = reason
            missing.discard(pair)
        else:
            cells.append(best)
            missing -= set(_pairs_of(best))
    return Cover(cells, impossible)


def _best(
    pair: Pair,
    factors: Mapping[str, Sequence[Any]],
    usual: Sequence[Mapping[str, Any]],
    refusal: Callable[[Cell], str | None],
    relevant: Callable[[Cell], Cell],
    missing: set[Pair],
    chance: random.Random,
) -> tuple[Cell | None, str]:
    found: list[Cell] = []
    reason, refused = "no strategy has both", 0
    for attempt in range(FILLINGS):
        base = usual[attempt % len(usual)]
        cell = dict(pair)
        boldness = chance.choice((0.0, 0.2, 0.5)) if attempt >= len(usual) else 0.0
        for name in chance.sample(list(factors), len(factors)):
            if name not in cell:
                cell[name] = chance.choice(factors[name]) if chance.random() < boldness else base[name]
        meant = relevant(cell)
        if not pair <= set(meant.items()):
            # The pair needs a choice that one of its options refines.
            cell = _with_owners(cell, pair, factors, relevant, chance)
            meant = relevant(cell)
            if not pair <= set(meant.items()):
                continue
        if why := refusal(meant):
            reason = why if attempt < len(usual) else reason
            repaired = _repaired(cell, why, pair, factors, refusal, relevant, chance)
            if repaired is None:
                refused += 1
                if refused == MOST_REFUSED and not found:
                    break
                continue
            meant = repaired
        found.append(meant)
        if len(found) == TRIES:
            break
    if not found:
        return None, reason
    return max(found, key=lambda cell: sum(p in missing for p in _pairs_of(cell))), reason


def _repaired(
    cell: Cell,
    why: str,
    pair: Pair,
    factors: Mapping[str, Sequence[Any]],
    refusal: Callable[[Cell], str | None],
    relevant: Callable[[Cell], Cell],
    chance: random.Random,
) -> Cell | None:
    """The cell with other values where they are free, one changed after the other: what is refused for another reason
    is a step ahead.
    """
    free = sorted(factors.keys() - {name for name, _ in pair})
    for _ in range(REPAIRS):
        name = chance.choice(free)
        changed = {**cell, name: chance.choice(factors[name])}
        meant = relevant(changed)
        if not pair <= set(meant.items()):
            continue
        reason = refusal(meant)
        if reason is None:
            return meant
        if reason != why:
            cell, why = changed, reason
    return None


def _with_owners(
    cell: Cell,
    pair: Pair,
    factors: Mapping[str, Sequence[Any]],
    relevant: Callable[[Cell], Cell],
    chance: random.Random,
) -> Cell:
    """The cell with other values of those factors that are free, under which the pair means something."""
    fixed = {name for name, _ in pair}
    free = [name for name in factors if name not in fixed]
    for name in chance.sample(free, len(free)):
        for value in chance.sample(list(factors[name]), len(factors[name])):
            changed = {**cell, name: value}
            if pair <= set(relevant(changed).items()):
                return changed
    return cell


def _pairs(factors: Mapping[str, Sequence[Any]], a: str, b: str) -> Iterator[Pair]:
    for x in factors[a]:
        for y in factors[b]:
            yield frozenset(((a, x), (b, y)))


def _pairs_of(cell: Cell) -> Iterator[Pair]:
    for a, b in combinations(cell.items(), 2):
        yield frozenset((a, b))


def _order(pair: Pair) -> list[tuple[str, str]]:
    return sorted((name, str(value)) for name, value in pair)
