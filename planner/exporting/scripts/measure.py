"""Writes measured.jsonl: a line with the peaks and seconds of a run, beside those of predicted.json.

It needs torch alone. The first two steps, in which states and caches are made, are left out of the seconds.
"""

import json
import time
from contextlib import suppress
from pathlib import Path
from statistics import median
from typing import Any

import torch

HERE = Path(__file__).parent


class Measure:
    """Follows a run step by step."""

    def __init__(self, model: Any) -> None:
        """Counts what trains; call it before FSDP1 divides the model, whose parameters then are those of one rank."""
        # DeepSpeed leaves a rank without the parameters of others, but says how large they are.
        self.trained = sum(getattr(p, "ds_numel", p.numel()) for p in model.parameters() if p.requires_grad)
        self.seconds: list[float] = []
        self.losses: list[float] = []
        self.started = time.perf_counter()

    def start(self) -> None:
        """Begins a step."""
        self.started = time.perf_counter()

    def end(self) -> None:
        """Ends a step, once the GPU is done."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.seconds.append(time.perf_counter() - self.started)

    def write(self, global_batch_size: int) -> None:
        """Adds the line; one rank has to call it."""
        made = {
            "torch": torch.__version__,
            "steps": len(self.seconds),
            "step_seconds": median(self.seconds[2:] or self.seconds or [0.0]),
            "losses": self.losses,
            "global_batch_size": global_batch_size,
            "trained_parameters": self.trained,
        }
        if torch.cuda.is_available():
            made["gpu"] = torch.cuda.get_device_name()
            made["allocated_bytes"] = torch.cuda.max_memory_allocated()
            made["reserved_bytes"] = torch.cuda.max_memory_reserved()
            free, total = torch.cuda.mem_get_info()
            # What is not free now: what torch reserved it keeps, and the rest is the CUDA context's and libraries'.
            made["process_bytes"] = total - free + torch.cuda.max_memory_reserved() - torch.cuda.memory_reserved()
        with suppress(FileNotFoundError):
            made["predicted"] = json.loads((HERE / "predicted.json").read_text())
        with (HERE / "measured.jsonl").open("a") as file:
            file.write(json.dumps(made) + "\n")
