"""Chooses cells of a matrix that is too large to replay, so that they cover every pair of values of two factors.

A pair is covered if one cell has both values. Pairs that no valid strategy can have are left out, with the reason for
which the last one was refused.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any, NamedTuple

Cell = dict[str, Any]
"""The value of each factor, by name."""

Pair = frozenset[tuple[str, Any]]
"""Two factors, each with a value."""

TRIES = 12
"""Most fillings of a pair, valid cells that have it, that are compared; the one that covers most new pairs is taken."""

FILLINGS = 20
"""Most fillings of a pair that are tried, including those in which one of its values does not apply."""

MOST_REFUSED = 3
"""Refused fillings that no change repairs, after which a pair counts as impossible."""

REPAIRS = 60
"""Changes of a refused filling that are tried to repair it."""


class Cover(NamedTuple):
    """Holds the chosen cells."""

    cells: list[Cell]
    impossible: dict[Pair, str]
    """Pairs that no cell can have, with the reason."""


def cover(
    factors: Mapping[str, Sequence[Any]],
    usual: Sequence[Mapping[str, Any]],
    refusal: Callable[[Cell], str | None],
    known: Sequence[Cell],
    relevant: Callable[[Cell], Cell],
    seed: int = 0,
) -> Cover:
    """Returns cells that, together with the known ones, cover every possible pair.

    Args:
        factors: Values of each factor.
        usual: Cells from which fillings start; the last one is the least likely to be refused.
        refusal: Returns why a cell is not valid, or None if it is.
        known: Cells that exist already.
        relevant: Returns the factors of a cell that apply in it.
        seed: Seed of the random choices.
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
    """Returns the valid cell with a pair that covers most missing pairs, or None, and the reason of a refusal."""
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
            # An option of the pair applies only to a choice that the cell does not have.
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
    """Returns a valid cell that a refused one becomes by changes of values outside the pair, or None.

    Changes are tried one at a time. One after which the cell is refused for another reason is kept as progress.
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
    """Returns the cell with one value outside the pair changed so that the pair applies; unchanged if none does."""
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
