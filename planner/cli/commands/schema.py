"""Defines the command `planner schema`."""

from __future__ import annotations

import click

from planner.cli.arguments import Answer
from planner.cli.command import Command
from planner.cli.output import print_document


@click.command(cls=Command, examples=("planner schema fit", "planner schema catalog"))
@click.argument("answer", type=Answer())
def schema(answer: str) -> None:
    """Print the JSON Schema of what a command prints with --json, or of a catalog file.

    `machines` is what `fit` prints of several machines, `catalog` a YAML file for --catalog.
    """
    import json

    from pydantic import BaseModel

    from hardware.schema import catalog_schema
    from planner.records.check import CheckResult
    from planner.records.comparison import Comparison
    from planner.records.explanation import Explanation
    from planner.records.machines import MachineRanking
    from planner.records.measurement import Measurement
    from planner.records.result import EstimateResult, FitResult
    from planner.records.sweep import SweepResult
    from planner.records.verification import Verification

    results: dict[str, type[BaseModel]] = {
        "fit": FitResult,
        "estimate": EstimateResult,
        "explain": Explanation,
        "verify": Verification,
        "check": CheckResult,
        "machines": MachineRanking,
        "sweep": SweepResult,
        "compare": Comparison,
        "measured": Measurement,
    }
    found = results[answer].model_json_schema(mode="serialization") if answer in results else catalog_schema()
    print_document(json.dumps(found, indent=2))
