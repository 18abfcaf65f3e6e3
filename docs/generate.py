"""Writes what is derived: from the code the references and the types of options, from YAML the JSON that is read first.

python docs/generate.py          # writes the files of WRITTEN, below
python docs/generate.py --check  # exits with 1, and says which, where a file is not what would be written
"""

from __future__ import annotations

import ast
import inspect
import itertools
import json
import re
import sys
import textwrap
from collections.abc import Callable, Iterator
from enum import Enum
from functools import reduce
from operator import or_
from pathlib import Path
from types import GenericAlias, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import click
from pydantic import BaseModel

import planner
from hardware.files.shipped import checksum, joined
from hardware.loading import builtin_catalog_path
from planner.cli import main as command
from planner.models.entries import registry_files
from strategies import OPTIONS, Choice, Names, Option, Shares

ROOT = Path(__file__).parents[1]
GENERATED = "Written by `python docs/generate.py`: edit the code, not this file."


def commands() -> str:
    """Returns the help of every command."""
    parts = ["# Commands", "", GENERATED, "", *_help(command, "planner", None)]
    return "\n".join(parts) + "\n"


def _help(found: click.Command, path: str, parent: click.Context | None) -> Iterator[str]:
    settings = {**found.context_settings, "max_content_width": 100}
    ctx = click.Context(found, info_name=path.rpartition(" ")[2], parent=parent, **settings)
    ctx.terminal_width = 100
    yield from (f"## `{path}`", "", "```text", found.get_help(ctx).rstrip(), "```", "")
    if isinstance(found, click.Group):
        for name in found.list_commands(ctx):
            inner = found.get_command(ctx, name)
            assert inner is not None
            yield from _help(inner, f"{path} {name}", ctx)


def python() -> str:
    """Returns the docstrings of the public names: functions, results and what they hold, errors."""
    public = {name: getattr(planner, name) for name in planner.__all__}
    kinds: dict[str, Callable[[Any], bool]] = {
        "Functions": inspect.isfunction,
        "Results, requests and what they hold": lambda x: inspect.isclass(x) and not issubclass(x, Exception),
        "Errors": lambda x: inspect.isclass(x) and issubclass(x, Exception),
    }
    parts = ["# Python", "", GENERATED, "", "Everything is imported from `planner`.", ""]
    for title, belongs in kinds.items():
        parts += [f"## {title}", ""]
        for name, thing in public.items():
            if belongs(thing):
                parts += [*_documented(name, thing), ""]
    return "\n".join(parts).rstrip() + "\n"


def _documented(name: str, thing: Any) -> Iterator[str]:
    yield from (f"### `{name}`", "")
    if inspect.isfunction(thing):
        yield from ("```text", f"{name}{_signature(thing)}", "```", "")
    yield from ("```text", inspect.cleandoc(thing.__doc__ or ""), "```")
    if inspect.isclass(thing) and issubclass(thing, BaseModel):
        yield from ("", "| field | type | |", "|---|---|---|")
        said = {**(_said_of_options() if issubclass(thing, planner.SearchSpace) else {}), **_said_of_fields(thing)}
        for field, info in thing.model_fields.items():
            yield f"| `{field}` | `{_type(info.annotation)}` | {said.get(field, '')} |"


def _said_of_fields(model: type[BaseModel]) -> dict[str, str]:
    """Returns what the string under each field says, of the class and of those it extends."""
    found: dict[str, str] = {}
    for kind in reversed(model.__mro__):
        if not kind.__module__.startswith("planner."):
            continue
        (definition,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
        assert isinstance(definition, ast.ClassDef)
        for field, text in itertools.pairwise(definition.body):
            is_said = isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant)
            if is_said and isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
                found[field.target.id] = " ".join(str(text.value.value).split()).replace("|", "\\|")
    return found


def _said_of_options() -> dict[str, str]:
    """Returns what the help of the command line says of each option, or the docstring of the class of its choices."""
    return {
        name: option.help or inspect.cleandoc(option.kind.__doc__ or "").splitlines()[0]
        for name, option in OPTIONS.items()
    }


def _signature(function: Any) -> str:
    """Returns the parameters one a line, as they are written."""
    lines, starred = [], False
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY and not starred:
            lines.append("*")
            starred = True
        stars = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
        default = "" if parameter.default is parameter.empty else f" = {_default(parameter.default)}"
        lines.append(f"{stars}{parameter.name}: {parameter.annotation}{default}")
    return "".join(
        ("(\n", *(f"    {line},\n" for line in lines), f") -> {inspect.signature(function).return_annotation}")
    )


def _default(value: Any) -> str:
    return "..." if callable(value) else repr(value)


def _bare(annotation: Any) -> Any:
    """Returns a type without what `Annotated` adds, also within it, which may have an address in it."""
    if get_origin(annotation) is Annotated:
        return _bare(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return reduce(or_, map(_bare, get_args(annotation)))
    if isinstance(annotation, GenericAlias):
        return GenericAlias(get_origin(annotation), tuple(map(_bare, get_args(annotation))))
    return annotation


def _type(annotation: Any) -> str:
    """Returns a type as it is written, without the modules of its names."""
    annotation = _bare(annotation)
    text = annotation.__name__ if isinstance(annotation, type) and "[" not in str(annotation) else str(annotation)
    return re.sub(r"\b(?:[a-z_]\w*\.)+(?=[A-Za-z_])", "", text).replace("|", "\\|")


def option_types() -> str:
    """Returns the module that tells type checkers and editors which options there are, and their values."""
    kinds = [option.kind for option in OPTIONS.values() if isinstance(option.kind, type)]
    lines = [
        '"""The options of techniques as type checkers and editors see them.',
        "",
        GENERATED,
        '"""',
        "",
        "from __future__ import annotations",
        "",
        "from collections.abc import Sequence",
        "from typing import Literal, TypedDict",
        "",
        f"from strategies import {', '.join(sorted(kind.__name__ for kind in kinds))}",
        "",
    ]
    for kind in kinds:
        names = ", ".join(f'"{choice}"' for choice in kind if isinstance(choice, Enum))
        lines.append(f'{kind.__name__}Name = {kind.__name__} | Literal[{names}, "all"]')
    lines += ["", "", "class Options(TypedDict, total=False):"]
    lines.append('    """What a caller may say of each technique: a value, several, or for whole numbers a range."""')
    lines.append("")
    for option in OPTIONS.values():
        one = _one(option)
        lines.append(f"    {option.name}: {one} | Sequence[{one}] | None")
    return _formatted("\n".join(lines) + "\n")


def _one(option: Option) -> str:
    kind = option.kind
    if isinstance(kind, type) and issubclass(kind, Choice):
        return f"{kind.__name__}Name"
    if isinstance(kind, Names):
        return "str | tuple[str, ...]"
    return "float" if isinstance(kind, Shares) else "int | str"


def _formatted(code: str) -> str:
    import subprocess

    fixed = [
        sys.executable,
        "-m",
        "ruff",
        "check",
        "--select",
        "I",
        "--fix",
        "--quiet",
        "--stdin-filename",
        "x.py",
        "-",
    ]
    formatted = [sys.executable, "-m", "ruff", "format", "--stdin-filename", "x.py", "-"]
    for step in (fixed, formatted):
        code = subprocess.run(step, input=code, capture_output=True, text=True, check=True, cwd=ROOT).stdout
    return code


def catalog() -> str:
    """Returns the built-in catalog as JSON."""
    return _compiled([builtin_catalog_path()], depth=2)


def registry() -> str:
    """Returns the registry of models as JSON."""
    return _compiled(registry_files(), depth=1)


def _compiled(files: list[Path], depth: int) -> str:
    contents = [file.read_bytes() for file in files]
    return f'{{"checksum": {checksum(contents)}, "data": {_spread(joined(contents), depth)}}}\n'


def _spread(data: Any, depth: int) -> str:
    """Returns data as JSON, with the values down to a depth in lines of their own."""
    if depth == 0 or not isinstance(data, dict):
        return json.dumps(data, default=str, ensure_ascii=False)  # days become texts
    return "{\n" + ",\n".join(f"{json.dumps(key)}: {_spread(value, depth - 1)}" for key, value in data.items()) + "\n}"


WRITTEN: dict[str, Callable[[], str]] = {
    "planner/records/asked/option_types.py": option_types,
    "hardware/catalog.json": catalog,
    "planner/models/registry.json": registry,
    "docs/commands.md": commands,
    "docs/python.md": python,
}


def main(check: bool) -> int:
    """Writes the files, or compares them; returns the exit code."""
    stale = []
    for path, write in WRITTEN.items():
        text = write()
        if check and (ROOT / path).read_text() != text:
            stale.append(path)
        elif not check:
            (ROOT / path).write_text(text)
    for path in stale:
        print(f"{path} is stale: python docs/generate.py")
    return bool(stale)


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv[1:]))
