"""Defines the options that say what is trained, with which batch, and towards what."""

from __future__ import annotations

from planner.cli.arguments import LENGTH, LENGTHS, AxisChoice
from planner.cli.options import (
    AxisOption,
    F,
    axis_options,
    catalog_option,
    decorated,
    number_option,
    option,
    space_option,
)
from strategies import Batching, Objective, Outputs, Task

_WORKLOAD, _GOAL = "Workload", "Goal"

task_option = option("--task", cls=AxisOption, type=AxisChoice(Task), metavar="NAME", section=_WORKLOAD)
length_option = number_option(
    "--sequence-length",
    _WORKLOAD,
    "Tokens per sequence, such as 4096 or 4k; 2048 where the model has as many positions.",
    type=LENGTH,
)
lengths_option = number_option(
    "--sequence-length",
    _WORKLOAD,
    "Tokens per sequence; several: 1024,4k. Usual unless given.",
    type=LENGTHS,
    gathers=True,
)


def configuration_options(function: F) -> F:
    """Adds the task and the one batch of a single configuration."""
    return decorated(
        task_option,
        length_option,
        number_option("--micro-batch-size", _WORKLOAD, "Sequences per GPU and pass.", default=1),
        number_option("--gradient-accumulation-steps", _WORKLOAD, "Passes per optimizer step.", default=1),
    )(function)


def loop_options(function: F) -> F:
    """Adds what the training loop does besides steps of full samples: evaluation, padding, outputs that it keeps."""
    return decorated(
        number_option(
            "--evaluation-batch-size", _WORKLOAD, "Samples that are evaluated at once between steps; none unless given."
        ),
        option(
            "--batching", cls=AxisOption, type=AxisChoice(Batching), metavar="NAME", section=_WORKLOAD, default="full"
        ),
        number_option(
            "--target-length",
            _WORKLOAD,
            "Tokens of the decoder's sequence, of an encoder-decoder; as many as the source has unless given.",
            type=LENGTH,
        ),
        number_option(
            "--mean-length",
            _WORKLOAD,
            "Tokens of a sample on average, where they are padded or packed.",
            type=LENGTH,
        ),
        option(
            "--outputs",
            cls=AxisOption,
            type=AxisChoice(Outputs),
            metavar="NAME",
            section=_WORKLOAD,
            default="released",
        ),
    )(function)


def effective_batch_options(function: F) -> F:
    """Adds what bounds or says the effective batch of a search."""
    return decorated(
        number_option("--micro-batch-size", _WORKLOAD, "Sequences per GPU and pass; may be repeated.", multiple=True),
        number_option("--max-accumulation", _WORKLOAD, "Most accumulation steps, 16 unless given."),
        number_option("--gradient-accumulation-steps", _WORKLOAD, "Accumulation steps of every plan."),
        number_option("--global-batch-size", _WORKLOAD, "The effective batch wanted, instead of the largest."),
        option(
            "--tokens-per-step",
            metavar="N",
            section=_WORKLOAD,
            help="The same in tokens, such as 512k: the nearest batch.",
        ),
    )(function)


def goal_options(function: F) -> F:
    """Adds what a search looks for, and what a run may take."""
    return decorated(
        option(
            "--objective",
            cls=AxisOption,
            type=AxisChoice(Objective),
            metavar="NAME",
            section=_GOAL,
            unless="batch unless given, or cost of machines with a budget",
        ),
        option("--tokens", metavar="N", section=_GOAL, help="Tokens of a run, such as 1.5B: says how long it takes."),
        option("--samples", metavar="N", section=_GOAL, help="Samples of a run, such as 10M, instead of tokens."),
        option("--epochs", metavar="N", section=_GOAL, help="How often the run goes over them; once unless given."),
        option("--deadline", metavar="TIME", section=_GOAL, help="Longest time of the run, such as 24h."),
        option("--budget", metavar="USD", section=_GOAL, help="Highest price of the run."),
        option("--price", metavar="USD", section=_GOAL, help="Of one GPU for an hour; the catalog's unless given."),
    )(function)


def search_options(function: F) -> F:
    """Adds all that a search is told in addition to the model, the machine and the length."""
    return decorated(effective_batch_options, goal_options, loop_options, axis_options, space_option, catalog_option)(
        function
    )
