"""Asks the planner what users reported of single runs: field_reports.yaml."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from published.answer import Said, said_of

from planner.models import add_model

FILE = Path(__file__).with_name("field_reports.yaml")

# config.json of mistralai/Ministral-8B-Instruct-2410
MINISTRAL: dict[str, Any] = {
    "model_type": "mistral",
    "hidden_size": 4096,
    "intermediate_size": 12288,
    "num_hidden_layers": 36,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "vocab_size": 131072,
    "max_position_embeddings": 32768,
    "sliding_window": 32768,
}
add_model("ministral-8b-instruct-2410", MINISTRAL)


GB = 10**9


class Report(NamedTuple):
    """What a user reported of a run.

    Attributes:
        source: Where.
        said: What ran, in words.
        model: Name of the model, as the planner knows it.
        request: Arguments of `planner.estimate`.
        ran: Whether it ran; otherwise it was out of memory.
        device_bytes: Bytes that it took of the GPU, or None.
        why: Why the planner says another number, as far as that is known.
    """

    source: str
    said: str
    model: str
    request: dict[str, Any]
    ran: bool
    device_bytes: int | None = None
    why: str = ""

    @property
    def answer(self) -> Said:
        """Returns what the planner says."""
        return said_of(self.model, self.request)


def reports() -> list[Report]:
    """Returns all reports, in the file's order."""
    return [Report(**entry) for entry in yaml.safe_load(FILE.read_text())]


def rows(found: list[Report]) -> Iterator[str]:
    """Yields the rows of a table of reports; GB are 10^9 bytes, as users say them."""
    yield "| report | run | reported | planner | |"
    yield "|---|---|---|---|---|"
    for report in found:
        said = report.answer
        measured = f"{report.device_bytes / GB:.1f} GB" if report.device_bytes else "ran"
        told = f"{said.device_bytes / GB:.1f} GB, {'fits' if said.fits else 'does not fit'}"
        cells = report.source, report.said, measured if report.ran else "out of memory", told, report.why
        yield f"| {' | '.join(cells)} |"
