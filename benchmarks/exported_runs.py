"""Trains exported scripts for real on the CPU, and compares their peaks with replays of the same plans.

    python benchmarks/exported_runs.py                # print the table, about ten minutes
    python benchmarks/exported_runs.py fsdp2 lora     # of some cases
    python benchmarks/exported_runs.py trl            # where TRL 1.16 is installed
    python benchmarks/exported_runs.py deepspeed      # where DeepSpeed 0.19.8 is; compiles for minutes at first

Each script runs as it was written, with random weights of a small model, in one process or two over gloo; torch's
profiler records what it allocates, as in real_runs.py. Besides, the loss has to fall, and the effective batch and the
number of trained parameters have to be those of the plan. accelerate divides no model on the CPU: for FSDP it is told
that the two processes are of a GPU kind.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import torch
from real_runs import TINY

from planner import estimate, export
from planner.exporting.export import write
from planner.records.result import EstimateResult
from planner.replay import Workload, replay
from planner.replay.backend import CPU
from planner.replay.setup.build import build, equip

STEPS = 4
RANK = Path(__file__).with_name("exports") / "rank.py"
"""Program of one rank."""


class Case(NamedTuple):
    """Describes a model, a target and the choices of a plan."""

    target: str
    model: str
    options: Mapping[str, Any] = {}

    def __str__(self) -> str:
        return " ".join([self.target, self.model, *map(str, self.options.values())])

    @property
    def ranks(self) -> int:
        return int(self.options.get("gpus", 1))


LORA = {"finetuning": "lora", "lora_rank": 8}
FSDP2 = {"gpus": 2, "sharding": "full_shard"}
FSDP1 = {**FSDP2, "sharding_backend": "fsdp1"}
ZERO = {"gpus": 2, "sharding_backend": "deepspeed", "precision": "bf16-mixed"}
CASES = (
    Case("transformers", "llama", {"precision": "fp32"}),
    Case("transformers", "llama", {"precision": "bf16-mixed", "checkpointing": "full"}),
    Case("transformers", "llama", {"precision": "bf16-true", "optimizer": "adafactor"}),
    Case("transformers", "qwen3", {**LORA, "precision": "bf16-mixed"}),
    Case("transformers", "gpt_neox", {**LORA, "precision": "bf16-true", "adapter_dtype": "weights"}),
    Case("transformers", "llama", {"precision": "fp32", "finetuning": "freeze", "trained_blocks": 1}),
    Case("transformers", "llama", {"precision": "bf16-mixed", "optimizer": "sgd-momentum", "batching": "padded"}),
    Case("transformers", "llama", {"precision": "bf16-mixed", "optimizer": "adamw-foreach", "batching": "packed"}),
    Case("transformers", "llama", {**FSDP2, "precision": "fp32"}),
    Case("transformers", "llama", {**FSDP2, "precision": "bf16-mixed", "checkpointing": "full"}),
    Case("transformers", "llama", {**FSDP2, **LORA, "precision": "bf16-mixed"}),
    Case("transformers", "llama", {"gpus": 2, "sharding": "no_shard", "precision": "fp32"}),
    Case("transformers", "bert", {"precision": "bf16-mixed", "task": "sequence-classification"}),
    Case("transformers", "bert", {"precision": "fp32", "task": "masked-lm", "checkpointing": "full"}),
    Case("transformers", "bert", {"precision": "bf16-mixed", "task": "contrastive"}),
    Case("transformers", "bert", {**LORA, "precision": "bf16-mixed", "task": "contrastive"}),
    Case("pytorch", "bert", {"precision": "fp32", "task": "sequence-classification"}),
    Case("pytorch", "llama", {"precision": "fp32", "optimizer": "muon"}),
    Case("pytorch", "llama", {"precision": "bf16-mixed", "checkpointing": "selective-matmuls"}),
    Case("pytorch", "llama", {"precision": "bf16-mixed", "outputs": "kept"}),
    Case("pytorch", "llama", {"precision": "bf16-true", "update": "in-backward", "gradient_accumulation_steps": 1}),
    Case("pytorch", "qwen3", {**LORA, "precision": "bf16-mixed", "batching": "packed"}),
    Case("pytorch", "llama", {**FSDP2, "precision": "fp32"}),
    Case("pytorch", "llama", {**FSDP2, "precision": "bf16-mixed", "checkpointing": "full"}),
    Case("pytorch", "llama", {**FSDP2, **LORA, "precision": "bf16-mixed"}),
    Case("pytorch", "llama", {"gpus": 2, "sharding": "no_shard", "precision": "fp32", "gradient_buckets": "views"}),
    Case("pytorch", "llama", {"gpus": 2, "sharding": "zero1", "precision": "bf16-true"}),
    Case("transformers", "llama", {**FSDP1, "precision": "fp32"}),
    Case("transformers", "llama", {**FSDP1, "precision": "bf16-mixed", "checkpointing": "full"}),
    *(Case("transformers", "llama", {**ZERO, "sharding": stage}) for stage in ("zero1", "shard_grad_op", "full_shard")),
    Case("transformers", "qwen2", {**ZERO, **LORA, "sharding": "shard_grad_op"}),
    *(Case("deepspeed", "llama", {**ZERO, "sharding": stage}) for stage in ("zero1", "shard_grad_op", "full_shard")),
    Case("deepspeed", "qwen2", {**ZERO, **LORA, "sharding": "shard_grad_op"}),
    Case("deepspeed", "llama", {**ZERO, "sharding": "full_shard", "checkpointing": "full"}),
    Case("trl", "llama", {"precision": "fp32"}),
    Case("trl", "llama", {**LORA, "precision": "bf16-mixed", "checkpointing": "full"}),
    Case("trl", "llama", {**FSDP2, "precision": "bf16-mixed"}),
)


class Outcome(NamedTuple):
    """Holds what a run measured, what its plan says, and the bytes of both peaks."""

    measured: dict[str, Any]
    plan: EstimateResult
    trained: int
    real: int
    replayed: int

    @property
    def difference(self) -> float:
        """Returns the relative difference, (replay - real) / real."""
        return self.replayed / self.real - 1

    @property
    def problems(self) -> list[str]:
        """Returns in words what is not as planned."""
        losses = self.measured["losses"]
        return [
            *([] if losses[-1] < losses[0] else [f"the loss goes from {losses[0]} to {losses[-1]}"]),
            *([] if self.measured["global_batch_size"] == self.plan.global_batch_size else ["another effective batch"]),
            *([] if self.measured["trained_parameters"] == self.trained else [f"{self.trained} should train"]),
        ]


def outcome(case: Case) -> Outcome:
    """Runs a case."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "model.json").write_text(json.dumps(TINY[case.model]))
        sizes = {"sequence_length": 128, "micro_batch_size": 2, "gradient_accumulation_steps": 2}
        source = str(folder / "model.json")
        plan = estimate(source, **{"gpu": "A100-40GB", "framework": _framework(case), **sizes, **case.options})
        write(
            _trl(case, plan, folder) if case.target == "trl" else export(plan, case.target, random_weights=True), folder
        )
        command = [sys.executable, str(RANK), name, str(STEPS)]
        if case.ranks > 1:
            launch = ["-m", "torch.distributed.run", "--nproc_per_node", str(case.ranks), "--master_port", "29533"]
            command[1:1] = launch
        # Weights that threads load would not be seen: only the thread that trains is recorded.
        quiet = {"OMP_NUM_THREADS": "1", "KINETO_LOG_LEVEL": "6", "HF_DEACTIVATE_ASYNC_LOAD": "1"}
        environment = {**os.environ, **quiet, **_launcher(folder)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{case}:\n{done.stderr[-6000:]}")
        found = [json.loads(file.read_text()) for file in folder.glob("peak-*.json")]
        measured = json.loads((folder / "measured.jsonl").read_text().splitlines()[0])
    strategy = plan.strategy.strategy()
    request, steps = plan.request, plan.gradient_accumulation_steps
    workload = Workload(128, 2, steps, case.ranks, outputs=request.outputs, batching=request.batching)
    fields = _fields(case)
    replayed = replay(fields, strategy, workload, backend=CPU).peaks()
    model = equip(build(fields, strategy, CPU), strategy)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return Outcome(measured, plan, trained, max(found), max(replayed.values()))


def _fields(case: Case) -> dict[str, Any]:
    """Returns the fields of the model's config.json, with the class of the task."""
    classes = {"sequence-classification": "BertForSequenceClassification", "masked-lm": "BertForMaskedLM"}
    if task := case.options.get("task"):
        return {**TINY[case.model], "architectures": [classes.get(task, "BertModel")]}
    return TINY[case.model]


def _framework(case: Case) -> str:
    return "trl" if case.target == "trl" else "transformers"


def _trl(case: Case, plan: EstimateResult, folder: Path) -> dict[str, str]:
    """Returns TRL's files for a model of this machine with random weights, and for data beside it.

    The model has the name of one that the Hub has, since a recipe names one; its folder takes its place.
    """
    import yaml
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

    from planner.exporting.launch import Launch
    from planner.exporting.targets import trl
    from planner.models.trusted import named_in

    (folder / "model").mkdir()
    (folder / "model" / "config.json").write_text(json.dumps(TINY[case.model]))
    config = AutoConfig.from_pretrained(folder / "model")
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder / "model")
    words = {f"w{number}": number for number in range(64)} | {"<pad>": 64, "<eos>": 65}
    plain = Tokenizer(models.WordLevel(words, unk_token="<pad>"))
    plain.pre_tokenizer = pre_tokenizers.Whitespace()
    special = {"pad_token": "<pad>", "eos_token": "<eos>"}
    PreTrainedTokenizerFast(tokenizer_object=plain, **special).save_pretrained(folder / "model")
    (folder / "data").mkdir()
    texts = [" ".join(f"w{(7 * row + at) % 64}" for at in range(400)) for row in range(40)]
    lines = "".join(json.dumps({"text": text}) + "\n" for text in texts)
    (folder / "data" / "train.jsonl").write_text(lines)
    described = replace(named_in("", str(folder / "model.json"), None), hf=str(folder / "model"))
    files = trl.files(Launch(plan.request, plan, described, str(folder / "data"), "trl", ""))
    recipe = {**yaml.safe_load(files["sft.yaml"]), "learning_rate": 0.001, "logging_steps": 1, "save_strategy": "no"}
    return {**files, "sft.yaml": yaml.safe_dump({**recipe, "report_to": "none", "use_cpu": True})}


def _launcher(folder: Path) -> dict[str, str]:
    """Returns the environment that `accelerate launch` makes of accelerate.yaml, without its checks for GPUs."""
    import yaml

    said = yaml.safe_load((folder / "accelerate.yaml").read_text()) if (folder / "accelerate.yaml").exists() else {}
    made = {"ACCELERATE_MIXED_PRECISION": str(said.get("mixed_precision", "no"))}
    if engine := said.get("deepspeed_config"):
        made = {"ACCELERATE_USE_DEEPSPEED": "true"}  # its JSON says the precision
        made["ACCELERATE_DEEPSPEED_CONFIG_FILE"] = str(folder / engine["deepspeed_config_file"])
        made["ACCELERATE_DEEPSPEED_ZERO3_INIT"] = str(engine["zero3_init_flag"]).lower()
    for name, value in said.get("fsdp_config", {}).items():
        made |= {"ACCELERATE_USE_FSDP": "true", name.upper(): str(value)}
    return made


if __name__ == "__main__":
    worst = 0.0
    for case in CASES:
        if sys.argv[1:] and not any(word in str(case) for word in sys.argv[1:]):
            continue
        found = outcome(case)
        worst = max(worst, abs(found.difference))
        says = ", ".join(found.problems) or "as planned"
        print(f"{case!s:<74}{found.real:>10}{found.replayed:>10}{found.difference:>+10.3%}  {says}", flush=True)
    print(f"largest difference {worst:.3%}")
