"""Holds what is exported against the real clients: their own parsers have to accept it.

python benchmarks/exports/written.py FOLDER         # files of random plans, where the planner is installed
python benchmarks/exports/accepted.py FOLDER trl    # in an environment of the client, such as axolotl

Clients: trl (TRL's parser), accelerate (its classes of a launcher's file), deepspeed (DeepSpeed's configuration),
axolotl (its schema), llama-factory (its parser), skypilot (its schema, and the GPUs that it knows). The pins of axolotl
and of LLaMA-Factory differ from all others: each needs an environment of its own, `pip install torch==2.13.0
axolotl==0.19.0` in three minutes, `llamafactory==0.9.5`; and so does `skypilot==0.14.1`.

What a client takes without a word (unknown keys, for axolotl, DeepSpeed, accelerate) is compared with its own list of
keys. For each client a line of JSON is printed: its versions, how many files it accepted, and what it refused. Every
client has to refuse a file with nonsense in it as well, so that accepting means something. `accepted.jsonl` holds the
last lines.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml


def of_trl(file: Path) -> None:
    """Has TRL's parser read a recipe."""
    from transformers import training_args
    from trl import ModelConfig, ScriptArguments, SFTConfig, TrlParser

    training_args.is_torch_tf32_available = lambda: True  # of this machine, not of the file
    parser = TrlParser((ScriptArguments, SFTConfig, ModelConfig))
    parser.parse_args_and_config(["--config", str(file), "--use_cpu", "true"])


def of_accelerate(file: Path) -> None:
    """Has accelerate read a launcher's file, and the plugin of its engine its keys."""
    from accelerate.commands.config.config_args import load_config_from_file
    from accelerate.commands.launch import launch_command_parser
    from accelerate.utils import DeepSpeedPlugin, FullyShardedDataParallelPlugin

    config = load_config_from_file(str(file))
    if str(config.distributed_type).endswith("FSDP"):
        known = {action.dest for action in launch_command_parser()._actions}
        if unknown := set(config.fsdp_config) - known:
            raise ValueError(f"accelerate launch has no {sorted(unknown)}")
        _plugin(FullyShardedDataParallelPlugin, config.fsdp_config)
    elif str(config.distributed_type).endswith("DEEPSPEED"):
        named = file.parent / config.deepspeed_config["deepspeed_config_file"]
        DeepSpeedPlugin(hf_ds_config=str(named))
    if config.mixed_precision not in ("no", "fp16", "bf16", "fp8", None):
        raise ValueError(f"mixed_precision {config.mixed_precision}")


def _plugin(plugin: Any, keys: dict[str, Any]) -> None:
    """Makes accelerate's FSDP plugin of the environment that `accelerate launch` sets from a file."""
    named = {
        key if key.startswith("fsdp_") else f"fsdp_{key}": str(value)
        for key, value in keys.items()
        if value is not None
    }
    before = dict(os.environ)
    os.environ.update({name.upper(): value for name, value in named.items()}, ACCELERATE_USE_FSDP="true")
    try:
        plugin()
    finally:
        os.environ.clear()
        os.environ.update(before)


def of_deepspeed(file: Path) -> None:
    """Has DeepSpeed read a configuration; "auto" is what transformers fills in, and sizes are DeepSpeed's then."""
    from deepspeed.runtime.config import DeepSpeedConfig

    content = json.loads(file.read_text())
    known = {"train_batch_size", "train_micro_batch_size_per_gpu", "gradient_accumulation_steps", "gradient_clipping"}
    known |= {"zero_optimization", "zero_allow_untested_optimizer", "zero_force_ds_cpu_optimizer", "bf16", "fp16"}
    if set(content) - known:
        raise ValueError(f"keys that DeepSpeed does not read: {sorted(set(content) - known)}")
    sizes = [content.pop("train_batch_size", "auto"), content.pop("train_micro_batch_size_per_gpu")]
    if "auto" not in sizes and sizes[0] % (sizes[1] * content["gradient_accumulation_steps"]):
        raise ValueError(f"a batch of {sizes[0]} is no multiple of {sizes[1]} x the accumulation")
    # In one process the world is one, whose batch DeepSpeed works out itself.
    filled = {key: value for key, value in content.items() if value != "auto"} | {"train_micro_batch_size_per_gpu": 1}
    zero = {key: value for key, value in content["zero_optimization"].items() if value != "auto"}
    DeepSpeedConfig({**filled, "zero_optimization": zero})


def of_axolotl(file: Path) -> None:
    """Has axolotl's schema read a recipe, whose keys have to be fields of it."""
    from axolotl.utils.schemas.config import AxolotlInputConfig

    content = yaml.safe_load(file.read_text())
    of_plugins = {key for key in content if key.startswith("liger_")} if "plugins" in content else set()
    unknown = set(content) - set(AxolotlInputConfig.model_fields) - of_plugins
    if unknown:
        raise ValueError(f"the schema has no {sorted(unknown)}")
    if of_plugins:
        from axolotl.integrations.liger.args import LigerArgs

        if of_plugins - set(LigerArgs.model_fields):
            raise ValueError(f"the plugin has no {sorted(of_plugins - set(LigerArgs.model_fields))}")
    AxolotlInputConfig(**content)


def of_llama_factory(file: Path) -> None:
    """Has LLaMA-Factory's parser read a recipe."""
    from llamafactory.hparams import get_train_args, parser
    from transformers import training_args

    parser.is_torch_bf16_gpu_available = lambda: True  # of this machine, not of the file
    training_args.is_torch_tf32_available = lambda: True
    content = yaml.safe_load(file.read_text())
    if "deepspeed" in content:  # whether DeepSpeed is installed is not what is asked
        del content["deepspeed"]
    with tempfile.TemporaryDirectory() as folder:
        get_train_args({**content, "use_cpu": True, "output_dir": folder})


def of_skypilot(file: Path) -> None:
    """Has SkyPilot's schema read a task, whose GPU has to be among the names that it knows without its catalogs."""
    import sky
    from sky.utils.gpu_names import CANONICAL_GPU_NAMES

    os.chdir(file.parent)  # the task's workdir
    for resources in sky.Task.from_yaml(file.name).resources:
        for name in resources.accelerators or ():
            if name not in CANONICAL_GPU_NAMES:
                raise ValueError(f"SkyPilot knows no {name}")


CLIENTS: dict[str, tuple[Callable[[Path], None], str, tuple[str, ...], dict[str, Any]]] = {
    "trl": (of_trl, "trl/*/sft.yaml", ("trl", "transformers", "accelerate"), {"optim": "nope"}),
    "accelerate": (of_accelerate, "*/*/accelerate.yaml", ("accelerate",), {"distributed_type": "NOPE"}),
    "deepspeed": (of_deepspeed, "*/*/deepspeed.json", ("deepspeed",), {"nonsense": 1}),
    "axolotl": (of_axolotl, "axolotl/*/axolotl.yaml", ("axolotl", "transformers", "peft"), {"nonsense": 1}),
    "llama-factory": (of_llama_factory, "llama-factory/*/sft.yaml", ("llamafactory", "transformers"), {"nope": 1}),
    "skypilot": (of_skypilot, "skypilot/*/sky.yaml", ("skypilot",), {"nonsense": 1}),
}
"""For each client: how it reads a file, which files are its, its packages, and nonsense that it has to refuse."""


def problem(reads: Callable[[Path], None], file: Path) -> str | None:
    """What a client says against a file; None if it takes it."""
    try:
        reads(file)
    except (Exception, SystemExit) as error:
        return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    return None


def broken(file: Path, nonsense: dict[str, Any]) -> Iterator[Path]:
    """A copy of a file with nonsense in it, beside it."""
    content = yaml.safe_load(file.read_text())
    copy = file.with_name(f"broken-{file.name}")
    text = json.dumps({**content, **nonsense}) if file.suffix == ".json" else yaml.safe_dump({**content, **nonsense})
    copy.write_text(text)
    yield copy
    copy.unlink()


def read(folder: Path, client: str) -> int:
    """Has a client read its files, prints a line of JSON, and returns the number of those that it refused."""
    reads, pattern, packages, nonsense = CLIENTS[client]
    files = sorted(folder.glob(pattern))
    found = {str(file.relative_to(folder)): problem(reads, file) for file in files}
    refused = {name: what for name, what in found.items() if what is not None}
    nonsense_refused = all(problem(reads, copy) is not None for file in files[:5] for copy in broken(file, nonsense))
    line = {
        "client": client,
        "versions": {name: version(name) for name in packages},
        "files": len(files),
        "accepted": len(files) - len(refused),
        "refused": refused,
        "nonsense_refused": nonsense_refused,
    }
    print(json.dumps(line))
    return len(refused) + (not nonsense_refused) + (not files)


if __name__ == "__main__":
    sys.exit(min(1, read(Path(sys.argv[1]), sys.argv[2])))
