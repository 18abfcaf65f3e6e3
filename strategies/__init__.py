"""What a technique is: one axis a file, the closed set of its choices, and the physical facts of each."""

from strategies.accumulation import DEFAULT_MAX_ACCUMULATION, Accumulation, Exactly, UpTo
from strategies.allocator import Allocator
from strategies.attention import Attention
from strategies.axis import Axis, Choice, ContradictionError, InvalidChoiceError, Names, Option, Shares, WholeNumbers
from strategies.checkpointing import Checkpointing
from strategies.finetuning import ALL_LINEAR, Finetuning, Full, Lora, LoraTargets, Method, Quantization
from strategies.framework import Framework
from strategies.kernels import Kernels
from strategies.loss import Loss
from strategies.optimizer import (
    DEFAULT_OPTIMIZER_RANK,
    AnyOptimizer,
    Blockwise,
    Factored,
    LowRank,
    Offloaded,
    Optimizer,
    Orthogonalized,
    Packed,
    Ranked,
    Rowwise,
    Whole,
)
from strategies.precision import Precision
from strategies.sharding import Sharding
from strategies.space import DEFAULT_LORA_RANK, Space, usual_precisions
from strategies.strategy import AXES, OPTIONS, PLAIN, Strategy
from strategies.update import Update

__all__ = [
    "ALL_LINEAR",
    "AXES",
    "DEFAULT_LORA_RANK",
    "DEFAULT_MAX_ACCUMULATION",
    "DEFAULT_OPTIMIZER_RANK",
    "OPTIONS",
    "PLAIN",
    "Accumulation",
    "Allocator",
    "AnyOptimizer",
    "Attention",
    "Axis",
    "Blockwise",
    "Checkpointing",
    "Choice",
    "ContradictionError",
    "Exactly",
    "Factored",
    "Finetuning",
    "Framework",
    "Full",
    "InvalidChoiceError",
    "Kernels",
    "Lora",
    "LoraTargets",
    "Loss",
    "LowRank",
    "Method",
    "Names",
    "Offloaded",
    "Optimizer",
    "Option",
    "Orthogonalized",
    "Packed",
    "Precision",
    "Quantization",
    "Ranked",
    "Rowwise",
    "Sharding",
    "Shares",
    "Space",
    "Strategy",
    "UpTo",
    "Update",
    "Whole",
    "WholeNumbers",
    "usual_precisions",
]
