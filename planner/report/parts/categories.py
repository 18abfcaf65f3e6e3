"""Defines how the memory categories are drawn: each has a character and a color, so that either is enough.

`colour` is for pictures, on white as well as on black. Source: Paul Tol's bright and light schemes, which color-blind
people can tell apart (personal.sron.nl/~pault).
"""

from __future__ import annotations

from typing import NamedTuple

from planner.records.plan import Components


class Category(NamedTuple):
    """Describes how a memory category is drawn."""

    field: str
    """Name of its field in `Components`."""
    glyph: str
    """Its character."""
    ascii: str
    """Its character where only ASCII can be written."""
    style: str
    """Its color in a terminal, as rich names it."""
    colour: str
    """Its color in pictures, as RGB in hexadecimal digits."""

    @property
    def label(self) -> str:
        """Returns its name in words."""
        return self.field.replace("_", " ")

    def character(self, ascii_only: bool) -> str:
        """Returns the character that is written."""
        return self.ascii if ascii_only else self.glyph


CATEGORIES = (
    Category("parameters", "█", "#", "blue", "#4477AA"),
    Category("gradients", "▓", "%", "magenta", "#AA3377"),
    Category("optimizer_states", "▒", "=", "cyan", "#66CCEE"),
    Category("activations", "░", "+", "green", "#228833"),
    Category("temporary", "▚", "~", "yellow", "#CCBB44"),
    Category("unsharded_parameters", "▞", "@", "bright_blue", "#77AADD"),
    Category("communication", "≡", ":", "bright_magenta", "#FFAABB"),
    Category("overhead", "▪", "o", "red", "#EE6677"),
)
"""The categories in the order of bars and tables."""
STACKED = (
    "parameters",
    "optimizer_states",
    "overhead",
    "communication",
    "gradients",
    "unsharded_parameters",
    "activations",
    "temporary",
)
"""Categories of a picture over time, from the bottom up: those that stay come first, the ones that come and go quickest
last."""
FREE = Category("free", "·", ".", "bright_black", "#BBBBBB")
"""The category of what the budget leaves free."""


def category_bytes(components: Components) -> list[tuple[Category, int]]:
    """Returns the categories that are not empty and their bytes, in the order of `CATEGORIES`."""
    found = [(category, getattr(components, category.field)) for category in CATEGORIES]
    return [(category, num_bytes) for category, num_bytes in found if num_bytes]
