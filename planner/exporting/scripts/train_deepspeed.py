"""Trains a model in a loop of DeepSpeed's own engine, as train.yaml and deepspeed.json say.

    sh run.sh --train_data data.jsonl                 # as planned, on all GPUs
    torchrun --nproc_per_node=2 train.py --max_steps 3  # what the command line says wins over train.yaml

deepspeed.json has the micro-batch, the accumulation, the precision, the clipping, and who keeps what. Data are a file,
a folder, or the id of a dataset on the Hugging Face Hub; data.py says which columns they have.
"""

import json
from dataclasses import dataclass
from itertools import islice
from typing import Any

import deepspeed
import torch
import torch.distributed as dist
from checkpointing import Checkpointed, checkpoint_blocks
from leaving import leave
from loop import HERE, Loop, arguments, endless, evaluate, loader, ranks, use_liger
from measure import Measure
from model import Run, prepare
from optimizers import Chosen, build
from transformers import set_seed
from transformers.integrations import HfDeepSpeedConfig


@dataclass
class Training(Loop):
    """What train.yaml says of the loop."""

    deepspeed_config: str = "deepspeed.json"


def main() -> None:
    """Trains."""
    run, training, chosen, checkpointed = arguments(Run, Training, Chosen, Checkpointed)
    config = json.loads((HERE / training.deepspeed_config).read_text())
    batch, accumulation = config["train_micro_batch_size_per_gpu"], config.get("gradient_accumulation_steps", 1)
    deepspeed.init_distributed("nccl" if torch.cuda.is_available() else "gloo")
    rank, world = ranks()
    set_seed(training.seed)
    torch.backends.cuda.matmul.allow_tf32 = training.tf32
    shards = HfDeepSpeedConfig(config)  # while it lives, transformers loads under stage 3 what each rank keeps
    model = prepare(run)
    use_liger(model, run, training.liger)
    checkpoint_blocks(model, checkpointed)
    measure = Measure(model)
    (optimizer,) = build(model, chosen, decays=True)
    engine, *_ = deepspeed.initialize(model=model, optimizer=optimizer, config=config)
    del shards
    train = loader(run.train_data, run, batch, 2 * batch * accumulation * world)
    held_out = training.evaluation_batch_size
    test = loader(run.eval_data, run, held_out, held_out * world) if held_out else None
    batches = endless(train, None if training.max_steps else training.epochs)
    number = 0
    engine.train()
    while training.max_steps is None or number < training.max_steps:
        measure.start()
        step = list(islice(batches, accumulation))
        if len(step) < accumulation:
            break
        total = 0.0
        for inputs in step:
            loss = engine(**{name: x.to(engine.device) for name, x in inputs.items()}).loss
            engine.backward(loss)
            total += loss.item() / accumulation
            del loss
            engine.step()  # which steps with the last micro-batch alone
        number += 1
        measure.end()
        measure.losses.append(total)
        if rank == 0:
            print(f"step {number}: loss {total:.4f}, {measure.seconds[-1]:.2f} s", flush=True)
        if test is not None and number % training.evaluate_every == 0:
            mean = evaluate(engine, engine, test, engine.device)
            if rank == 0:
                print(f"evaluation: loss {mean:.4f}", flush=True)
    if rank == 0:
        measure.write(batch * accumulation * world)
    if training.output is not None:
        save(engine, training.output)
    leave()


def save(engine: Any, folder: str) -> None:
    """Writes the weights of the whole model, gathered; all ranks have to call it."""
    (HERE / folder).mkdir(exist_ok=True)
    dist.barrier()
    engine.save_16bit_model(str(HERE / folder), "weights.pt")


if __name__ == "__main__":
    main()
