"""Writes command lines again whose options are those of other tools, with the planner's own options and their values.

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
    parameters = ctx.command.get_params(ctx)
    options = {text: p for p in parameters for text in p.opts if isinstance(p, click.Option) and text.startswith("--")}
    if argument_of(name, [p.opts[0] for p in parameters if isinstance(p, click.Argument)]) is not None:
        return None if value is None else Meant((value,), takes=True)
    instead = instead_of(name, value) if "--sequence-length" in options else None  # it asks about training
    if instead is not None:
        return Meant(instead, takes=value is not None)
    near = near_arguments(name, options)
    if len(near) != 1 and argument_of(name, options) is None:
        return None
    option, flag = options[near[0]], _switch(name, options[near[0]], ctx)
    if option.is_flag:
        return Meant((near[0],), takes=False)
    if value is not None and flag is not None and value.casefold() in _OFF:
        return Meant((), takes=True)
    if value is not None and flag is not None and value.casefold() in _ON:
        return Meant((near[0], flag), takes=True)
    said = None if value is None else _accepted(value_of(name, value), option, ctx)
    if said is not None:
        return Meant((near[0], said), takes=True)
    return None if flag is None else Meant((near[0], flag), takes=False)


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
    if found is None or {"-h", "--help"} & {*found} or not _is_read(found, ctx):
        return None
    return shlex.join(["planner", args[0], *found])


def together(args: Sequence[str], ctx: click.Context) -> str | None:
    """Returns a command line in which two words are one name, as in `--gpu rtx 4090`, or two GPUs; None if no two are.

    Args:
        args: The command line, without the program's name.
        ctx: The context of its command.
    """
    for i in range(1, len(args) - 1):
        first, second = args[i : i + 2]
        name, both = f"{first} {second}", args[i - 1] == "--gpu" and _is_gpu(first) and _is_gpu(second)
        line = [*args[:i], f"{first},{second}" if both else name, *args[i + 2 :]]
        if "-" not in (first[:1], second[:1]) and (both or _is_known(name)) and _is_read(line[1:], ctx):
            return shlex.join(["planner", *line])
    return None


def with_gpu(args: Sequence[str], ctx: click.Context) -> str | None:
    """Returns a command line without --gpu with one of its words as the GPU, as in `fit 7B 4090`; None if none is one.

    Args:
        args: The command line, without the program's name.
        ctx: The context of its command.
    """
    if "--gpu" in args:
        return None
    for length in (1, 2):
        for i in range(1, len(args) - length + 1):
            name = " ".join(args[i : i + length])
            line = [*args[:i], *args[i + length :], "--gpu", name]
            if not name.startswith("-") and _is_gpu(name) and _is_read(line[1:], ctx):
                return shlex.join(["planner", *line])
    return None


def _is_known(name: str) -> bool:
    """Returns whether a name is one of a GPU or of a model of the registry."""
    from planner.models import recognize

    if _is_gpu(name):
        return True
    try:
        recognize(name)
    except PlannerError:
        return False
    return True


def _is_gpu(name: str) -> bool:
    """Returns whether a name is one of a GPU or machine of the catalog."""
    from hardware import load_catalog

    try:
        catalog = load_catalog()
        return catalog.find_machine(name) is not None or catalog.get(name) is not None
    except PlannerError:
        return False


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
    """Returns words of a command line without what it says already: of several options, those that it has."""
    if len(words) > len(("--option", "value")):
        pairs = zip(words[::2], words[1::2], strict=True)
        return [word for option, value in pairs if option not in said for word in (option, value)]
    there = any([*said[i : i + len(words)]] == [*words] for i in range(len(said)))
    return () if there else words


def _is_read(args: Sequence[str], ctx: click.Context) -> bool:
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


def _switch(name: str, option: click.Option, ctx: click.Context) -> str | None:
    """Returns the choice of an option that the name of a flag means, such as `nf4` for `--load-in-4bit`."""
    if (switched := switched_on(name)) is not None:
        return switched
    called, kind = plain(name).replace("_", "-"), getattr(option.type, "choices", None)
    return _accepted(called, option, ctx, exactly=kind is None or called not in kind.mistaken())


def _accepted(value: str, option: click.Option, ctx: click.Context, *, exactly: bool = False) -> str | None:
    """Returns a value that an option takes: the one that is said, or what that means; None where neither is one.

    Args:
        value: The value, or several with commas between them where the option may be repeated.
        option: The option.
        ctx: The context of its command.
        exactly: Whether what a wrong choice probably means does not count, and a value of no choice is none.
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
