"""Holds what loops of one's own share: settings, batches, Liger's kernels and evaluation."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import yaml
from data import Collator, rows, samples
from model import Run
from torch.utils.data import DataLoader, DistributedSampler
from transformers import HfArgumentParser

HERE = Path(__file__).parent


@dataclass
class Loop:
    """What train.yaml says of a loop, whatever divides the model."""

    evaluation_batch_size: int | None = None
    evaluate_every: int = 100
    tf32: bool = False
    liger: dict | None = None  # liger-kernel's kernels, by name; those that are not named are off
    epochs: int = 1
    max_steps: int | None = None
    seed: int = 42
    output: str | None = "output"


def arguments(*kinds: Any) -> tuple[Any, ...]:
    """Returns train.yaml, with what the command line says in its place, as these kinds of settings."""
    parser = HfArgumentParser(kinds)
    parser.set_defaults(**yaml.safe_load((HERE / "train.yaml").read_text()))
    made = parser.parse_args_into_dataclasses()
    if unknown := made[len(kinds) :]:
        raise SystemExit(f"train.yaml has unknown keys: {unknown[0]}")
    return made


def use_liger(model: Any, run: Run, wanted: dict | None) -> None:
    """Puts Liger's kernels in place of the model's own modules."""
    if not any((wanted or {}).values()):
        return
    from liger_kernel.transformers import _apply_liger_kernel_to_instance

    inner = model.get_base_model() if run.use_peft else model
    off = dict.fromkeys(("rope", "rms_norm", "swiglu", "geglu", "cross_entropy", "fused_linear_cross_entropy"), False)
    _apply_liger_kernel_to_instance(model=inner, **{**off, **wanted})


def ranks() -> tuple[int, int]:
    """Returns this rank's number and how many ranks there are."""
    return (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)


def endless(loader: DataLoader, epochs: int | None) -> Iterator[dict[str, torch.Tensor]]:
    """Yields batches of so many epochs, or without an end."""
    epoch = 0
    while epochs is None or epoch < epochs:
        if isinstance(loader.sampler, DistributedSampler):
            loader.sampler.set_epoch(epoch)
        yield from loader
        epoch += 1


def loader(data: str | None, run: Run, batch: int, counted: int) -> DataLoader:
    """Returns batches of this rank's share of the rows."""
    rank, world = ranks()
    made: Any = rows(samples(data, run, counted), run)
    shares = DistributedSampler(made, world, rank, drop_last=True)
    return DataLoader(made, batch, sampler=shares, collate_fn=Collator(run), drop_last=True)


def evaluate(call: Any, model: Any, batches: DataLoader, device: torch.device) -> float:
    """Returns the mean loss over the batches of all ranks, each of which has as many."""
    model.eval()
    with torch.no_grad():
        losses = [call(**{name: x.to(device) for name, x in batch.items()}).loss.item() for batch in batches]
    model.train()
    mean = torch.tensor(sum(losses) / max(1, len(losses)), device=device)
    if not dist.is_initialized():
        return mean.item()
    dist.all_reduce(mean)
    return mean.item() / dist.get_world_size()
