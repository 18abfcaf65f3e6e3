"""Makes the files of a run out of the command that launches it: the recipe, and what accelerate's file would say."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from hardware.document import Document
from hardware.errors import PlannerError
from hardware.reading import STANDARD_INPUT, SafeLoader, read_bytes
from planner.readers.launching.launch import Launch, launch_of, pairs
from planner.readers.launching.words import Word, commands
from planner.readers.reading import Place, Refusal
from planner.readers.source import (
    ConfigFileError,
    Entry,
    Language,
    Source,
    UnknownFileError,
    found_near,
    read_source,
    source_named,
)

_COMMAND = re.compile(
    r"\s*(?:\w+=\S*\s+)*(?:accelerate launch|torchrun|deepspeed|llamafactory-cli|swift|trl|axolotl|tune|litgpt"
    r"|python3?)\s"
)
_FILES = (".yaml", ".yml", ".json", ".toml")
_CONFIGS = ("config", "config_file", "train_config", "job.config_file")
_ZERO = (
    *("zero_stage", "offload_optimizer_device", "offload_param_device", "deepspeed_config_file", "gradient_clipping"),
    *("gradient_accumulation_steps", "zero3_init_flag", "zero3_save_16bit_model", "deepspeed_multinode_launcher"),
)
_TEMPLATES: Mapping[str, Mapping[str, Any]] = {
    "single_gpu": {"distributed_type": "NO"},
    "multi_gpu": {"distributed_type": "MULTI_GPU", "num_processes": 8},
    **{
        f"zero{stage}": {"distributed_type": "DEEPSPEED", "num_processes": 8, "zero_stage": stage}
        for stage in (1, 2, 3)
    },
    **{
        f"fsdp{version}": {"distributed_type": "FSDP", "num_processes": 8, "fsdp_version": version}
        for version in (1, 2)
    },
}
"""Files of accelerate that TRL has under a name: trl/accelerate_configs/."""


def sources_of_script(file: str, text: str, line: int | None = None) -> list[Source]:
    """Returns the files of the run that a script launches; nothing is executed.

    Args:
        file: Name of the script.
        text: The script.
        line: Line of the command that is meant, for a script that launches several runs.

    Raises:
        PlannerError: It launches no training that is known, or several, or names a file that is not here.
    """
    found = [launch for command in commands(text) if (launch := launch_of(command)) is not None]
    launches = [each for each in found if each.launcher != "python"] or [each for each in found if each.arguments]
    if not launches:
        way_out = "a script with one command: torchrun, accelerate launch, swift sft, ..."
        raise UnknownFileError(f"{file} launches no training that is known by its name", way_out)
    script = _Script(file, _meant(file, launches, line))
    launcher = script.launcher()
    return [*([launcher] if launcher is not None else []), script.recipe()]


def _meant(file: str, launches: Sequence[Launch], line: int | None) -> Launch:
    """Returns the one launch of a script, or the one on a line."""
    lines = [launch.line for launch in launches]
    if line is None and len(launches) > 1:
        listed = ", ".join(map(str, lines))
        way_out = f"{file}:{lines[0]} checks the one on line {lines[0]}"
        raise PlannerError(f"{file} launches {len(launches)} runs, on lines {listed}", way_out)
    if line is not None and line not in lines:
        raise PlannerError(f"{file} launches no training on line {line}", f"{file}:{lines[0]}")
    return launches[0 if line is None else lines.index(line)]


class _Script:
    """Holds a command of a script."""

    def __init__(self, file: str, launch: Launch) -> None:
        self.file, self.launch = file, launch

    def recipe(self) -> Source:
        """Returns the recipe: the file that the command names with its flags instead, or the flags alone."""
        launch = self.launch
        given = pairs(launch.arguments)
        names = given.pop("", ([], None))[0]
        named = [word for word in names if word.text.lower().endswith(_FILES)][:1]
        for key in _CONFIGS:
            if not named and key in given:
                named = given.pop(key)[0][:1]
        if launch.program == "litgpt" and names and not named:
            given["checkpoint_dir"] = ([names[0]], names[0])
        flags = _flat(dict(self._flag(name, values, word) for name, (values, word) in given.items()))
        flags.pop("local_rank", None)
        for name in self._of_launcher():
            flags.pop(name, None)
        task = f"{launch.task}: not the next-token loss of one sequence a sample"
        task = "Megatron's engine, with parallelism of its own" if launch.task == "megatron" else task
        of_task = [Refusal(task, Place(self.file, launch.line, launch.task))] if launch.task else []
        pixels = [name for name in launch.environment if name.endswith("MAX_PIXELS") and launch.program == "ms-swift"]
        of_images = [Refusal("images beside the text", Place(self.file, launch.line, name)) for name in pixels]
        refusals = (*of_task, *of_images, *self._divided())
        if named:
            source = self._read(named[0])
            program = launch.program if source.program or not source.data else ""
            return source._replace(flags=flags, refusals=refusals, program=program)
        return self._made(flags, launch.program)._replace(refusals=refusals, script=launch.script)

    def launcher(self) -> Source | None:
        """Returns what a file of accelerate would say of the processes; None if nothing is known of them."""
        options = pairs(self.launch.options) if self.launch.launcher else self._own_options()
        options.pop("", None)
        flags = dict(self._flag(name, values, word) for name, (values, word) in options.items())
        name = flags.pop("config_file", None) or flags.pop("accelerate_config", None)
        made = self._processes(flags)
        if name is not None and str(name.value) not in _TEMPLATES:
            source = self._read(Word(str(name.value), name.place.line))
            return source._replace(flags={**self._nested(made)})
        if name is not None:
            template = {key: Entry(value, name.place) for key, value in _TEMPLATES[str(name.value)].items()}
            made = {**template, **made}
        if not made:
            return None
        self._say_type(made)
        return self._made(self._nested(made), "accelerate")

    def _own_options(self) -> dict[str, tuple[list[Word], Word]]:
        """Returns what programs that start processes themselves take for their launcher."""
        given = pairs(self.launch.arguments)
        return {name: given[name] for name in self._of_launcher() if name in given}

    @property
    def _divides(self) -> bool:
        """Returns whether the program divides a model over the GPUs of a process: ms-swift, swift/utils/env.py."""
        return self.launch.program == "ms-swift" and not self.launch.launcher

    def _divided(self) -> list[Refusal]:
        """Returns the refusal of a process that has several GPUs, where the program divides its model among them."""
        visible = self.launch.environment.get("CUDA_VISIBLE_DEVICES")
        if not self._divides or visible is None:
            return []
        place = Place(self.file, self.launch.line, "CUDA_VISIBLE_DEVICES")
        processes = _number(Entry(self.launch.environment.get("NPROC_PER_NODE", 1), place)) or 1
        gpus = _listed(Entry(visible, place)) // processes
        return [Refusal(f"a model whose layers are divided over {gpus} GPUs of a process", place)] if gpus > 1 else []

    def _of_launcher(self) -> tuple[str, ...]:
        names = ("num_processes", "num_machines", "accelerate_config", "launcher", "nproc_per_node", "nnodes")
        return names if not self.launch.launcher and self.launch.program in ("trl", "axolotl") else ()

    def _processes(self, flags: dict[str, Entry]) -> dict[str, Entry]:
        """Returns options in accelerate's names; torchrun and DeepSpeed count the processes of one node."""
        launch, made = self.launch, dict(flags)
        if launch.launcher == "accelerate":
            return made
        environment = {
            name.lower(): self._entry(name, [Word(value, launch.line)])
            for name, value in launch.environment.items()
            if name in ("NPROC_PER_NODE", "NNODES", "CUDA_VISIBLE_DEVICES")
        }
        own = {name: made.pop(name) for name in (*_COUNTS, *_COUNTED) if name in made}
        kept = {name: made[name] for name in ("num_processes", "num_machines") if name in made}
        said = {**environment, **own}
        count = next((said[name] for name in _COUNTS if name in said and _number(said[name]) is not None), None)
        nodes = next((said[name] for name in _COUNTED if name in said and _number(said[name]) is not None), None)
        include = said.get("include") or (None if launch.launcher == "python" else said.get("cuda_visible_devices"))
        if launch.launcher == "python":
            kept = {"num_processes": Entry(1, Place(self.file, launch.line, "python"))}
        elif count is not None:
            ranks = (_number(count) or 1) * ((_number(nodes) or 1) if nodes is not None else 1)
            kept |= {"num_processes": Entry(ranks, count.place)}
        elif include is not None and not kept and (listed := _listed(include)):
            kept = {"num_processes": Entry(1 if self._divides else listed, include.place)}
        if nodes is not None and "num_processes" in kept:
            kept |= {"num_machines": Entry(_number(nodes), nodes.place)}
        return kept | {name: made[name] for name in ("accelerate_config",) if name in made}

    def _say_type(self, made: dict[str, Entry]) -> None:
        """Says who divides the model, by the switches of accelerate's command."""
        anywhere = next(iter(made.values())).place
        kinds = (("use_deepspeed", "DEEPSPEED"), ("use_fsdp", "FSDP"), ("multi_gpu", "MULTI_GPU"))
        found = next(((kind, made[name].place) for name, kind in kinds if name in made), None)
        for name, _ in kinds:
            made.pop(name, None)
        one = "num_processes" in made and _number(made["num_processes"]) == 1
        kind, place = found or ("NO" if one else "MULTI_GPU", anywhere)
        made.setdefault("distributed_type", Entry(kind, place))

    def _nested(self, made: Mapping[str, Entry]) -> dict[str, Entry]:
        """Returns options under the sections that they have in accelerate's file."""

        def path(name: str) -> str:
            if name in _ZERO:
                return f"deepspeed_config.{name}"
            return f"fsdp_config.{name}" if name.startswith("fsdp_") else name

        return {path(name): entry for name, entry in made.items()}

    def _flag(self, name: str, values: list[Word], word: Word) -> tuple[str, Entry]:
        if not values and name.startswith("no_") and "=" not in word.text:
            return name.removeprefix("no_"), Entry(False, Place(self.file, word.line, name))
        return name, self._entry(name, values or [Word("true", word.line)])

    def _entry(self, name: str, values: list[Word]) -> Entry:
        read = [_value(word.text) for word in values]
        return Entry(read[0] if len(read) == 1 else read, Place(self.file, values[0].line, name))

    def _made(self, flags: Mapping[str, Entry], program: str) -> Source:
        """Returns a source of flags alone; those that are mappings count as nested keys."""
        document = Document(self.file, data={name: entry.value for name, entry in flags.items()})
        for name, entry in flags.items():
            document.place_at((name,), (entry.place.line, 1))
        return Source(self.file, document, "", Language.SHELL, program=program)

    def _read(self, word: Word) -> Source:
        path = None if "${" in word.text else found_near(word.text, self.file)
        if path is None:
            raise PlannerError(f"{self.file}:{word.line}: {word.text} is not here", "run it where that path begins")
        return read_source(str(path))


def _flat(flags: Mapping[str, Entry]) -> dict[str, Entry]:
    """Returns flags whose values are no mappings: keys below one are written with dots."""
    found: dict[str, Entry] = {}
    for name, entry in flags.items():
        inner = entry.value if isinstance(entry.value, dict) else None
        found |= (
            {f"{name}.{key}": Entry(value, entry.place) for key, value in inner.items()} if inner else {name: entry}
        )
    return found


def _listed(entry: Entry) -> int:
    """Returns how many GPUs a text lists; 0 if only the environment says it."""
    text = str(entry.value)
    return 0 if "${" in text else len([each for each in text.rpartition(":")[2].split(",") if each.strip()])


_COUNTS = ("nproc_per_node", "num_gpus")
_COUNTED = ("nnodes", "num_nodes", "include", "cuda_visible_devices")


def _number(entry: Entry) -> int | None:
    text = str(entry.value).rpartition(":")[2]
    return int(text) if text.isdecimal() else None


def _value(text: str) -> Any:
    """Returns the value of a flag: a mapping or list of JSON, else as YAML reads it; text stays text."""
    if text.startswith(("{", "[")):
        try:
            return json.loads(text)
        except ValueError:
            pass
    try:
        read = yaml.load(text, Loader=SafeLoader) if len(text) < 200 and "\n" not in text else text
    except (yaml.YAMLError, ValueError, LookupError, AttributeError, TypeError, OverflowError):
        return text
    return read if isinstance(read, bool | int | float) else text


def read_sources(file: str) -> list[Source]:
    """Returns the files of a run that a file is, or that a launch script names; `-` is standard input.

    `train.sh:12` is the run that a script launches on line 12.

    Raises:
        PlannerError: It cannot be read, or launches no training, or several.
    """
    script, colon, number = file.rpartition(":")
    if colon and number.isdecimal() and not Path(file).exists():
        content = read_bytes(script, ConfigFileError)
        return sources_of_script(script, content.decode(), int(number[:9]))
    content = read_bytes(file, ConfigFileError)
    if is_script(file, content):
        return sources_of_script("standard input" if file == STANDARD_INPUT else file, content.decode())
    return [source_named(file, content)]


def is_script(file: str, content: bytes) -> bool:
    """Returns whether a file is a shell script, by its name or by its first line, which may be a command."""
    if Path(file).suffix.lower() in (".sh", ".bash", ".slurm", ".sbatch") or content.startswith(b"#!"):
        return True
    return file == STANDARD_INPUT and _COMMAND.match(content.decode()) is not None
