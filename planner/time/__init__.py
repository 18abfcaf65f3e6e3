"""Computes the seconds of a training step from its work, what it exchanges, and the rates of the machine."""

from planner.time.bounds import seconds_between
from planner.time.rates import Rates
from planner.time.step import StepTime, step_time
from planner.time.utilization import model_flops_utilization

__all__ = ["Rates", "StepTime", "model_flops_utilization", "seconds_between", "step_time"]
