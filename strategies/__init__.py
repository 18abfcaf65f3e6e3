"""Defines training techniques: one axis per file, with the closed set of its choices and the physical facts of each."""

from strategies.accounts import Accounts
from strategies.allocator import Allocator
from strategies.attention import Attention
from strategies.axis import Axis, Names, Option, Shares, WholeNumbers
from strategies.checkpointing import Checkpointing, CheckpointingFacts, Checkpoints, Operation
from strategies.choice import Choice, ContradictionError, InvalidChoiceError
from strategies.finetuning.methods import (
    ALL_LINEAR,
    DEFAULT_LORA_RANK,
    DEFAULT_TRAINED_BLOCKS,
    AdapterDtype,
    BitFit,
    Finetuning,
    Freeze,
    Full,
    Lora,
    LoraTargets,
    LoraVariant,
    Method,
    TrainedModules,
    quantization_of,
)
from strategies.finetuning.quantization import ExpertQuantization, Quantization, UnquantizedDtype
from strategies.framework import Framework, FrameworkFacts
from strategies.kernels import Kernels
from strategies.loss import Loss
from strategies.objective import Objective
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
from strategies.quality import num_risks, risks, rounds_updates
from strategies.rules import violation
from strategies.sampler import Engine, Sampler
from strategies.sharding import (
    DataParallel,
    Fsdp1,
    Fsdp2,
    FullySharded,
    GradientBuckets,
    GradientSync,
    Offload,
    OverlapComm,
    Replicated,
    Sharding,
    ShardingBackend,
    Wrapping,
    Zero,
    indivisible,
)
from strategies.spaces.chain import Chain
from strategies.spaces.space import Space
from strategies.spaces.usual import (
    dividing,
    usual_adapter_dtypes,
    usual_checkpointing,
    usual_precisions,
    usual_unquantized_dtypes,
)
from strategies.strategy import AXES, OPTIONS, PLAIN, Strategy, raises_trained
from strategies.update import Update
from strategies.workload.accumulation import (
    DEFAULT_MAX_ACCUMULATION,
    LARGEST_USUAL_BATCH,
    Accumulation,
    Exactly,
    Steps,
    UpTo,
    usual_batch,
)
from strategies.workload.batching import Batching
from strategies.workload.loading import Loading
from strategies.workload.outputs import Outputs
from strategies.workload.task import Task, TaskFacts

__all__ = [
    "ALL_LINEAR",
    "AXES",
    "DEFAULT_LORA_RANK",
    "DEFAULT_MAX_ACCUMULATION",
    "DEFAULT_OPTIMIZER_RANK",
    "DEFAULT_TRAINED_BLOCKS",
    "LARGEST_USUAL_BATCH",
    "OPTIONS",
    "PLAIN",
    "Accounts",
    "Accumulation",
    "AdapterDtype",
    "Allocator",
    "AnyOptimizer",
    "Attention",
    "Axis",
    "Batching",
    "BitFit",
    "Blockwise",
    "Chain",
    "Checkpointing",
    "CheckpointingFacts",
    "Checkpoints",
    "Choice",
    "ContradictionError",
    "DataParallel",
    "Engine",
    "Exactly",
    "ExpertQuantization",
    "Factored",
    "Finetuning",
    "Framework",
    "FrameworkFacts",
    "Freeze",
    "Fsdp1",
    "Fsdp2",
    "Full",
    "FullySharded",
    "GradientBuckets",
    "GradientSync",
    "InvalidChoiceError",
    "Kernels",
    "Loading",
    "Lora",
    "LoraTargets",
    "LoraVariant",
    "Loss",
    "LowRank",
    "Method",
    "Names",
    "Objective",
    "Offload",
    "Offloaded",
    "Operation",
    "Optimizer",
    "Option",
    "Orthogonalized",
    "Outputs",
    "OverlapComm",
    "Packed",
    "Precision",
    "Quantization",
    "Ranked",
    "Replicated",
    "Rowwise",
    "Sampler",
    "Sharding",
    "ShardingBackend",
    "Shares",
    "Space",
    "Steps",
    "Strategy",
    "Task",
    "TaskFacts",
    "TrainedModules",
    "UnquantizedDtype",
    "UpTo",
    "Update",
    "Whole",
    "WholeNumbers",
    "Wrapping",
    "Zero",
    "dividing",
    "indivisible",
    "num_risks",
    "quantization_of",
    "raises_trained",
    "risks",
    "rounds_updates",
    "usual_adapter_dtypes",
    "usual_batch",
    "usual_checkpointing",
    "usual_precisions",
    "usual_unquantized_dtypes",
    "violation",
]
