"""Defines commands whose help opens with examples and lists options in sections, and a group that loads them late."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from hardware.errors import PlannerError

_OPTIONS = "Options"
_UNBROKEN_HYPHEN = "\u2011"
"""A hyphen that keeps names such as sgd-momentum in one line."""


class Option(click.Option):
    """Extends click's option: it belongs to a section of the help, and none of its values is lost.

    Of an option that takes one value, click keeps the last. Here several that differ are an error, or a list.

    Attributes:
        section: Title of the section.
        gathers: Whether it takes several values with commas between them, so that repeated ones are joined by commas.
    """

    def __init__(self, *args: Any, section: str = _OPTIONS, gathers: bool = False, **attributes: Any) -> None:
        super().__init__(*args, **attributes)
        self.section, self.gathers = section, gathers

    def add_to_parser(self, parser: Any, ctx: click.Context) -> None:
        """Has the parser keep every value."""
        if self._is_single():
            parser.add_option(obj=self, opts=self.opts, dest=self.name, action="append", nargs=1)
        else:
            super().add_to_parser(parser, ctx)

    def consume_value(self, ctx: click.Context, opts: Mapping[str, Any]) -> tuple[Any, Any]:
        """Returns the value and where it is from.

        Raises:
            PlannerError: Values differ, and the option takes one.
        """
        if self._is_single() and self.name in opts:
            said = list(dict.fromkeys(opts[self.name]))
            if len(said) > 1 and not self.gathers and not ctx.resilient_parsing:
                raise self._repeated(ctx, said)
            opts = {**opts, self.name: ",".join(said) if self.gathers else said[-1]}
        return super().consume_value(ctx, opts)

    def _is_single(self) -> bool:
        return not (self.multiple or self.is_flag or self.count) and self.nargs == 1

    def _repeated(self, ctx: click.Context, said: Sequence[str]) -> Exception:
        from hardware.errors import PlannerError

        option, several = self.opts[0], ", ".join(said)
        return PlannerError(f"{option} is {several}, but {ctx.command_path} takes one of them", f"{option} {said[-1]}")


class Command(click.Command):
    """Extends click's command: its help opens with examples and lists options in sections.

    Attributes:
        examples: Command lines that the help shows.
    """

    def __init__(self, *args: Any, examples: Sequence[str] = (), **attributes: Any) -> None:
        super().__init__(*args, **attributes)
        self.examples = examples

    @property
    def with_keys(self) -> str | None:
        """Returns the example that passes on options of another program, behind `--`; None of most commands."""
        return next((example for example in self.examples if " -- --" in example), None)

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the examples, then the help."""
        for example in self.examples:
            formatter.write(f"  $ {example}\n")
        if self.examples:
            formatter.write("\n")
        super().format_help(ctx, formatter)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the options, section by section."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record and isinstance(parameter, click.Option):
                name, text = record
                entry = (name, text.replace("-", _UNBROKEN_HYPHEN))
                sections.setdefault(getattr(parameter, "section", _OPTIONS), []).append(entry)
        sections[_OPTIONS] = sections.pop(_OPTIONS)
        for title, records in sections.items():
            with formatter.section(title):
                formatter.write_dl(records)
        formatter.buffer = [text.replace(_UNBROKEN_HYPHEN, "-") for text in formatter.buffer]


class Group(click.Group, Command):
    """Groups commands that belong together; an unknown command raises an error that names the nearest one."""

    command_class = Command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Finds the command that the arguments name.

        Raises:
            PlannerError: There is no such command.
        """
        word = args[0]
        if self.list_commands(ctx) == ["show"] and not word.startswith("-") and word != "show":
            from planner.cli.matching import mark_bare

            mark_bare(ctx)
            return super().resolve_command(ctx, ["show", *args])  # `planner gpus T4` shows it
        if not ctx.resilient_parsing and not word.startswith("-") and self.get_command(ctx, word) is None:
            raise self._unknown(ctx, word)
        return super().resolve_command(ctx, args)

    def _unknown(self, ctx: click.Context, word: str) -> PlannerError:
        from hardware.errors import PlannerError, nearest_names

        names = self.list_commands(ctx)
        near = nearest_names(word, names)
        hint = f"did you mean {', '.join(near)}?" if near else f"one of {', '.join(names)}"
        return PlannerError(f"unknown command {word!r}", hint)


class LazyGroup(Group):
    """Groups commands that live in modules of their own, which are imported when the commands run.

    The command `fit` is the function `fit` of the module `<package>.fit`.

    Attributes:
        package: The package that holds the modules.
        summaries: One line of help for each command, by name.
        elsewhere: What other tools call commands or options of this one, and what these are.
    """

    def __init__(
        self,
        *args: Any,
        package: str,
        summaries: Mapping[str, str],
        elsewhere: Mapping[str, str],
        **attributes: Any,
    ) -> None:
        super().__init__(*args, **attributes)
        self.package = package
        self.summaries = summaries
        self.elsewhere = elsewhere

    def _unknown(self, ctx: click.Context, word: str) -> PlannerError:
        error = super()._unknown(ctx, word)
        args = tuple(ctx.find_root().obj or ())
        rest = args[args.index(word) + 1 :] if word in args else ()
        meant = self.elsewhere.get(word.casefold())
        if meant is not None and rest and rest[0] in self.summaries:  # `list gpus`, `help fit`
            line: Sequence[str] = (*rest[:1], meant) if meant == "--help" and word != ctx.info_name else rest
        elif meant is not None:
            line = (meant, *rest) if meant in self.summaries else (meant,)
        elif is_model(word):
            line = ("fit", *args)
        else:
            return error
        from shlex import join  # only errors need it

        error.hint = join([*ctx.command_path.split(), *line])
        return error

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Returns the names of the commands in the order of the help."""
        return list(self.summaries)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Imports and returns a command, or returns None if there is none of that name."""
        if cmd_name not in self.summaries:
            return None
        command: click.Command = getattr(import_module(f"{self.package}.{cmd_name}"), cmd_name)
        command.short_help = self.summaries[cmd_name]
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the names and summaries of the commands."""
        with formatter.section("Commands"):
            formatter.write_dl(list(self.summaries.items()))


def is_model(name: str) -> bool:
    """Returns whether the registry has a model of a name."""
    from hardware.errors import normalized
    from planner.models.registered import by_name

    return normalized(name) in by_name()
