"""Whatever is typed, there is an answer or an error, never a traceback."""

from __future__ import annotations

import click
from click.testing import CliRunner
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from planner.cli import main

CONTEXT = click.Context(main)
COMMANDS = main.list_commands(CONTEXT)
OPTIONS = sorted(
    {
        option
        for name in COMMANDS
        if (command := main.get_command(CONTEXT, name))
        for parameter in command.params
        for option in parameter.opts
        if option.startswith("--")
    }
)
NUMBERS = st.one_of(
    st.integers(-2, 64).map(str),
    st.sampled_from(["1e9", "nan", "5%", "0x10", "1_000", "٣", "2.5", "-0", "99999999999999999999"]),
)
CHOICES = st.sampled_from(
    (
        *("bf16-mixed", "bf16-true", "fp32", "adamw", "sgd", "lora", "qlora", "full", "none", "nf4"),
        *("full_shard", "no_shard", "sdpa", "eager", "q_proj,v_proj", "all-linear"),
    )
)
NAMES = st.sampled_from(
    ("gpt2", "tinyllama-1.1b", "1B", "7B", "llama", "T4", "A100-40GB", "H100", "mi300x", "show", "check", "fit")
)
NOISE = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), max_size=8).filter(
    lambda text: not text.strip().lower().startswith("hf:")
)
WORDS = st.one_of(st.sampled_from(COMMANDS), st.sampled_from(OPTIONS), NUMBERS, CHOICES, NAMES, NOISE)
PAIRS = st.tuples(st.sampled_from(OPTIONS), st.one_of(NUMBERS, CHOICES, NAMES)).map(list)
QUESTIONS = st.builds(
    lambda name, model, gpu, pairs: [name, model, "--gpu", gpu, *(word for pair in pairs for word in pair)],
    st.sampled_from(["fit", "estimate"]),
    st.sampled_from(["gpt2", "tinyllama-1.1b", "1B"]),
    st.sampled_from(["T4", "A100-40GB", "mi300x"]),
    st.lists(PAIRS, max_size=4),
)
FUZZ = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def check(arguments: list[str]) -> None:
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code in {0, 1, 2}, (arguments, result.stderr)
    assert "Traceback" not in result.stderr
    assert (result.exit_code == 2) == bool(result.stderr)
    assert bool(result.stdout) != bool(result.stderr)


@FUZZ
@example(["fit", "1B", "--gpu", "T4", "--lora-targets", ""])
@example(["gpus", "--catalog", ""])
@given(st.lists(WORDS, max_size=8))
def test_any_words_are_answered_or_refused(arguments: list[str]) -> None:
    check(arguments)


@FUZZ
@given(QUESTIONS)
def test_any_question_is_answered_or_refused(arguments: list[str]) -> None:
    check(arguments)
