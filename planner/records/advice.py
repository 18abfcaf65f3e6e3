"""Defines what advice says: changes of a request after which something fits, and what each costs the user."""

from enum import StrEnum

from planner.records.plan import Bytes, Plan, Record


class Cost(StrEnum):
    """Names what a change costs the user, the least first, which is the order of advice."""

    FLAG = "a flag"
    SLOWER = "a slower step"
    PACKAGE = "another package"
    TOKENS = "fewer tokens"
    MONEY = "more money"
    METHOD = "another method"

    @property
    def place(self) -> int:
        """Returns the place in the order of advice, from 0."""
        return list(Cost).index(self)


class Way(Record):
    """Describes changes of the request after which something fits: no part of them would do."""

    change: str
    """Description of the changes in words."""
    options: dict[str, str | int]
    """Values of the options to change, by the name that the command line gives them."""
    cost: Cost | None = None
    """The largest of what the changes cost; None in answers of versions that did not say it."""
    price: str = ""
    """What they cost in words: the package, how much slower, how many GPUs."""
    gain: str = ""
    """What they bring in words, where something fits without them."""
    command: str = ""
    """The whole command with these changes, for a shell."""
    plan: Plan | None = None
    """The best plan found with these changes."""
    relative_time: float | None = None
    """Time per token and GPU over that of the plan that did not fit, at the same micro-batch, or of the plan to run."""


class Shortfall(Record):
    """Says why nothing fits: the smallest plan found, and what it lacks."""

    smallest: Plan
    """Plan with the smallest peak, which does not fit."""
    moment: str
    """Name of the moment of the step at which that plan peaks."""
    term: str
    """Name of the largest memory category at that moment."""
    over_bytes: Bytes
    """Bytes by which that plan exceeds the budget."""
    ways: tuple[Way, ...]
    """Smallest sets of changes after which something fits, by what they cost the user."""


class Fate(StrEnum):
    """Says what became of the strategies that have a value of an option."""

    FIRST = "comes first"
    BEATEN = "fits, and is beaten"
    DOES_NOT_FIT = "does not fit"
    CANNOT_RUN = "cannot run"


class WhyNot(Record):
    """Says why no plan with a value of an option comes first."""

    option: str
    value: str
    fate: Fate
    says: str
    """What beat its best plan, by how much the smallest one is over the budget, or why none can run, in a sentence."""
    plan: Plan | None = None
    """Best plan with that value, or the smallest where none fits; None where none can run."""
    moment: str | None = None
    """Name of the moment of the step at which the smallest plan peaks, where none fits."""
    term: str | None = None
    """Name of the largest memory category at that moment."""
    over_bytes: Bytes = 0
    """Bytes by which the smallest plan exceeds the budget."""
    ways: tuple[Way, ...] = ()
    """What would pay for it: smallest sets of other changes after which a plan with that value fits."""
