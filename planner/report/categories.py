"""The memory categories as they are drawn: each has a character and a colour, so that either is enough."""

from __future__ import annotations

from typing import NamedTuple

from planner.plan import Components


class Category(NamedTuple):
    field: str
    glyph: str
    ascii: str
    style: str

    @property
    def label(self) -> str:
        return self.field.replace("_", " ")

    def character(self, ascii_only: bool) -> str:
        return self.ascii if ascii_only else self.glyph


CATEGORIES = (
    Category("parameters", "█", "#", "blue"),
    Category("gradients", "▓", "%", "magenta"),
    Category("optimizer_states", "▒", "=", "cyan"),
    Category("activations", "░", "+", "green"),
    Category("temporary", "▚", "~", "yellow"),
    Category("unsharded_parameters", "▞", "@", "bright_blue"),
    Category("communication", "≡", ":", "bright_magenta"),
    Category("overhead", "▪", "o", "red"),
)
FREE = Category("free", "·", ".", "bright_black")


def category_bytes(components: Components) -> list[tuple[Category, int]]:
    """The categories that are not empty, in the order of CATEGORIES."""
    found = [(category, getattr(components, category.field)) for category in CATEGORIES]
    return [(category, num_bytes) for category, num_bytes in found if num_bytes]
