"""The command line offers what the library offers, and shells can complete it."""

from __future__ import annotations

import inspect
from typing import Any

import click
import pytest
from click.shell_completion import ShellComplete

import planner.api
from hardware import PlannerError, load_catalog
from planner.cli import main
from planner.cli.command import Command, Option
from planner.models import registry_models
from planner.records.asked.arguments import ELSEWHERE, SWITCHED_ON
from planner.records.asked.axes import RequestError
from planner.records.asked.unplanned import answer_about
from strategies import OPTIONS, Batching
from strategies.sharding import ALIASES

QUESTIONS = {"fit": planner.api.fit, "estimate": planner.api.estimate}
NO_OPTIONS = {"asked", "progress"}
CHOICES = {name: option.kind for name, option in OPTIONS.items() if isinstance(option.kind, type)}
CONTEXT = click.Context(main, info_name="planner")


def command(name: str) -> Command:
    found = main.get_command(CONTEXT, name)
    assert isinstance(found, Command)
    return found


def all_commands() -> dict[str, Command]:
    found = {"": main, **{name: command(name) for name in main.list_commands(CONTEXT)}}
    for group in ("gpus", "models", "catalog"):
        found |= {f"{group} {name}": sub for name, sub in found[group].commands.items()}
    return found


def completions(*words: str) -> list[str]:
    *before, incomplete = words
    completed = ShellComplete(main, {}, "planner", "_PLANNER_COMPLETE").get_completions(list(before), incomplete)
    return [item.value for item in completed]


@pytest.mark.parametrize("name", QUESTIONS)
def test_there_is_an_option_for_each_argument_of_the_library_and_each_axis(name: str) -> None:
    arguments = {*inspect.signature(QUESTIONS[name]).parameters, *OPTIONS} - NO_OPTIONS
    assert {parameter.name for parameter in command(name).params} - {
        "as_json",
        "notes",
        "plot",
        "vram",
    } == arguments  # --vram is a spelling of --gpu


def test_what_python_takes_no_argument_for_is_told_the_argument_that_is_meant() -> None:
    known = {name for question in QUESTIONS.values() for name in inspect.signature(question).parameters}
    assert {*ELSEWHERE.values()} <= known | {*OPTIONS}
    for name, meant in (("seq_len", "sequence_length"), ("max_length", "sequence_length"), ("optim", "optimizer")):
        with pytest.raises(RequestError, match=rf"unknown argument '{name}'\nhint: did you mean {meant}"):
            planner.api.fit("gpt2", gpu="T4", **{name: 1})  # type: ignore[misc]  # that is the mistake
    with pytest.raises(RequestError, match=r"unknown argument 'pp_size'\nhint: pipeline parallelism is not planned"):
        planner.api.fit("gpt2", gpu="T4", pp_size=2)  # type: ignore[call-arg]
    with pytest.raises(RequestError, match=r"unknown argument 'xyzzy'\nhint: one of model, gpu, .*precision"):
        planner.api.fit("gpt2", gpu="T4", xyzzy=1)  # type: ignore[call-arg]
    with pytest.raises(RequestError, match=r"unknown argument 'top'\nhint: one of model"):
        planner.api.estimate("gpt2", gpu="T4", top=1)  # type: ignore[call-arg]  # an argument of `fit` alone


@pytest.mark.parametrize("kind", ["tensor", "pipeline", "expert", "context", "sequence"])
@pytest.mark.parametrize("spelled", ["{}_parallel_size", "{}_parallelism", "--{}-parallel-degree"])
def test_parallelism_that_is_not_planned_is_said_so_by_each_of_its_names(kind: str, spelled: str) -> None:
    answer = answer_about(spelled.format(kind)) or ""
    assert answer.startswith(f"{kind} parallelism is not planned")
    assert answer_about(f"{kind[0]}p") is not None


def test_a_flag_that_is_called_otherwise_than_its_choice_is_answered_by_a_choice_that_there_is() -> None:
    for flag, choice in SWITCHED_ON.items():
        values = CHOICES | {"batching": Batching}
        argument = ELSEWHERE[flag]
        assert choice in [*values[argument]] or choice in ALIASES


@pytest.mark.parametrize("name", QUESTIONS)
def test_defaults_are_those_of_the_library(name: str) -> None:
    defaults = command(name).make_context(name, ["7B", "--gpu", "T4"]).params
    for parameter in inspect.signature(QUESTIONS[name]).parameters.values():
        if parameter.default is not parameter.empty and parameter.name not in NO_OPTIONS:
            assert defaults[parameter.name] == parameter.default


@pytest.mark.parametrize("name", all_commands())
def test_no_option_keeps_only_the_last_of_its_values(name: str) -> None:
    """Values that differ are an error, or all of them reach the command."""
    for option in all_commands()[name].params:
        if not isinstance(option, click.Option) or option.is_flag or option.multiple or name == "completion":
            continue
        bare = Command(name, params=[option])
        said = [option.opts[0], "1", option.opts[0], "2"]
        if isinstance(option, Option) and option.gathers:
            context = bare.make_context(name, list(said))
            if option.name == "vram":
                assert context.default_map == {"gpu": "1GiB,2GiB"}  # it is a spelling of --gpu
            else:
                assert context.params[option.name] in ("1,2", (1, 2))
            continue
        with pytest.raises(PlannerError, match=f"{option.opts[0]} is 1, 2, but"):
            bare.make_context(name, list(said))


def test_repeated_values_that_are_the_same_are_one() -> None:
    said = ["7B", "--gpu", "T4", "--gpu", "T4", "--sequence-length", "1k", "--sequence-length", "1k"]
    found = command("fit").make_context("fit", said).params
    assert (found["gpu"], found["sequence_length"]) == ("T4", 1024)


@pytest.mark.parametrize("name", all_commands())
def test_help_opens_with_examples_that_the_command_accepts(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = all_commands()[name]
    context = click.Context(found, info_name=name)
    text = found.get_help(context)
    assert found.examples
    assert text.startswith("".join(f"  $ {example}\n" for example in found.examples))
    for example in found.examples:
        program, *words = example.partition(" < ")[0].split()
        assert program == "planner"
        for word in name.split():
            assert words.pop(0) == word
        with found.make_context(name, words, ignore_unknown_options=False):
            pass


def test_every_command_has_a_summary_where_commands_are_listed() -> None:
    text = main.get_help(CONTEXT)
    for name, found in all_commands().items():
        assert found.help
        assert " " in name or name in text


def test_help_of_an_axis_lists_its_choices() -> None:
    text = command("fit").get_help(click.Context(command("fit"), info_name="fit"))
    flat = " ".join(text.split())
    for choices in CHOICES.values():
        assert ", ".join(choice.value for choice in choices) in flat


def test_help_fits_the_usual_terminal() -> None:
    for name, found in all_commands().items():
        text = found.get_help(click.Context(found, info_name=name, terminal_width=80))
        assert max(map(len, text.splitlines())) <= 80


def test_a_shell_completes_commands_and_options() -> None:
    assert completions("mo") == ["models"]
    assert completions("fit", "7B", "--global") == ["--global-batch-size"]


def test_a_shell_completes_names_of_gpus_and_models() -> None:
    names = [name for name in load_catalog().names() if name.startswith("A100")]
    assert completions("fit", "7B", "--gpu", "a100") == completions("gpus", "show", "A100") == names
    assert completions("fit", "llama-2") == [m.name for m in registry_models() if m.name.startswith("llama-2")]
    assert completions("models", "show", "gpt2-x") == ["gpt2-xl"]
    assert completions("schema", "f") == ["fit"]


@pytest.mark.parametrize("axis", CHOICES)
def test_a_shell_completes_the_choices_of_every_axis(axis: str) -> None:
    names = [choice.value for choice in CHOICES[axis]] + (list(ALIASES) if axis == "sharding" else [])
    assert completions("fit", "7B", f"--{axis.replace('_', '-')}", "") == names


def test_a_broken_catalog_completes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLANNER_CATALOG", "nowhere.yaml")
    assert completions("fit", "7B", "--gpu", "A") == []


def test_arguments_reach_the_library_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {}

    def record(model: str, **arguments: Any) -> None:
        given.update(arguments, model=model)
        raise KeyboardInterrupt

    monkeypatch.setattr("planner.api.fit", record)
    line = "fit 7B --gpu T4 --micro-batch-size 2 --micro-batch-size 4 --lora-rank 8 --lora-targets q_proj,v_proj"
    with pytest.raises(SystemExit):
        main([*line.split(), "--optimizer", "sgd", "--optimizer", "adamw", "--headroom", "10%"])
    assert given["model"] == "7B"
    assert given["micro_batch_size"] == (2, 4)
    assert given["lora_rank"] == ("8",)
    assert given["lora_targets"] == ("q_proj,v_proj",)
    assert given["optimizer"] == ("sgd", "adamw")
    assert given["precision"] == ()
    assert given["headroom"] == 0.1
    assert given["max_accumulation"] is None
