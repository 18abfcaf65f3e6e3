"""What a technique is: one axis a file, the closed set of its choices, and the physical facts of each."""

from strategies.accumulation import DEFAULT_MAX_ACCUMULATION, Accumulation, Exactly, UpTo
from strategies.allocator import Allocator
from strategies.attention import Attention
from strategies.axis import Axis, Choice, ContradictionError, InvalidChoiceError, Names, Option, Shares, WholeNumbers
from strategies.chain import Chain
from strategies.checkpointing import Checkpointing, CheckpointingFacts, Checkpoints, Operation
from strategies.finetuning import (
    ALL_LINEAR,
    AdapterDtype,
    BitFit,
    Finetuning,
    Freeze,
    Full,
    Lora,
    LoraTargets,
    LoraVariant,
    Method,
    Quantization,
    TrainedModules,
    quantization_of,
)
from strategies.framework import Framework
from strategies.kernels import Kernels
from strategies.loss import Loss
from strategies.optimizer import Optimizer
from strategies.precision import Precision
from strategies.sampler import Engine, Sampler
from strategies.sharding import DataParallel, GradientBuckets, Offload, Replicated, Sharded, Sharding
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
    "AdapterDtype",
    "Allocator",
    "Attention",
    "Axis",
    "BitFit",
    "Chain",
    "Checkpointing",
    "CheckpointingFacts",
    "Checkpoints",
    "Choice",
    "ContradictionError",
    "DataParallel",
    "Engine",
    "Exactly",
    "Finetuning",
    "Framework",
    "Freeze",
    "Full",
    "GradientBuckets",
    "InvalidChoiceError",
    "Kernels",
    "Lora",
    "LoraTargets",
    "LoraVariant",
    "Loss",
    "Method",
    "Names",
    "Offload",
    "Operation",
    "Optimizer",
    "Option",
    "Precision",
    "Quantization",
    "Replicated",
    "Sampler",
    "Sharded",
    "Sharding",
    "Shares",
    "Space",
    "Strategy",
    "TrainedModules",
    "UpTo",
    "WholeNumbers",
    "quantization_of",
    "usual_precisions",
]
