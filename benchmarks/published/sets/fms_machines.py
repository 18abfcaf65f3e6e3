"""Reads runs of fms-acceleration that were measured three times: twice on one machine, then on another.

In October 2024 its plug-in let every rank load a quantized base to the host, and from the next month on to the meta
device on all ranks but the first (its pull request 90). Torch allocated the same, and nvidia-smi saw up to 10 GiB more.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import yaml
from published.data_files import csv_rows
from published.run import Run
from published.sets import fms
from published.sets.requests import BEFORE_TORCH_2_8

from hardware import MIB

LIBRARIES = "liger"
"""The set whose version of transformers October's and November's runs had, 4.45.2."""


class Month(StrEnum):
    """When the runs were measured."""

    OCTOBER = "october"
    NOVEMBER = "november"
    FEBRUARY = "february"
    """On another machine, and with transformers 4.48; before, it was 4.45."""


ASKED = Month.OCTOBER, Month.NOVEMBER
"""Months of which the planner is asked here; February's runs are a set of fms_acceleration.yaml."""


def peaks() -> dict[str, dict[Month, tuple[int, int]]]:
    """Returns the allocated bytes and those of nvidia-smi of each run, by name and month."""
    return {
        row["name"]: {m: (int(row[f"{m}_allocated"]), round(float(row[f"{m}_nvidia_smi"]) * MIB)) for m in Month}
        for row in csv_rows("fms_machines.csv")
    }


def runs(month: Month) -> list[Run]:
    """Returns those of a month's runs under FSDP1 whose settings are known, from February's set.

    Args:
        month: One of `ASKED`.
    """
    data = yaml.safe_load(fms.FILE.read_text())
    found = peaks()
    rows = {name: row for row in data["rows"] if (name := row["id"].removeprefix(f"{fms.EAGER}/")) in found}
    return [
        _run(row, data["versions"][LIBRARIES], month, found[name][month])
        for name, row in rows.items()
        if row["num_gpus"] > 1
    ]


def _run(row: dict[str, Any], versions: dict[str, str], month: Month, peak: tuple[int, int]) -> Run:
    run = fms.run_of(row, versions)
    allocated, used = peak
    found = run._replace(
        name=f"{month}, {run.name}",
        allocated_bytes=allocated,
        device_bytes=used,
        contexts=run.contexts._replace(eager=False),
    )
    return found if month is not Month.OCTOBER else _from_host(found, row)


def _from_host(run: Run, row: dict[str, Any]) -> Run:
    """Returns a run whose weights came from the host on every rank: asked with today's wrapping, which is near that.

    No choice says it. `loading every-rank` is that of transformers 5, which puts a quantized base on each GPU.
    """
    request = {name: value for name, value in run.request.items() if name not in BEFORE_TORCH_2_8}
    return run._replace(request=request, wraps=fms.wraps_of(row)._replace(ahead=False))
