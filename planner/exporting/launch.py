"""Defines what a target is given, and what it returns: files by their names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import yaml

from hardware import GIB
from hardware.errors import PlannerError
from planner.models import Model
from planner.models.reading.inventory import Inventory
from planner.printable import printable
from planner.readers.trainer.shared import ATTENTIONS, OPTIMIZERS
from planner.records.asked.request import Request
from planner.records.plan import Plan, StrategyChoice
from planner.report.fit.to_run import speed
from strategies import (
    ALL_LINEAR,
    Allocator,
    LoraVariant,
    Precision,
    ShardingBackend,
    Task,
    TrainedModules,
    Update,
)

ACCELERATE, DEEPSPEED, SCRIPT, REQUIREMENTS = "accelerate.yaml", "deepspeed.json", "run.sh", "requirements.txt"


class ExportError(PlannerError):
    """Reports a choice of a plan that a target cannot say, or files that cannot be written."""


class Blocks(yaml.SafeDumper):
    """Writes texts of several lines as they are read."""


Blocks.add_representer(
    str,
    lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None),
)


class Launch(NamedTuple):
    """Holds a plan on its way to a target.

    Attributes:
        request: The request that the plan answers.
        plan: The plan.
        described: The model.
        dataset: The user's dataset; None for an example of the target's.
        target: Name of the target.
        command: The command that makes the files.
        random_weights: Whether weights are random, so that nothing is downloaded.
        vendor: Who makes the GPUs.
    """

    request: Request
    plan: Plan
    described: Model
    dataset: str | None
    target: str
    command: str
    random_weights: bool = False
    vendor: str = "nvidia"

    @property
    def model(self) -> str:
        """Returns the model's id on the Hugging Face Hub; raises ExportError if it has none."""
        if self.described.hf is None or self.described.approximate:
            raise ExportError(
                f"{self.request.model} has no id on the Hugging Face Hub",
                "plan a model that `planner models` lists, or --to transformers --random-weights",
            )
        return self.described.hf

    @property
    def strategy(self) -> StrategyChoice:
        """Returns the choices of the plan."""
        return self.plan.strategy

    @property
    def ranks(self) -> int:
        """Returns the number of GPUs."""
        return self.plan.data_parallel_size

    @property
    def backend(self) -> ShardingBackend | None:
        """Returns the library that divides the model; None where nothing does."""
        divides = self.ranks > 1 and self.strategy.sharding != "no_shard"
        return (self.strategy.sharding_backend or ShardingBackend.FSDP2) if divides else None

    @property
    def half(self) -> str | None:
        """Returns the half precision in which the run computes, `bf16` or `fp16`; None if it is fp32."""
        name = self.strategy.precision.value[:4]
        return name if name in ("bf16", "fp16") else None

    def cannot_say(self, what: str, hint: str | None = None) -> ExportError:
        """Returns the error for a choice that the target has no key for."""
        return ExportError(f"{self.target} cannot say {what}", hint)

    def optimizer(self, names: Mapping[str, Mapping[str, Any]] = OPTIMIZERS) -> str:
        """Returns the name of the optimizer in transformers' Trainer; raises ExportError if it has none."""
        strategy = self.strategy
        in_backward = strategy.update is Update.IN_BACKWARD
        for name, meant in names.items():
            layerwise = meant.get("update") is Update.IN_BACKWARD
            if (
                meant["optimizer"] is strategy.optimizer
                and layerwise == in_backward
                and strategy.optimizer_rank is None
            ):
                return name
        raise self.cannot_say(f"optimizer {strategy.optimizer}{' updated in backward' if in_backward else ''}")

    def attention(self) -> str:
        """Returns transformers' name of the attention; raises ExportError if it has none."""
        for name, meant in ATTENTIONS.items():
            if meant is self.strategy.attention:
                return name
        raise self.cannot_say(f"attention {self.strategy.attention}")

    def targets(self) -> list[str] | None:
        """Returns the layers with adapters; None for every linear layer but the head."""
        targets = self.strategy.lora_targets
        return None if targets in (None, ALL_LINEAR) else list(targets)

    def modules_to_save(self) -> list[str] | None:
        """Returns PEFT's names of the modules that train as a whole beside adapters; None if there are none."""
        which, architecture = self.strategy.trained_modules or TrainedModules.NONE, self.described.architecture
        # A head that shares the embedding's weight has a module of its own all the same.
        apart = Inventory(architecture.model_copy(update={"tie_word_embeddings": False}))
        heads = [t.name.removesuffix(".weight").rpartition(".")[2] for t in apart.head.tensors if t.is_head]
        embeddings = [architecture.embedding_name] if which.embeddings else []
        return [*embeddings, *(heads[:1] if which.head else ())] or None

    def comment(self) -> str:
        """Returns the lines with which a file opens: what made it and what is predicted."""
        peak = self.plan.memory.process_bytes / GIB
        lines = (
            self.command,
            f"{self.request.model} on {self.request.where}, effective batch {self.plan.global_batch_size}",
            f"predicted: {peak:.1f} GiB of each GPU at the peak; {speed(self.plan)}",
        )
        # A line break would end the comment, and what follows it would be run.
        return "".join("# {}\n".format(printable(line).replace("\n", " ")) for line in lines)

    def yaml(self, keys: Mapping[str, Any], *remarks: str) -> str:
        """Returns a YAML file of these keys, with remarks on top; keys that are None are left out."""
        said = {key: value for key, value in keys.items() if value is not None}
        more = "".join(f"# {remark}\n" for remark in remarks)
        return f"{self.comment()}{more}\n{yaml.dump(said, Dumper=Blocks, sort_keys=False, width=120)}"

    def script(self, command: str) -> str:
        """Returns a shell script that runs a command with the environment that the plan assumes."""
        expandable = "True" if self.strategy.allocator is Allocator.EXPANDABLE else "False"
        return (
            f"#!/bin/sh\n{self.comment()}\nset -eu\n"
            f"export PYTORCH_CUDA_ALLOC_CONF=expandable_segments:{expandable}\n{self._node()}{command}\n"
        )

    def torchrun(self) -> str:
        """Returns the command that starts a script on every GPU."""
        nodes, gpus, where = self.request.nodes, self.request.gpus, "--standalone"
        if nodes > 1:
            node = '--node_rank="$NODE_RANK" --master_addr="$MASTER_ADDR" --master_port="$MASTER_PORT"'
            where = f"--nnodes={nodes} {node}"
        return f"torchrun {where} --nproc_per_node={gpus}"

    def _node(self) -> str:
        """Returns the lines that find out which of several nodes this is; none for one node."""
        if self.request.nodes == 1:
            return ""
        return (
            'NODE_RANK="${NODE_RANK:-${SLURM_NODEID:?NODE_RANK is the number of this node, from 0}}"\n'
            ': "${MASTER_ADDR:?MASTER_ADDR is the address of node 0}" "${MASTER_PORT:=29500}"\n'
        )


VARIANTS = {LoraVariant.DORA: "dora", LoraVariant.RSLORA: "rslora"}
IN_FULL = (Precision.BF16_TRUE, Precision.FP16_TRUE)
"""Precisions whose trained weights are in half precision."""


class Target(NamedTuple):
    """Describes a target.

    Attributes:
        name: Its name on the command line.
        summary: What it writes.
        files: Returns the files of a launch by their names.
        read: Names of those files that say what the run does, which `planner check` reads.
        makes_weights: Whether it can make random weights.
        takes_exact_rows: Whether data whose rows all have the sequence length make it train on full rows, though its
            files say padding.
        tasks: What its program trains models to do.
        many_nodes: Whether its script runs on several nodes, by NODE_RANK, MASTER_ADDR and MASTER_PORT.
    """

    name: str
    summary: str
    files: Callable[[Launch], dict[str, str]]
    read: tuple[str, ...]
    makes_weights: bool = False
    tasks: tuple[Task, ...] = (Task.CAUSAL_LM,)
    many_nodes: bool = False
    takes_exact_rows: bool = False
