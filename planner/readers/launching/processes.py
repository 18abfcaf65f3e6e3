"""Says the processes of a launch, as a file of accelerate would."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from planner.readers.documents.reading import Place, Refusal
from planner.readers.documents.source import Entry, Source
from planner.readers.launching.expansion import Word
from planner.readers.launching.flags import Flags
from planner.readers.launching.launch import Launch, pairs
from planner.readers.launching.named import read_named

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
_COUNTS = ("nproc_per_node", "num_gpus")
_COUNTED = ("nnodes", "num_nodes", "include", "cuda_visible_devices")


class Processes:
    """Holds the processes that a command starts, or that its program starts itself."""

    def __init__(self, file: str, launch: Launch) -> None:
        self.file, self.launch, self._flags = file, launch, Flags(file)

    def source(self) -> Source | None:
        """Returns what a file of accelerate would say of the processes; None if nothing is known of them."""
        options = pairs(self.launch.options) if self.launch.launcher else self._own_options()
        options.pop("", None)
        flags = dict(self._flags.flag(name, values, word) for name, (values, word) in options.items())
        name = flags.pop("config_file", None) or flags.pop("accelerate_config", None)
        made = self._processes(flags)
        if name is not None and str(name.value) not in _TEMPLATES:
            source = read_named(self.file, Word(str(name.value), name.place.line))
            return source._replace(flags={**self._nested(made)})
        if name is not None:
            template = {key: Entry(value, name.place) for key, value in _TEMPLATES[str(name.value)].items()}
            made = {**template, **made}
        if not made:
            return None
        self._say_type(made)
        return self._flags.source(self._nested(made), "accelerate")

    def _own_options(self) -> dict[str, tuple[list[Word], Word]]:
        """Returns what programs that start processes themselves take for their launcher."""
        given = pairs(self.launch.arguments)
        return {name: given[name] for name in self.of_launcher() if name in given}

    @property
    def _divides(self) -> bool:
        """Returns whether the program divides a model over the GPUs of a process: ms-swift, swift/utils/env.py."""
        return self.launch.program == "ms-swift" and not self.launch.launcher

    def divided(self) -> list[Refusal]:
        """Returns the refusal of a process that has several GPUs, where the program divides its model among them."""
        visible = self.launch.environment.get("CUDA_VISIBLE_DEVICES")
        if not self._divides or visible is None:
            return []
        place = Place(self.file, self.launch.line, "CUDA_VISIBLE_DEVICES")
        processes = _number(Entry(self.launch.environment.get("NPROC_PER_NODE", 1), place)) or 1
        gpus = _listed(Entry(visible, place)) // processes
        return [Refusal(f"a model whose layers are divided over {gpus} GPUs of a process", place)] if gpus > 1 else []

    def of_launcher(self) -> tuple[str, ...]:
        """Returns the arguments of a program that say its processes."""
        names = ("num_processes", "num_machines", "accelerate_config", "launcher", "nproc_per_node", "nnodes")
        return names if not self.launch.launcher and self.launch.program in ("trl", "axolotl") else ()

    def _processes(self, flags: dict[str, Entry]) -> dict[str, Entry]:
        """Returns options in accelerate's names; torchrun and DeepSpeed count the processes of one node."""
        launch, made = self.launch, dict(flags)
        if launch.launcher == "accelerate":
            return made
        environment = {
            name.lower(): self._flags.entry(name, [Word(value, launch.line)])
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


def _listed(entry: Entry) -> int:
    """Returns how many GPUs a text lists; 0 if only the environment says it."""
    text = str(entry.value)
    return 0 if "${" in text else len([each for each in text.rpartition(":")[2].split(",") if each.strip()])


def _number(entry: Entry) -> int | None:
    text = str(entry.value).rpartition(":")[2]
    return int(text) if text.isdecimal() else None
