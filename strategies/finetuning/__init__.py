"""Holds the axis of fine-tuning: the methods, what trains, adapters, and how a frozen base is quantized."""

from strategies.finetuning.axis import AXIS

__all__ = ["AXIS"]
