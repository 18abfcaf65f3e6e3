"""The memory and time model: what a training step keeps, allocates and computes, derived from the forward pass."""

from planner.libraries.sdpa import SdpaKernel
from planner.memory.footprint import Footprint, Peak
from planner.memory.interface import StepMemory
from planner.memory.model import MemoryModel
from planner.memory.step import Moment
from planner.memory.time import Rates, step_seconds
from planner.memory.traced import Traced

__all__ = ["Footprint", "MemoryModel", "Moment", "Peak", "Rates", "SdpaKernel", "StepMemory", "Traced", "step_seconds"]
