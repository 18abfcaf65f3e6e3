"""Runs train.py of an exported folder as one rank on the CPU, and writes the peak of its steps; see exported_runs.py.

python benchmarks/exports/rank.py FOLDER STEPS
"""

from __future__ import annotations

import json
import os
import runpy
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from planner.replay import Phase
from planner.replay.real.gloo import released
from planner.replay.real.profiled import Marks, recorded
from planner.replay.recording.trace import Trace

END = os._exit


def train(folder: str, steps: int) -> None:
    """Runs train.py of a folder as one rank, and writes the peak of its steps."""
    os.chdir(folder)
    sys.path.insert(0, folder)
    is_trl = Path("sft.yaml").exists()
    sys.argv = ["train.py", "--max_steps", str(steps)]
    marks = Marks()
    patched = _transformers(marks) if Path("accelerate.yaml").exists() else _pytorch(marks)
    if is_trl:
        sys.argv[1:1] = ["--config", "sft.yaml"]
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profiler:
        marks.enter(Phase.LOADING, 0)
        with patched, patch.object(os, "_exit"):
            if is_trl:
                runpy.run_module("trl.scripts.sft", run_name="__main__")
            else:
                runpy.run_path("train.py", run_name="__main__")
        marks.close()
    results = profiler.profiler
    assert results is not None
    trace = recorded(results.kineto_results.experimental_event_tree(), marks.phases).trace
    Path(f"peak-{os.environ.get('RANK', 0)}.json").write_text(json.dumps(_peak(trace)))
    sys.stdout.flush()
    END(0)  # as a script without GPUs ends: see its leaving.py


def _peak(trace: Trace) -> int:
    """Returns the most live bytes of a steady step, which is any but the first: batches have more padding or less."""
    now = peak = 0
    for section in trace.sections:
        for _, size, _ in section.events:
            now += size
            peak = max(peak, now) if section.step > 1 else peak
    return peak


def _transformers(marks: Marks) -> Any:
    """Returns a context in which Trainer marks its phases, and accelerate divides models on the CPU."""
    from accelerate.state import DistributedType, PartialState
    from transformers import Trainer

    loss, clip, state = Trainer.compute_loss, Trainer._clip_grad_norm, PartialState.__init__

    def compute_loss(self: Any, *args: Any, **kwargs: Any) -> Any:
        marks.enter(Phase.FORWARD, self.state.global_step + 1)
        found = loss(self, *args, **kwargs)
        marks.enter(Phase.BACKWARD, self.state.global_step + 1)
        return found

    def clip_grad_norm(self: Any, *args: Any, **kwargs: Any) -> Any:
        marks.enter(Phase.OPTIMIZER, self.state.global_step + 1)
        return clip(self, *args, **kwargs)

    def started(self: Any, *args: Any, **kwargs: Any) -> None:
        state(self, *args, **kwargs)
        if self.distributed_type is DistributedType.MULTI_CPU and "ACCELERATE_USE_FSDP" in os.environ:
            self.distributed_type = DistributedType.MULTI_GPU
            self.device = torch.device("cpu")  # FSDP1 takes the number of no CPU

    stack = ExitStack()
    if Path("sft.yaml").exists():
        stack.enter_context(_measuring_trl())
    stack.enter_context(patch.object(Trainer, "compute_loss", compute_loss))
    stack.enter_context(patch.object(Trainer, "_clip_grad_norm", clip_grad_norm))
    stack.enter_context(patch.object(PartialState, "__init__", started))
    stack.enter_context(released())
    return stack


def _measuring_trl() -> Any:
    """Returns a context in which TRL's trainer writes measured.jsonl, as train.py's callback does."""
    from transformers import Trainer

    train = Trainer.train

    def trained(self: Any, *args: Any, **kwargs: Any) -> Any:
        found = train(self, *args, **kwargs)
        sizes = self.args.per_device_train_batch_size * self.args.gradient_accumulation_steps * self.args.world_size
        made = {
            "losses": [float(row["loss"]) for row in self.state.log_history if "loss" in row],
            "global_batch_size": sizes,
            "trained_parameters": sum(p.numel() for p in self.model.parameters() if p.requires_grad),
        }
        Path("measured.jsonl").write_text(json.dumps(made) + "\n")
        return found

    return patch.object(Trainer, "train", trained)


def _pytorch(marks: Marks) -> Any:
    """Returns a context in which a loop marks its steps."""
    import measure

    start = measure.Measure.start

    def started(self: Any) -> None:
        start(self)
        marks.enter(Phase.FORWARD, len(self.seconds) + 1)

    stack = ExitStack()
    stack.enter_context(patch.object(measure.Measure, "start", started))
    stack.enter_context(released())
    return stack


if __name__ == "__main__":
    train(sys.argv[1], int(sys.argv[2]))
