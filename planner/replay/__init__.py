"""Replays the real training step without a GPU: the real model, adapters and optimizer run on fake tensors."""

from planner.libraries.sdpa import SdpaKernel
from planner.replay.silence import quiet

with quiet():  # this imports torch, transformers and the other libraries
    from planner.replay.step import replay
from planner.replay.recording.trace import Phase, Trace
from planner.replay.workload import Workload

__all__ = ["Phase", "SdpaKernel", "Trace", "Workload", "replay"]
