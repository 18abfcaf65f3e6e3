"""A replay of the real training step without a GPU: the real model, adapters and optimizer on fake tensors."""

from planner.libraries.sdpa import SdpaKernel
from planner.replay.silence import quiet

with quiet():  # it imports the libraries
    from planner.replay.step import Outputs, Workload, replay
from planner.replay.recording.trace import Phase, Trace

__all__ = ["Outputs", "Phase", "SdpaKernel", "Trace", "Workload", "replay"]
