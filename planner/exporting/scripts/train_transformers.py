"""Trains a model with transformers' Trainer, as train.yaml says.

    sh run.sh --train_data data.jsonl                 # as planned, on all GPUs
    python train.py --max_steps 3                     # on one; what the command line says wins over train.yaml

Data are a file, a folder, or the id of a dataset on the Hugging Face Hub; data.py says which columns they have.
"""

import os
from pathlib import Path
from typing import Any

import torch
import yaml
from data import Collator, rows, samples
from leaving import leave
from measure import Measure
from model import Run, prepare
from transformers import HfArgumentParser, Trainer, TrainerCallback, TrainingArguments, set_seed

HERE = Path(__file__).parent


def arguments() -> tuple[Run, TrainingArguments]:
    """Returns train.yaml, with what the command line says in its place."""
    parser = HfArgumentParser((Run, TrainingArguments))
    said = yaml.safe_load((HERE / "train.yaml").read_text())
    if not torch.cuda.is_available():
        if os.environ.get("RANK", "0") == "0":
            print("no GPU here: this runs on the CPU")
        said |= {"use_cpu": True, "tf32": None}
    parser.set_defaults(**said)
    run, args, *unknown = parser.parse_args_into_dataclasses()
    if unknown:
        raise SystemExit(f"train.yaml has unknown keys: {unknown[0]}")
    return run, args


class Measured(TrainerCallback):
    """Writes measured.jsonl by measure.py; leave it out of `callbacks` below to do without."""

    def __init__(self, model: Any) -> None:
        self.measure = Measure(model)

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Takes the time."""
        self.measure.start()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Takes the time."""
        self.measure.end()

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """Keeps the loss."""
        self.measure.losses += [float(logs["loss"])] if "loss" in (logs or {}) else []

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Writes the line."""
        if state.is_world_process_zero:
            sequences = args.per_device_train_batch_size * args.gradient_accumulation_steps * args.world_size
            self.measure.write(sequences)


def main() -> None:
    """Trains."""
    run, args = arguments()
    set_seed(args.seed)
    model = prepare(run)
    counted = 2 * args.train_batch_size * args.gradient_accumulation_steps * args.world_size
    evaluates = args.eval_strategy != "no"
    kind = Trainer
    if run.task == "contrastive":
        from pairs import PairsTrainer

        kind = PairsTrainer
    trainer = kind(
        model,
        args,
        train_dataset=rows(samples(run.train_data, run, counted), run),
        eval_dataset=rows(samples(run.eval_data, run, args.eval_batch_size), run) if evaluates else None,
        data_collator=Collator(run),
        callbacks=[Measured(model)],
    )
    trainer.train()
    if args.save_strategy != "no":
        save(trainer)
    leave()


def save(trainer: Trainer) -> None:
    """Writes the model. What FSDP divides is gathered first: of shards, Trainer writes checkpoints but no model."""
    if trainer.is_fsdp_enabled:
        trainer.accelerator.state.fsdp_plugin.set_state_dict_type("FULL_STATE_DICT")
    trainer.save_model()


if __name__ == "__main__":
    main()
