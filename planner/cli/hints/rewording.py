"""Writes command lines with options of other tools again, with the planner's own options and their values.

The module is imported only when there is an error.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import click

from hardware.errors import PlannerError
from planner.records.asked.arguments import argument_of, near_arguments, plain, switched_on, value_of
from planner.records.asked.unplanned import instead_of
from strategies import InvalidChoiceError

_ON: Final = frozenset(("true", "yes", "on", "1"))
_OFF: Final = frozenset(("false", "no", "off", "0", "none"))
"""Values of flags in files and on command lines of other tools, without case."""


class Meant(NamedTuple):
    """Holds what an unknown option means.

    Attributes:
        words: Words of the command line in its place; none where it is to be left out.
        takes: Whether the word behind it is its value, which `words` replace too.
    """

    words: tuple[str, ...]
    takes: bool


def meant_option(name: str, value: str | None, ctx: click.Context) -> Meant | None:
    """Returns what an option that a command does not have means, with its value; None where that is not known.

    Args:
        name: The option, as `--method`.
        value: What stands behind it, if anything does: its value, or an argument of the command.
        ctx: The context of the command.
    """
    if argument_of(name, arguments_of(ctx)) is not None:
        return None if value is None else Meant((value,), takes=True)
    options = options_of(ctx)
    instead = instead_of(name, value) if asks_about_training(ctx) else None
    if instead is not None:
        return Meant(instead, takes=value is not None)
    near = near_arguments(name, options)
    if len(near) != 1 and argument_of(name, options) is None:
        return None
    return _by_option(name, value, near[0], options[near[0]], ctx)


def _by_option(name: str, value: str | None, own: str, option: click.Option, ctx: click.Context) -> Meant | None:
    """Returns what another tool's option means by the option of the planner that comes near; None where it says more.

    Args:
        name: The other tool's option, as `--load_in_4bit`.
        value: What stands behind it.
        own: Name of the planner's option, as `--quantization`.
        option: That option.
        ctx: The context of its command.
    """
    if option.is_flag:
        return Meant((own,), takes=False)
    switched = _switched(name, option, ctx)
    if value is not None and switched is not None and value.casefold() in _OFF:
        return Meant((), takes=True)
    if value is not None and switched is not None and value.casefold() in _ON:
        return Meant((own, switched), takes=True)
    said = None if value is None else _accepted(value_of(name, value), option, ctx)
    if said is not None:
        return Meant((own, said), takes=True)
    return None if switched is None else Meant((own, switched), takes=False)


def options_of(ctx: click.Context) -> dict[str, click.Option]:
    """Returns the options of a command by their long names."""
    options = (p for p in ctx.command.get_params(ctx) if isinstance(p, click.Option))
    return {text: option for option in options for text in option.opts if text.startswith("--")}


def arguments_of(ctx: click.Context) -> list[str]:
    """Returns the names of a command's arguments, which stand without one."""
    return [p.opts[0] for p in ctx.command.get_params(ctx) if isinstance(p, click.Argument)]


def asks_about_training(ctx: click.Context) -> bool:
    """Returns whether a command has options that describe a training run."""
    return "--sequence-length" in options_of(ctx)


def reworded(args: Sequence[str], ctx: click.Context) -> str | None:
    """Returns a command line with what its unknown options mean; None where one stays unknown, or more is wrong.

    Args:
        args: The command line, without the program's name.
        ctx: The context of the command whose options they are.
    """
    if ctx.parent is None or ctx.parent.parent is not None or not args or args[0] != ctx.command.name:
        return None
    known = {text: p for p in ctx.command.get_params(ctx) for text in (*p.opts, *p.secondary_opts)}
    found = _walked(list(args[1:]), known, ctx)
    if found is None or {"-h", "--help"} & {*found} or not is_read(found, ctx):
        return None
    return shlex.join(["planner", args[0], *found])


def _walked(rest: list[str], known: Mapping[str, click.Parameter], ctx: click.Context) -> list[str] | None:
    """Returns the words of a command line with unknown options replaced; None where one stays unknown."""
    found: list[str] = []
    while rest:
        word = rest.pop(0)
        name, equals, joined = word.partition("=")
        if word == "--":
            return [*found, word, *rest]
        if not word.startswith("--") or name in known:
            found.append(word)
            parameter = known.get(name)
            if isinstance(parameter, click.Option) and not (parameter.is_flag or equals) and rest:
                found.append(rest.pop(0))
            continue
        behind = joined if equals else (rest[0] if rest and not rest[0].startswith("--") else None)
        meant = meant_option(name, behind, ctx)
        if meant is None or (equals and not meant.takes):
            return None
        if meant.takes and not equals:
            rest.pop(0)
        found += _new(meant.words, [*found, *rest])
    return found


def _new(words: Sequence[str], said: Sequence[str]) -> Sequence[str]:
    """Returns words of a command line, without the options that it has already.

    Args:
        words: An argument, an option with its value, or several options with their values.
        said: The other words of the command line.
    """
    if len(words) > 2:  # several options: of those that are there with another value, that value counts
        pairs = zip(words[::2], words[1::2], strict=True)
        return [word for option, value in pairs if option not in said for word in (option, value)]
    is_there = any([*said[i : i + len(words)]] == [*words] for i in range(len(said)))
    return () if is_there else words


def is_read(args: Sequence[str], ctx: click.Context) -> bool:
    """Returns whether the command can read a command line."""
    try:
        ctx.command.make_context(ctx.info_name, list(args), parent=ctx.parent)
    except (PlannerError, click.ClickException, click.exceptions.Exit):
        return False
    return True


def refusal(name: str, value: str | None, option: click.Option, ctx: click.Context) -> str | None:
    """Returns the way out where an option refuses, with a reason of its own, what another tool's option says.

    Args:
        name: The other tool's option, such as `--dpo`.
        value: What stands behind it.
        option: The option that is meant, as `--task`.
        ctx: The context of its command.
    """
    try:
        option.type.convert(value or plain(name), option, ctx)
    except PlannerError as error:
        return None if error.message.startswith("unknown ") else error.hint  # no choice, without a reason of its own
    except click.ClickException:
        pass
    return None


def _switched(name: str, option: click.Option, ctx: click.Context) -> str | None:
    """Returns the choice of an option that the name of a flag means, such as `nf4` for `--load-in-4bit`."""
    if (choice := switched_on(name)) is not None:
        return choice
    called, kind = plain(name).replace("_", "-"), getattr(option.type, "choices", None)
    return _accepted(called, option, ctx, exactly=kind is None or called not in kind.mistaken())


def _accepted(value: str, option: click.Option, ctx: click.Context, *, exactly: bool = False) -> str | None:
    """Returns a value that an option takes: the one that is said, or what that means; None where neither is one.

    Args:
        value: The value, or several with commas between them where the option may be repeated.
        option: The option.
        ctx: The context of its command.
        exactly: Whether only the name of a choice counts: neither a wrong name that probably means one, nor a value of
            an option without choices.
    """
    from planner.cli.arguments import AxisChoice

    if exactly and not isinstance(option.type, AxisChoice):
        return None
    try:
        for part in value.split(",") if option.multiple else (value,):
            option.type.convert(part, option, ctx)
    except InvalidChoiceError as error:
        first = (error.meant or "").partition(",")[0].partition(" ")[0]
        return _accepted(first, option, ctx, exactly=True) if first and not exactly else None
    except (PlannerError, click.ClickException):
        return None
    return value
