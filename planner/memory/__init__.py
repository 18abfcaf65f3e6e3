"""Derives what a training step keeps, allocates and computes from the model's forward pass, and how long it takes."""

from planner.libraries.sdpa import SdpaKernel
from planner.memory.autograd.tape import Saved
from planner.memory.interface import StepMemory
from planner.memory.model import MemoryModel
from planner.memory.settings.parts import Part
from planner.memory.settings.work import Work
from planner.memory.step.footprint import Footprint, Peak
from planner.memory.step.host import Host
from planner.memory.step.step import Moment
from planner.memory.step.traced_model import TracedModel
from planner.memory.step.traffic import Moved, Traffic

__all__ = [
    "Footprint",
    "Host",
    "MemoryModel",
    "Moment",
    "Moved",
    "Part",
    "Peak",
    "Saved",
    "SdpaKernel",
    "StepMemory",
    "TracedModel",
    "Traffic",
    "Work",
]
