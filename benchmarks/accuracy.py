"""Compares the memory model with replays of real training steps, over a matrix of architectures and strategies.

    python benchmarks/accuracy.py                 # print the table from the recorded replays
    python benchmarks/accuracy.py --replay        # replay what is not recorded yet (about 5 s a cell), then print

Each cell is one steady step of 2 sequences of 1024 tokens on A100s; recorded/accuracy.jsonl holds its replay, with the
command that repeats it. A cell is judged by the bytes of all live tensors at its peak, and phase by phase.
The scalars of fp16-mixed's GradScaler (3 KiB) are counted in neither.
"""

from __future__ import annotations

import argparse
import json
import shlex
import statistics
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from recorded.replays import Errors, errors_of, record

import planner
from planner.verification.replayed import phases_of

RECORD = Path(__file__).with_name("recorded") / "accuracy.jsonl"
PHASES = ("forward", "backward", "optimizer")
COMMON = "--gpu A100-80GB-SXM --sequence-length 1024 --micro-batch-size 2"

MODELS = {
    "llama-2-7b": "q_proj,v_proj",
    "llama-3.2-1b": "q_proj,v_proj",
    "qwen2.5-1.5b": "q_proj,v_proj",
    "qwen3-1.7b": "q_proj,v_proj",
    "gemma-2b": "q_proj,v_proj",
    "phi-3-mini": "qkv_proj",
    "gpt2-medium": "c_attn",
    "pythia-1.4b": "query_key_value",
    "opt-1.3b": "q_proj,v_proj",
    "mistral-7b-v0.3": "q_proj,v_proj",
    "smollm3-3b": "q_proj,v_proj",
    "starcoder2-3b": "q_proj,v_proj",
    "olmo-2-1b": "q_proj,v_proj",
    "granite-3.3-2b": "q_proj,v_proj",
}
"""Models, each with the projections that LoRA targets in strategies where it does not target all linear layers."""

STRATEGIES = (
    "--precision bf16-mixed",
    "--precision bf16-true --optimizer adamw-foreach --gradient-accumulation-steps 2",
    "--precision bf16-mixed --finetuning lora --checkpointing full",
    "--precision bf16-mixed --finetuning lora --lora-targets {attention}",
    "--precision bf16-mixed --finetuning qlora --quantization nf4 --checkpointing full",
    "--precision bf16-mixed --sharding full_shard --gpus 8 --checkpointing full",
    "--precision bf16-true --sharding shard_grad_op --gpus 2",
    "--precision bf16-true --finetuning lora --sharding full_shard --gpus 8 --checkpointing full",
    "--precision bf16-true --optimizer adafactor --checkpointing full",
    "--precision bf16-mixed --optimizer adamw-8bit --checkpointing full",
    "--precision fp32 --optimizer sgd-momentum --attention eager",
    "--precision fp16-mixed --sharding no_shard --gpus 2 --checkpointing full",
    "--precision tf32 --optimizer adafactor --gradient-accumulation-steps 4",
    "--precision bf16-true --finetuning qlora --quantization nf4-double",
    "--precision bf16-mixed --sharding full_shard --gpus 2 --gradient-accumulation-steps 2 --gradient-sync each",
    "--precision bf16-mixed --finetuning lora --sharding shard_grad_op --gpus 2",
    "--precision bf16-mixed --optimizer sgd --attention eager --checkpointing full",
    "--precision fp16-mixed --finetuning lora --attention eager",
    "--precision bf16-true --sharding full_shard --gpus 8 --optimizer adamw-foreach",
    "--precision bf16-mixed --sharding full_shard --gpus 2 --gradient-accumulation-steps 2 --gradient-sync last",
)
"""Strategies, as options of the command line."""


class Cell(NamedTuple):
    """Names a model and a strategy, one cell of the matrix."""

    model: str
    strategy: str

    @property
    def options(self) -> str:
        return f"{COMMON} {self.strategy.format(attention=MODELS[self.model])}"

    @property
    def command(self) -> str:
        return f"planner verify {self.model} {self.options}"

    @property
    def arguments(self) -> dict[str, str | int]:
        """Returns the arguments of `planner.verify` and `planner.estimate`."""
        words = shlex.split(self.options)
        pairs = zip(words[::2], words[1::2], strict=True)
        return {name[2:].replace("-", "_"): int(value) if value.isdigit() else value for name, value in pairs}


Record = dict[str, dict[str, Any]]
"""Replayed bytes of tensors and cuBLAS workspaces, by the command of a cell and by phase."""


def cells() -> list[Cell]:
    return [Cell(model, strategy) for strategy in STRATEGIES for model in MODELS]


# --- the record ---


def read_record() -> Record:
    lines = RECORD.read_text().splitlines() if RECORD.exists() else []
    return {entry.pop("command"): entry for entry in map(json.loads, lines)}


def replayed(cell: Cell) -> dict[str, Any]:
    phases = planner.verify(cell.model, **cell.arguments).phases
    return {"command": cell.command, **{name: phase.replay_bytes for name, phase in phases.items()}}


def replay_missing() -> None:
    recorded = read_record()
    record(replayed, [cell for cell in cells() if cell.command not in recorded], RECORD)


# --- the table ---


def held_against(cell: Cell, replay: dict[str, int]) -> Errors:
    """Returns the errors of the memory model, given the replayed bytes of each phase."""
    memory = planner.estimate(cell.model, **cell.arguments).memory  # type: ignore[arg-type]  # parsed from text
    return errors_of(cell, {phase: replay[phase] for phase in PHASES}, phases_of(memory.moments))


def row(name: str, errors: Iterable[Errors], where: Callable[[Errors], str]) -> str:
    found = list(errors)
    worst = max(found, key=lambda e: abs(e.peak))
    median = statistics.median(abs(e.peak) for e in found)
    phase = max(found, key=lambda e: abs(e.largest))
    return f"| {name} | {len(found)} | {median:.3%} | {worst.peak:+.2%} | {where(worst)} | {phase.largest:+.2%} |"


def grouped(errors: list[Errors], title: str, by: Callable[[Cell], str], where: Callable[[Cell], str]) -> Iterator[str]:
    yield f"\n| {title} | n | peak: median error | worst | where | worst of a phase |\n|---|---|---|---|---|---|"
    for name in dict.fromkeys(by(e.cell) for e in errors):
        yield row(name, (e for e in errors if by(e.cell) == name), lambda e: where(e.cell))
    yield row("all", errors, lambda e: f"{e.cell.model} {e.cell.strategy}")


def below(errors: list[Errors]) -> str:
    """Says where the model is below the replay: a promise that a plan fits holds only where it is not."""
    lower = [e for e in errors if e.missing_bytes > 0]
    if not lower:
        return "\nThe model is never below the replay."
    worst = min(lower, key=lambda e: e.peak)
    return (
        f"\nThe model is below the replay in {len(lower)} of {len(errors)} cells, at most by {-worst.peak:.2%} "
        f"({worst.missing_bytes / 2**20:.1f} MiB): {worst.cell.model} {worst.cell.strategy}"
    )


def all_errors(record: Record) -> list[Errors]:
    return [held_against(cell, record[cell.command]) for cell in cells() if cell.command in record]


def summary(errors: list[Errors]) -> Iterator[str]:
    """Yields the table of docs/accuracy.md."""
    yield f"| {len(errors)} cells | median error | worst | below the replay |\n|---|---|---|---|"
    peaks, phases = [e.peak for e in errors], [error for e in errors for error in e.phases.values()]
    for name, found in ("peak of a step", peaks), ("any single phase", phases):
        median = statistics.median(map(abs, found))
        yield f"| {name} | {median:.3%} | {max(found, key=abs):+.2%} | {max(0.0, -min(found)):.2%} at most |"


def print_table(record: Record) -> None:
    all_cells, errors = cells(), all_errors(record)
    for line in grouped(errors, "strategy", lambda c: c.strategy, lambda c: c.model):
        print(line)
    for line in grouped(errors, "architecture", lambda c: c.model, lambda c: c.strategy):
        print(line)
    print("\n" + "\n".join(summary(errors)))
    print(below(errors))
    print(f"{len(errors)} of {len(all_cells)} cells are recorded.")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replay", action="store_true", help="replay the cells that are not recorded yet")
    if parser.parse_args().replay:
        replay_missing()
    print_table(read_record())
