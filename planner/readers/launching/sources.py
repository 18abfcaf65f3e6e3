"""Makes the files of a run out of the command that launches it: the recipe, and what accelerate's file would say."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from hardware.errors import PlannerError
from hardware.files.yaml_text import STANDARD_INPUT, read_bytes
from planner.readers.documents.reading import Place, Refusal
from planner.readers.documents.source import ConfigFileError, Entry, Source, source_named
from planner.readers.launching.commands import commands
from planner.readers.launching.expansion import Word
from planner.readers.launching.flags import Flags, flat
from planner.readers.launching.launch import Launch, launch_of, pairs
from planner.readers.launching.named import read_beside, read_named
from planner.readers.launching.processes import Processes
from planner.readers.recognized import UnknownFileError

_COMMAND = re.compile(
    r"\s*(?:\w+=\S*\s+)*(?:accelerate launch|torchrun|deepspeed|llamafactory-cli|swift|trl|axolotl|tune|litgpt"
    r"|python3?)\s"
)
_FILES = (".yaml", ".yml", ".json", ".toml")
_CONFIGS = ("config", "config_file", "train_config", "job.config_file")


def sources_of_script(file: str, text: str, line: int | None = None, number: int | None = None) -> list[Source]:
    """Returns the files of the run that a script launches; nothing is executed.

    Args:
        file: Name of the script.
        text: The script.
        line: Line of the command that is meant, for a script that launches several runs.
        number: Its number among them, from 1.

    Raises:
        PlannerError: It launches no training that is known, or several, or names a file that is not here.
    """
    found = [launch for command in commands(text) if (launch := launch_of(command)) is not None]
    plain = [each for each in found if each.arguments or read_beside(file, each.script) is not None]
    launches = [each for each in found if each.launcher != "python"] or plain
    if not launches:
        way_out = "a script with one command: torchrun, accelerate launch, swift sft, ..."
        raise UnknownFileError(f"{file} launches no training that is known by its name", way_out)
    launch = _meant(file, launches, line, number)
    processes = Processes(file, launch)
    launcher = processes.source()
    return [*([launcher] if launcher is not None else []), _recipe(file, launch, processes)]


def _meant(file: str, launches: Sequence[Launch], line: int | None, number: int | None) -> Launch:
    """Returns the one launch of a script, the one on a line, or the one of a number."""
    lines = [launch.line for launch in launches]
    if line is not None and line not in lines:
        raise PlannerError(f"{file} launches no training on line {line}", f"{file}:{lines[0]}")
    if line is not None:
        return launches[lines.index(line)]
    if number is not None and not 0 < number <= len(launches):
        runs = f"{len(launches)} run{'s' if len(launches) > 1 else ''}"
        raise PlannerError(f"there is no launch {number}: {file} launches {runs}", f"--launch 1, on line {lines[0]}")
    if number is None and len(launches) > 1:
        listed = "".join(f"\n  {at}. line {each.line}: {each.text}" for at, each in enumerate(launches, start=1))
        way_out = f"--launch 1 checks the first, and so does {file}:{lines[0]}"
        raise PlannerError(f"{file} launches {len(launches)} runs:{listed}", way_out)
    return launches[0 if number is None else number - 1]


def _recipe(file: str, launch: Launch, processes: Processes) -> Source:
    """Returns the recipe: the file that the command names with its flags instead, or the flags alone."""
    flags_of = Flags(file)
    given = pairs(launch.arguments)
    names = given.pop("", ([], None))[0]
    named = [word for word in names if word.text.lower().endswith(_FILES)][:1]
    for key in _CONFIGS:
        if not named and key in given:
            named = given.pop(key)[0][:1]
    if launch.program == "litgpt" and names and not named:
        given["checkpoint_dir"] = ([names[0]], names[0])
    flags = flat(dict(flags_of.flag(name, values, word) for name, (values, word) in given.items()))
    flags.pop("local_rank", None)
    for name in processes.of_launcher():
        flags.pop(name, None)
    task = f"{launch.task}: not the next-token loss of one sequence a sample"
    task = "Megatron's engine, with parallelism of its own" if launch.task == "megatron" else task
    of_task = [Refusal(task, Place(file, launch.line, launch.task))] if launch.task else []
    pixels = [name for name in launch.environment if name.endswith("MAX_PIXELS") and launch.program == "ms-swift"]
    of_images = [Refusal("images beside the text", Place(file, launch.line, name)) for name in pixels]
    refusals = (*of_task, *of_images, *processes.divided())
    said = {name: Entry(value, Place(file, launch.line, name)) for name, value in launch.environment.items()}
    return _said_by(file, launch, named, flags_of, flags)._replace(refusals=refusals, environment=said)


def _said_by(file: str, launch: Launch, named: list[Word], flags_of: Flags, flags: Mapping[str, Entry]) -> Source:
    """Returns what says the recipe: a file that is named, one beside the script that is launched, or the flags."""
    beside = None if named else read_beside(file, launch.script)
    if beside is not None:
        return beside._replace(flags=flags)
    if named:
        source = read_named(file, named[0])
        program = launch.program if source.program or not source.data else ""
        return source._replace(flags=flags, program=program)
    return flags_of.source(flags, launch.program)._replace(script=launch.script)


def read_sources(files: Sequence[str], launch: int | None = None) -> list[Source]:
    """Returns the files of a run, and those that a launch script among them names; `-` is standard input.

    `train.sh:12` is the run that a script launches on line 12.

    Args:
        files: Their paths.
        launch: Number of the run that is meant, from 1, for a script that launches several.

    Raises:
        PlannerError: It cannot be read, or launches no training, or several.
    """
    if launch is not None and all(file.lower().endswith(_FILES) for file in files):
        raise PlannerError(f"--launch {launch} is of a script, and no FILE is one", "planner check train.sh --launch 1")
    return [source for file in files for source in _read(file, launch)]


def _read(file: str, launch: int | None) -> list[Source]:
    script, colon, number = file.rpartition(":")
    if colon and number.isdecimal() and not Path(file).exists():
        content = read_bytes(script, ConfigFileError)
        return sources_of_script(script, content.decode(), int(number[:9]))
    content = read_bytes(file, ConfigFileError)
    if is_script(file, content):
        name = "standard input" if file == STANDARD_INPUT else file
        return sources_of_script(name, content.decode(), number=launch)
    return [source_named(file, content)]


def is_script(file: str, content: bytes) -> bool:
    """Returns whether a file is a shell script, by its name or by its first line, which may be a command."""
    if Path(file).suffix.lower() in (".sh", ".bash", ".slurm", ".sbatch") or content.startswith(b"#!"):
        return True
    return file == STANDARD_INPUT and _COMMAND.match(content.decode()) is not None
