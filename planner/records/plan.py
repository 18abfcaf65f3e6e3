"""One configuration with its memory and time, as pydantic models that round-trip through JSON."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from hardware import GIB
from strategies import (
    AdapterDtype,
    Allocator,
    Attention,
    Checkpointing,
    Finetuning,
    Framework,
    GradientBuckets,
    Kernels,
    LoraTargets,
    LoraVariant,
    Loss,
    Offload,
    Optimizer,
    Precision,
    Quantization,
    Sharding,
    Strategy,
    TrainedModules,
    Update,
)

Count = Annotated[int, Field(gt=0, le=10**9, strict=True)]
Total = Annotated[int, Field(gt=0)]
"""A product of counts."""
Share = Annotated[float, Field(ge=0, lt=1)]
Bytes = Annotated[int, Field(ge=0)]
Ranks = Annotated[int, Field(ge=0, le=2**16, strict=True)]


class Record(BaseModel):
    # Built when first used: a command that prints JSON validates one request and serializes one result.
    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


class StrategyChoice(Record):
    """One choice per axis and what refines it: null where it does not belong to the choice."""

    precision: Precision
    optimizer: Optimizer
    optimizer_rank: Count | None = None
    finetuning: Finetuning
    lora_rank: Count | None = None
    lora_targets: LoraTargets | None = None
    quantization: Quantization = Quantization.NONE
    lora_variant: LoraVariant | None = None
    lora_dropout: Share | None = None
    adapter_dtype: AdapterDtype | None = None
    trained_modules: TrainedModules | None = None
    trained_blocks: Count | None = None
    checkpointing: Checkpointing
    checkpoint_every: Count | None = None
    sharding: Sharding
    gradient_buckets: GradientBuckets | None = None
    reshard_size: Ranks | None = None
    shard_size: Ranks | None = None
    offload: Offload | None = None
    attention: Attention
    loss: Loss
    kernels: Kernels
    framework: Framework
    allocator: Allocator
    update: Update = Update.AFTER_BACKWARD

    @classmethod
    def of(cls, strategy: Strategy) -> StrategyChoice:
        return cls.model_construct(**strategy.to_options())

    def strategy(self) -> Strategy:
        return Strategy.of(dict(self))


class Components(Record):
    """Bytes by category at the peak of the step; they add up to `process_bytes`."""

    parameters: Bytes
    gradients: Bytes
    optimizer_states: Bytes
    activations: Bytes
    """Kept for backward."""
    temporary: Bytes
    """Made and freed within an operation or a block."""
    unsharded_parameters: Bytes
    """Gathered by FSDP for the moment."""
    communication: Bytes
    """Gradient buckets and collective buffers in torch's memory."""
    overhead: Bytes
    """cuBLAS workspaces, what the caching allocator reserves beyond what is allocated, the CUDA context, NCCL."""


class Memory(Record):
    """Predicted memory of one rank in a steady step, in bytes."""

    allocated_bytes: Bytes
    """What `torch.cuda.max_memory_allocated()` reports."""
    reserved_bytes: Bytes
    """What the caching allocator has to reserve for that: with expandable segments at most, by replays; natively an
    estimate of what `torch.cuda.max_memory_reserved()` reports, by measured ratios."""
    process_bytes: Bytes
    """What `nvidia-smi` shows for the process: reserved, context and communication buffers."""
    budget_bytes: Bytes
    """The GPU's usable bytes less the headroom."""
    fits: bool
    moment: str
    """The moment of the step that is the peak."""
    moments: dict[str, Bytes]
    """Allocated bytes of each moment."""
    components: Components

    @property
    def verdict(self) -> str:
        """Whether the process fits within the budget, in words."""
        says = "fits" if self.fits else "does not fit"
        return f"{says}: {self.process_bytes / GIB:.1f} of {self.budget_bytes / GIB:.1f} GiB"


class Time(Record):
    """Predicted time of one optimizer step, by a roofline: an upper bound of speed, for comparing plans."""

    step_seconds: float
    tokens_per_second: float
    """Over all ranks, without padding where the mean length of samples is known."""


class Plan(Record):
    """One configuration with its memory and time. It is given whether it fits or not: see `memory.fits`."""

    strategy: StrategyChoice
    micro_batch_size: Total
    gradient_accumulation_steps: Total
    data_parallel_size: Total
    global_batch_size: Total
    memory: Memory
    time: Time
