"""What a technique is: one axis a file, the closed set of its choices, and the physical facts of each."""

from strategies.accumulation import DEFAULT_MAX_ACCUMULATION, Accumulation, Exactly, UpTo
from strategies.allocator import Allocator
from strategies.attention import Attention
from strategies.axis import Axis, Choice, ContradictionError, InvalidChoiceError, Names, Option, Shares, WholeNumbers
from strategies.batching import Batching
from strategies.chain import Chain
from strategies.checkpointing import Checkpointing
from strategies.finetuning import ALL_LINEAR, Finetuning, Full, Lora, LoraTargets, Method, Quantization
from strategies.framework import Framework
from strategies.kernels import Kernels
from strategies.loss import Loss
from strategies.optimizer import Optimizer
from strategies.precision import Precision
from strategies.sampler import Engine, Sampler
from strategies.sharding import Sharding
from strategies.space import DEFAULT_LORA_RANK, Space, usual_precisions
from strategies.strategy import AXES, OPTIONS, PLAIN, Strategy

__all__ = [
    "ALL_LINEAR",
    "AXES",
    "DEFAULT_LORA_RANK",
    "DEFAULT_MAX_ACCUMULATION",
    "OPTIONS",
    "PLAIN",
    "Accumulation",
    "Allocator",
    "Attention",
    "Axis",
    "Batching",
    "Chain",
    "Checkpointing",
    "Choice",
    "ContradictionError",
    "Engine",
    "Exactly",
    "Finetuning",
    "Framework",
    "Full",
    "InvalidChoiceError",
    "Kernels",
    "Lora",
    "LoraTargets",
    "Loss",
    "Method",
    "Names",
    "Optimizer",
    "Option",
    "Precision",
    "Quantization",
    "Sampler",
    "Sharding",
    "Shares",
    "Space",
    "Strategy",
    "UpTo",
    "WholeNumbers",
    "usual_precisions",
]
