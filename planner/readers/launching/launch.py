"""Finds what a command launches: the program, its arguments, and the processes in which it runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import PurePath
from typing import NamedTuple

from planner.printable import printable
from planner.readers.documents.table import words as names
from planner.readers.launching.commands import Command
from planner.readers.launching.expansion import Word

_SWITCHES = names(
    """
    --multi_gpu --use_deepspeed --use_fsdp --cpu --quiet -q --debug --tpu --mps --no_python --use_megatron_lm
    --standalone --use_env --no_local_rank --force_multi --save_pid --enable_each_rank_log --no_ssh --no_ssh_check
    --dynamo_use_fullgraph --dynamo_use_dynamic --enable_cpu_affinity -u -B -O -s -E
    """
)
"""Options of launchers and of python that take no value."""
_TUNERS: Mapping[str, str] = {"swift": "ms-swift", "trl": "trl", "axolotl": "axolotl", "litgpt": "litgpt"}
_LAUNCHERS = ("accelerate", "torchrun", "deepspeed", "composer")
_CALLS = (*_LAUNCHERS, *_TUNERS, "llamafactory-cli", "megatron", "tune", "python", "python3")
_TRAINS = {
    "ms-swift": ("sft", "pt", "rlhf"),
    "trl": ("sft", "dpo", "grpo", "kto", "orpo", "cpo", "reward", "rloo", "ppo", "online_dpo", "gkd"),
    "axolotl": ("train",),
    "litgpt": ("finetune", "finetune_full", "finetune_lora", "finetune_adapter", "finetune_adapter_v2", "pretrain"),
}
_MODULES = {
    "axolotl.cli.train": "axolotl",
    "swift.cli.sft": "ms-swift",
    "swift.cli.pt": "ms-swift",
    "swift.cli.rlhf": "ms-swift",
    "llamafactory.launcher": "llama-factory",
    "open_instruct.finetune": "open-instruct",
}
_SCRIPTS = {"llamafactory/launcher.py": "llama-factory", "open_instruct/finetune.py": "open-instruct"}
"""Ends of the paths of scripts that are of one program, whose names are those of others' as well."""
_SHOWN = 90
"""Characters of a command that are shown."""
_TASKS = ("dpo", "grpo", "kto", "orpo", "cpo", "reward", "rloo", "ppo", "gkd", "rm")
"""Names in those of scripts and commands whose loss is another than that of the next token."""


class Launch(NamedTuple):
    """Holds what a command launches.

    Attributes:
        line: Line of the command.
        launcher: Name of what starts the processes; empty for a program that does so itself, or one process.
        options: Options of the launcher.
        program: Name of the program, as readers have it; empty where the script's arguments have to say it.
        task: What it trains, where its name says that it is no next-token loss; empty otherwise.
        arguments: Arguments of the program.
        environment: The environment, as far as the script says it.
        script: Name of the script, of no known program.
        text: The command, shortened, as people tell it from others.
    """

    line: int
    launcher: str
    options: list[Word]
    program: str
    task: str
    arguments: list[Word]
    environment: Mapping[str, str]
    script: str = ""
    text: str = ""


def launch_of(command: Command) -> Launch | None:
    """Returns what a command launches; None if that is no training that is known by its name."""
    found = _launch_of(command)
    text = " ".join(" ".join(word.text for word in command.words).split())
    return found and found._replace(text=printable(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."))


def _launch_of(command: Command) -> Launch | None:
    words = _from_call(command.words)
    if not words:
        return None
    name, line = PurePath(words[0].text).name, words[0].line
    launcher = ""
    options: list[Word] = []
    if name in ("python", "python3") and (module := _launching_module(words)):
        name, words = module
    if name in _LAUNCHERS:
        launcher, words = name, words[2 if name == "accelerate" else 1 :]
        options, words = _options(words)
    elif name in ("python", "python3"):
        launcher = "python"
        options, words = _options(words[1:])
    else:
        return _of_program(name, words, command.environment)
    if not words:
        return None
    script = words[0].text
    program = _MODULES.get(script, "") or next((of for path, of in _SCRIPTS.items() if script.endswith(path)), "")
    task = _task(PurePath(script).stem)
    name = "" if program else PurePath(script).stem
    return Launch(line, launcher, options, program, task, words[1:], command.environment, name)


def _from_call(words: list[Word]) -> list[Word]:
    """Returns the words from the first known name on: sudo, nohup, srun, uv run and others stand before it."""
    for at, word in enumerate(words):
        name = PurePath(word.text).name
        launches = name != "accelerate" or (at + 1 < len(words) and words[at + 1].text == "launch")
        if name in _CALLS and launches:
            dashes = [i for i, later in enumerate(words) if i > at and later.text == "--"]
            inner = _from_call(words[dashes[0] + 1 :]) if dashes and name.startswith("python") else []
            return inner or words[at:]
    return []


def _launching_module(words: list[Word]) -> tuple[str, list[Word]] | None:
    """Returns the launcher that `python -m` calls, and its words."""
    for module, name in (
        ("torch.distributed.run", "torchrun"),
        ("torch.distributed.launch", "torchrun"),
        ("accelerate.commands.launch", "accelerate"),
    ):
        at = next((i for i, word in enumerate(words[:4]) if word.text == module), None)
        if at is not None and words[at - 1].text == "-m":
            # `accelerate launch` is two words
            return name, [*words[at : at + (name == "accelerate")], *words[at:]]
    return None


def _options(words: list[Word]) -> tuple[list[Word], list[Word]]:
    """Returns the options before the script or the module, and the words from there on."""
    options: list[Word] = []
    at = 0
    while at < len(words):
        text = words[at].text
        if text in ("-m", "--module"):
            at += 1
            break
        if not text.startswith("-"):
            break
        options.append(words[at])
        if text not in _SWITCHES and "=" not in text and at + 1 < len(words):
            at += 1
            options.append(words[at])
        at += 1
    return options, words[at:]


def _of_program(name: str, words: list[Word], environment: Mapping[str, str]) -> Launch | None:
    line, arguments = words[0].line, words[1:]
    command = arguments[0].text if arguments else ""
    if name == "llamafactory-cli":
        return Launch(line, "", [], "llama-factory", "", arguments[1:], environment) if command == "train" else None
    if name == "megatron":
        return Launch(line, "", [], "ms-swift", "megatron", arguments[1:], environment)
    if name == "tune":
        options, rest = _options(arguments[1:]) if command == "run" else ([], [])
        task = _task(rest[0].text) if rest else ""
        return Launch(line, "torchrun", options, "torchtune", task, rest[1:], environment) if rest else None
    program = _TUNERS[name]
    if command not in _TRAINS[program]:
        return None
    task = _task(command) if program == "trl" else ""
    return Launch(line, "", [], program, task, arguments[1:], environment)


def _task(name: str) -> str:
    parts = name.lower().replace("-", "_").replace(".", "_").split("_")
    return next((part for part in parts if part in _TASKS), "")


def pairs(words: Iterable[Word]) -> dict[str, tuple[list[Word], Word]]:
    """Returns the values of each option, and the option's own word; those of no option stand under an empty name.

    `key=value` without dashes is an option as well.
    """
    found: dict[str, tuple[list[Word], Word]] = {}
    name = ""
    for word in words:
        text = word.text
        is_option = text.startswith("-") and not _is_number(text)
        is_pair = "=" in text and text.partition("=")[0].replace(".", "").replace("_", "").isalnum()
        if is_option or (is_pair and (not name or found[name][0])):
            key, equals, value = text.lstrip("-").partition("=")
            name = key.replace("-", "_")
            found[name] = ([Word(value, word.line)] if equals else [], word)
            name = "" if equals else name
        else:
            found.setdefault(name, ([], word))[0].append(word)
    return found


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
