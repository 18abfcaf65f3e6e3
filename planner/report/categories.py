"""The memory categories as they are drawn: each has a character and a colour, so that either is enough.

`colour` is for pictures, on white as on black. Source: Paul Tol's bright and light schemes, which colour-blind people
can tell apart (personal.sron.nl/~pault).
"""

from __future__ import annotations

from typing import NamedTuple

from planner.records.plan import Components


class Category(NamedTuple):
    field: str
    glyph: str
    ascii: str
    style: str
    colour: str

    @property
    def label(self) -> str:
        return self.field.replace("_", " ")

    def character(self, ascii_only: bool) -> str:
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
"""From the bottom of a picture over time up: what stays, then what comes and goes, the quickest last."""
FREE = Category("free", "·", ".", "bright_black", "#BBBBBB")


def category_bytes(components: Components) -> list[tuple[Category, int]]:
    """The categories that are not empty, in the order of CATEGORIES."""
    found = [(category, getattr(components, category.field)) for category in CATEGORIES]
    return [(category, num_bytes) for category, num_bytes in found if num_bytes]
