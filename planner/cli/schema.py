"""`planner schema`."""

from __future__ import annotations

import click

from planner.cli.arguments import Answer
from planner.cli.commands import Command
from planner.cli.output import print_document


@click.command(cls=Command, examples=("planner schema fit",))
@click.argument("answer", type=Answer())
def schema(answer: str) -> None:
    """Print the JSON Schema of what `planner fit --json` or `planner estimate --json` prints."""
    import json

    from planner.plan import EstimateResult, FitResult

    result = FitResult if answer == "fit" else EstimateResult
    print_document(json.dumps(result.model_json_schema(mode="serialization"), indent=2))
