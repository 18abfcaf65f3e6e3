"""What `fuzz.py` feeds the command line: arguments, and files of every kind, most of them mutated."""

from __future__ import annotations

import copy
import json
import math
import os
import random
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, NamedTuple

import click
import yaml

from hardware.loading import builtin_catalog_path
from planner.cli import main
from planner.models import registry_models
from planner.readers.registry import READERS
from strategies import OPTIONS

CONTEXT = click.Context(main)
COMMANDS = {name: main.get_command(CONTEXT, name) for name in main.list_commands(CONTEXT)}
GPUS = ["T4", "A100-40GB", "H100", "mi300x", "gaudi2", "v100", "RTX-4090", "B200", "P100", "nope", "", "é"]
MODELS = ["gpt2", "llama-7b", "1B", "0.01B", "2T", "1e3B", "t5-base", "bert-base-uncased", "vit-base-patch16-224"]
MODELS += [entry.name for entry in registry_models()]
INTEGERS = [-(2**63), -1, 0, 1, 2, 3, 7, 8, 16, 64, 100, 512, 1024, 1025, 4096, 2**16, 2**16 + 1, 2**24, 10**9, 2**64]
STRANGE = ["", " ", "\t", "\0", "a\0b", "é", "\u202e", "\x1b[31m", "😀", "\udcff", "-", "--", "=", "all",
           "none", "null", "true", "nan", "inf", "-inf", "1e400", "-0", "0x10", "1_000", "٣", "²", "½", "5%",
           "100%", "nan%", "1e-9%", "9" * 5000, "a" * 300, "4..64", "64..4", "1..1000000000", "4..64 step 0",
           "1..16384", "1..9 times 1", "4..", "..", ".", "/", "~", "~nobody/x.json", "/dev/null",
           "/etc/passwd", "/nowhere/x.yaml", "hf:", "hf:../../x", "hf:a/b/c", "hf:\0/x", "%s%n", "{}", "[]",
           "q_proj,v_proj", "all-linear", ",", "q_proj,,", "$(id)", "sqlite://", "sqlite:////nowhere/x.db",
           "sqlite:///", "x://y", "redis://", "'; DROP TABLE trials;--", "sys:exit", "evil:build",
           "__main__:x", "/dev/zero", "/dev/stdin", "file.json:x"]  # fmt: skip
VALUES: list[Any] = [*INTEGERS, *STRANGE, None, True, False, 0.5, 1e308, -1e-308, math.nan, math.inf, 10**400,
                     [], {}, [[]], {"a": 1}, ["x"] * 3, {"": None}]  # fmt: skip
NOT_WORDS = ("fit", "check", "verify")


def number(rng: random.Random) -> str:
    return str(rng.choice(INTEGERS) if rng.random() < 0.4 else rng.randint(1, 64))


def value_for(rng: random.Random, option: click.Parameter, wild: float) -> str:
    name = option.name or ""
    if rng.random() < wild:
        return rng.choice(STRANGE).replace("\0", "")
    if name in OPTIONS and isinstance(OPTIONS[name].kind, type):
        return rng.choice([choice.value for choice in OPTIONS[name].kind])
    if hasattr(option.type, "choices"):
        return rng.choice([choice.value for choice in option.type.choices])
    usual = {
        "gpu": rng.choice(GPUS[:9]),
        "headroom": f"{rng.randint(0, 99)}%",
        "lora_targets": "all-linear",
        "lora_dropout": "0.1",
        "timeout": "0.05",
        "trials": "2",
        "top": "3",
        "gpus": rng.choice("1248"),
        "nodes": rng.choice("1124"),
        "device": "replay",
        "storage": f"sqlite:///{os.environ['PLANNER_CACHE']}/s.db",
    }
    return usual.get(name) or (rng.choice(["4..64", "1..64 times 2"]) if rng.random() < 0.05 else number(rng))


def words(rng: random.Random, name: str, given: list[str], most: int, wild: float) -> list[str]:
    """A command with options of its own, some of another's, and sometimes words that are none."""
    options = [p for p in COMMANDS[name].params if isinstance(p, click.Option) and p.name not in NOT_WORDS]
    args = [name, *given]
    strange = [text for text in STRANGE if "\0" not in text]  # which no process can be given
    for option in rng.choices(options, k=rng.randint(0, most)) if options else ():
        args += [rng.choice(option.opts)] if option.is_flag else [option.opts[0], value_for(rng, option, wild)]
    if rng.random() < wild / 2:
        args.insert(rng.randint(0, len(args)), rng.choice(strange))
    return args


def mutated(rng: random.Random, data: object, times: int) -> object:
    """A copy of plain data with some of its values replaced, dropped, doubled, renamed or swapped."""
    data = copy.deepcopy(data)
    for _ in range(times):
        places = list(_places(data))
        if not places:
            return rng.choice(VALUES)
        holder, key = rng.choice(places)
        how = rng.randrange(7)
        if how == 0:
            del holder[key]
        elif how == 1 and isinstance(holder, dict):
            holder[rng.choice([*STRANGE, f"{key}s"])] = holder.pop(key)
        elif how == 2:
            other, place = rng.choice(places)
            holder[key] = copy.deepcopy(other[place])
        elif how == 3 and isinstance(holder[key], int | float) and not isinstance(holder[key], bool):
            old = holder[key] if abs(holder[key]) < 1e300 else 7
            holder[key] = rng.choice([-old, 0, 1, old + 1, old * 2, old // 2, float(old), str(old)])
        elif how == 4:
            holder[key] = [holder[key]]
        else:
            holder[key] = copy.deepcopy(rng.choice(VALUES))
    return data


def _places(data: object) -> Iterator[tuple[Any, Any]]:
    """(holder, key) of every value."""
    held: Any = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in list(held):
        yield data, key
        yield from _places(value)


DAMAGE = [b"", b"\t", b"\0", b"\xff", b"*a", b"&a ", b"!!python/object:os.system ", b"<<: ", b"\r", b"{", b"]",
          b"\xef\xbb\xbf", b"'", b"- ", b"? ", b"|", b"%", b"1:1:1", b"2020-13-01", b"="]  # fmt: skip


def dumped(rng: random.Random, data: object, as_yaml: bool) -> bytes:
    """The data as JSON or YAML, sometimes with damage to its bytes."""
    text = json.dumps(data, default=str)  # dates
    if as_yaml and rng.random() < 0.9:
        with suppress(UnicodeEncodeError):  # a lone surrogate
            text = yaml.dump(data, Dumper=yaml.CSafeDumper, allow_unicode=True)
    content = bytearray(text.encode())
    if rng.random() < 0.15:
        for _ in range(rng.randint(1, 4)):
            at = rng.randint(0, len(content))
            content[at : at + rng.randint(0, 3)] = rng.choice(DAMAGE)
    return bytes(content)


CATALOG = yaml.safe_load(builtin_catalog_path().read_text())
CONFIGS = [entry.fields for entry in registry_models()]
PLANS: list[dict[str, Any]] = []
SPACE: dict[str, list[Any]] = {
    name: [c.value for c in o.kind] if isinstance(o.kind, type) else [8] for name, o in OPTIONS.items()
}
SPACE |= {"lora_targets": ["all-linear", ["q_proj", "v_proj"]], "lora_dropout": [0.0, 0.1], "lora_rank": ["4..16", 32]}


class Case(NamedTuple):
    """Arguments, and the content of the file FILE among them, which is standard input as well."""

    arguments: list[str]
    content: bytes | None = None
    suffix: str = ".yaml"


def case(rng: random.Random, kind: str) -> Case:
    """A command line of a kind."""
    return CASES[kind](rng)


def _words(rng: random.Random) -> Case:
    name, wild = rng.choice([*COMMANDS, *["estimate"] * 8]), rng.choice([0, 0.02, 0.1, 0.5])
    given = {"gpus": ["show", rng.choice(GPUS)], "models": ["show", rng.choice(MODELS)], "space": ["show"],
             "catalog": ["check", rng.choice(STRANGE).replace("\0", "")],
             "schema": [rng.choice(["fit", "verify", "x"])]}  # fmt: skip
    args = words(rng, name, given.get(name, [rng.choice(MODELS)]), 7, wild)
    asks = name in ("fit", "estimate", "verify", "space") and rng.random() < 0.95
    args += ["--gpu", rng.choice(GPUS)] if asks else []
    return Case([*args, *(["--json"] if rng.random() < 0.5 and name != "catalog" else [])])


def _times(rng: random.Random) -> int:
    """How often a file is mutated."""
    return rng.choice([0, 1, 1, 2, 3, 6])


def _catalog(rng: random.Random) -> Case:
    names = rng.sample(list(CATALOG["gpus"]), 2)
    data = {"schema_version": 1, "gpus": {name: CATALOG["gpus"][name] for name in names}}
    ask = rng.choice([
        ["catalog", "check", "FILE"],
        ["gpus", "--catalog", "FILE", "--json"],
        ["gpus", "show", names[0], "--catalog", "FILE"],
        [rng.choice(["fit", *["estimate"] * 5]), "gpt2", "--gpu", names[0], "--catalog", "FILE", "--json"],
    ])  # fmt: skip
    return Case(ask, dumped(rng, mutated(rng, data, _times(rng)), True))


def _space(rng: random.Random) -> Case:
    data = {name: SPACE[name][:3] for name in rng.sample(list(SPACE), rng.randint(1, 6))}
    ask = rng.choice([
        *[["space", "show", "FILE", "--gpu", "A100-40GB"]] * 8,
        ["fit", "gpt2", "--space", "FILE", "--json", "--gpu", "H100"],
        ["fit", "1B", "--space", "FILE", "--gpu", "T4", "--gpus", "4"],
        ["fit", "gpt2", "--space", "FILE", "--gpu", "T4", "--engine", "optuna", "--trials", "2"],
    ])  # fmt: skip
    return Case(ask, dumped(rng, mutated(rng, data, _times(rng)), True))


def _config(rng: random.Random) -> Case:
    estimate = ["estimate", "FILE", "--gpu", "H100", "--json", "--finetuning", rng.choice(["full", "lora"])]
    ask = rng.choice([
        ["models", "show", "FILE", "--json"],
        ["models", "show", "FILE"],
        *[estimate] * 6,
        ["fit", "FILE", "--gpu", "A100-40GB", "--json"],
    ])  # fmt: skip
    return Case(ask, dumped(rng, mutated(rng, rng.choice(CONFIGS), _times(rng)), False), ".json")


PLAUSIBLE: list[Any] = [1, 2, 8, 2048, True, False, None, "auto", "bf16", "lora", "full", "llama-3.2-1b", "adamw_torch",
                        "FSDP", "DEEPSPEED", 3, 0.1, "q_proj", ["q_proj"], "full_shard auto_wrap", "${batch_size}",
                        "meta-llama/Llama-3.2-1B", "torch.optim.AdamW", "../x.json", "zero2"]  # fmt: skip
RECIPES: list[dict[str, Any]] = [
    {"base_model": "meta-llama/Llama-3.2-1B", "adapter": "lora", "lora_r": 8, "lora_target_linear": True,
     "sequence_len": 512, "micro_batch_size": 4, "bf16": "auto", "plugins": ["axolotl.integrations.liger.LigerPlugin"]},
    {"model_name_or_path": "Qwen/Qwen3-0.6B", "stage": "sft", "finetuning_type": "lora", "cutoff_len": 512,
     "per_device_train_batch_size": 4, "bf16": True},
    {"model_name_or_path": "Qwen/Qwen2.5-0.5B", "max_length": 512, "dtype": "bfloat16", "fsdp": "full_shard",
     "per_device_train_batch_size": 2, "fsdp_config": {"offload_params": False}},
    {"per_device_train_batch_size": 2, "optim": "adamw_torch", "model_name_or_path": "gpt2", "block_size": 128},
]  # fmt: skip


def _run(rng: random.Random) -> Case:
    data = copy.deepcopy(rng.choice(RECIPES))
    if rng.random() < 0.5:
        reader = rng.choice(READERS)
        names = sorted({*reader.table.decides, *reader.table.no_word, *reader.signs})
        for name in rng.sample(names, min(len(names), rng.randint(1, 8))):
            *above, last = name.split(".")
            at = data
            for part in above:
                at[part] = at = inner if isinstance(inner := at.get(part), dict) else {}
            at[last] = rng.choice(PLAUSIBLE)
    where = [[], ["--gpu", rng.choice(["T4", "RTX-3060", "H100"])], ["--gpu", "A100-40GB", "--gpus", "2"]]
    words = [[], ["--each"], ["--json"], ["--fix", "/nowhere/x.yaml", "--gpu", "T4"], ["--", "micro_batch_size=7"]]
    ask = ["check", rng.choice(["-", "FILE"]), *rng.choice(where), *rng.choice(words)]
    is_json = rng.random() < 0.3
    return Case(ask, dumped(rng, mutated(rng, data, _times(rng)), not is_json), ".json" if is_json else ".yaml")


def _plan(rng: random.Random) -> Case:
    data = mutated(rng, rng.choice(PLANS), _times(rng))
    if isinstance(data, dict) and isinstance(data.get("request"), dict) and rng.random() < 0.2:
        data["request"]["model"] = rng.choice(["evil:build", "os:getcwd", "hf:some/model", "./file.json", *STRANGE])
    ask = ["verify", rng.choice(["-", "FILE"]), "--plan", rng.choice("1112")]
    return Case([*ask, *(["--model", "evil"] if rng.random() < 0.1 else [])], dumped(rng, data, False), ".json")


CASES = {"words": _words, "catalog": _catalog, "space": _space, "config": _config, "run": _run, "plan": _plan}
KINDS = tuple(CASES)
