"""Defines the command `planner schema`."""

from __future__ import annotations

import click

from planner.cli.arguments import Answer
from planner.cli.commands import Command
from planner.cli.output import print_document


@click.command(cls=Command, examples=("planner schema fit",))
@click.argument("answer", type=Answer())
def schema(answer: str) -> None:
    """Print the JSON Schema of what `fit`, `estimate`, `explain`, `verify` or `check` prints with --json."""
    import json

    from pydantic import BaseModel

    from planner.records.check import CheckResult
    from planner.records.explanation import Explanation
    from planner.records.result import EstimateResult, FitResult
    from planner.records.verification import Verification

    results: dict[str, type[BaseModel]] = {
        "fit": FitResult,
        "estimate": EstimateResult,
        "explain": Explanation,
        "verify": Verification,
        "check": CheckResult,
    }
    print_document(json.dumps(results[answer].model_json_schema(mode="serialization"), indent=2))
