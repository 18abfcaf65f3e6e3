"""Trains a model in a loop of torch's own, on one GPU, with DDP or with FSDP2, as train.yaml says.

    sh run.sh --train_data data.jsonl                 # as planned, on all GPUs
    python train.py --max_steps 3                     # on one; what the command line says wins over train.yaml

Data are a file, a folder, or the id of a dataset on the Hugging Face Hub; data.py says which columns they have.
"""

import os
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from accelerate.utils import convert_outputs_to_fp32
from checkpointing import Checkpointed, checkpoint_blocks
from leaving import leave
from loop import HERE, Loop, arguments, endless, evaluate, loader, ranks, use_liger
from measure import Measure
from model import Run, prepare
from optimizers import Chosen, build, in_backward
from sharding import Sharded, divide
from torch.nn.parallel import DistributedDataParallel
from transformers import set_seed


@dataclass
class Training(Loop):
    """What train.yaml says of the loop."""

    micro_batch_size: int = 1
    gradient_accumulation_steps: int = 1
    autocast: str | None = None  # "bfloat16" or "float16": mixed precision
    update_in_backward: bool = False
    max_grad_norm: float = 1.0  # 0 for no clipping
    keep_outputs: str | None = None  # "step": until the optimizer's step; "forward": until the next forward


def connect() -> torch.device:
    """Joins the other ranks, if there are any, and returns this rank's device."""
    on_gpu, ranks = torch.cuda.is_available(), int(os.environ.get("WORLD_SIZE", "1"))
    if not on_gpu and os.environ.get("RANK", "0") == "0":
        print("no GPU here: this runs on the CPU")
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0"))) if on_gpu else torch.device("cpu")
    if on_gpu:
        torch.cuda.set_device(device)
    if ranks > 1:
        dist.init_process_group("nccl" if on_gpu else "gloo")
    return device


def caller(model: Any, training: Training, device: torch.device, *, casts: bool) -> Any:
    """Returns what a step calls: the model, in autocast where it casts, with outputs made fp32 as accelerate does."""
    if training.autocast is None or not casts:
        return model
    dtype = getattr(torch, training.autocast)
    return convert_outputs_to_fp32(torch.autocast(device.type, dtype=dtype)(model.__call__))


def whole_micro_batch(model: Any, sharded: Sharded, *, last: bool) -> AbstractContextManager[None]:
    """Returns the context of a micro-batch: gradients are reduced over the ranks in the last one alone, or in each."""
    if isinstance(model, DistributedDataParallel):
        return nullcontext() if last else model.no_sync()
    if hasattr(model, "set_requires_gradient_sync"):
        model.set_requires_gradient_sync(last or sharded.sync_each_micro_batch)
    return nullcontext()


def main() -> None:
    """Trains."""
    run, training, chosen, checkpointed, sharded = arguments(Run, Training, Chosen, Checkpointed, Sharded)
    device = connect()
    rank, world = ranks()
    set_seed(training.seed)
    torch.backends.cuda.matmul.allow_tf32 = training.tf32
    model = prepare(run)
    use_liger(model, run, training.liger)
    checkpoint_blocks(model, checkpointed)
    model = divide(model, sharded, device, training.autocast).train()
    casts = not hasattr(model, "set_requires_gradient_sync")
    call = caller(model, training, device, casts=casts)
    if training.update_in_backward:
        optimizers = in_backward(model, chosen)
    else:
        optimizers = build(model, chosen, divided=sharded.sharding == "zero1")
    accumulation, batch = training.gradient_accumulation_steps, training.micro_batch_size
    train = loader(run.train_data, run, batch, 2 * batch * accumulation * world)
    held_out = training.evaluation_batch_size
    test = loader(run.eval_data, run, held_out, held_out * world) if held_out else None
    batches = endless(train, None if training.max_steps else training.epochs)
    scaler = torch.amp.GradScaler(device.type, enabled=training.autocast == "float16")
    measure, number, kept = Measure(model), 0, None
    while training.max_steps is None or number < training.max_steps:
        measure.start()
        step = list(islice(batches, accumulation))
        if len(step) < accumulation:
            break
        total = 0.0
        for at, inputs in enumerate(step):
            with whole_micro_batch(model, sharded, last=at == accumulation - 1):
                outputs = call(**{name: x.to(device) for name, x in inputs.items()})
                loss = outputs.loss / accumulation
                kept = outputs if training.keep_outputs else None
                del outputs
                scaler.scale(loss).backward()
                total += loss.item()
                del loss
        if not training.update_in_backward:
            for optimizer in optimizers:
                scaler.unscale_(optimizer)
            if training.max_grad_norm:
                torch.nn.utils.clip_grad_norm_(model.parameters(), training.max_grad_norm)
            for optimizer in optimizers:
                scaler.step(optimizer)
            scaler.update()
            model.zero_grad()
        if training.keep_outputs != "forward":
            kept = None
        number += 1
        measure.end()
        measure.losses.append(total)
        if rank == 0:
            print(f"step {number}: loss {total:.4f}, {measure.seconds[-1]:.2f} s", flush=True)
        if test is not None and number % training.evaluate_every == 0:
            mean = evaluate(call, model, test, device)
            if rank == 0:
                print(f"evaluation: loss {mean:.4f}", flush=True)
    del kept
    if rank == 0:
        measure.write(batch * accumulation * world)
    if training.output is not None:
        save(model, HERE / training.output)
    leave()


def save(model: Any, folder: Path) -> None:
    """Writes the weights that train; all ranks have to call it."""
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

    options = StateDictOptions(full_state_dict=True, cpu_offload=True, ignore_frozen_params=True)
    weights = get_model_state_dict(model, options=options)
    if ranks()[0] == 0:
        folder.mkdir(exist_ok=True)
        torch.save(weights, folder / "weights.pt")


if __name__ == "__main__":
    main()
