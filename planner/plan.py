"""What goes in and what comes out: requests, plans and results, as pydantic models that round-trip through JSON."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from strategies import (
    DEFAULT_MAX_ACCUMULATION,
    Attention,
    Checkpointing,
    Finetuning,
    Framework,
    Full,
    Kernels,
    Lora,
    LoraTargets,
    Loss,
    Method,
    Optimizer,
    Precision,
    Quantization,
    Sharding,
    Strategy,
)

SCHEMA_VERSION: Literal[1] = 1

DEFAULT_SEQUENCE_LENGTH = 2048

Count = Annotated[int, Field(gt=0, le=10**9, strict=True)]
Total = Annotated[int, Field(gt=0)]
"""A product of counts."""
Gpus = Annotated[int, Field(gt=0, le=1024, strict=True)]
Nodes = Annotated[int, Field(gt=0, le=2**16, strict=True)]
SequenceLength = Annotated[int, Field(gt=0, le=2**24, strict=True)]
Headroom = Annotated[float, Field(ge=0, lt=1)]
Bytes = Annotated[int, Field(ge=0)]


class _Model(BaseModel):
    # Built when first used: a command that prints JSON validates one request and serializes one result.
    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


class StrategyChoice(_Model):
    """One choice per axis; `lora_rank` and `lora_targets` are null without LoRA, `quantization` none without QLoRA."""

    precision: Precision
    optimizer: Optimizer
    finetuning: Finetuning
    lora_rank: Count | None = None
    lora_targets: LoraTargets | None = None
    quantization: Quantization = Quantization.NONE
    checkpointing: Checkpointing
    sharding: Sharding
    attention: Attention
    loss: Loss
    kernels: Kernels
    framework: Framework

    @classmethod
    def of(cls, strategy: Strategy) -> StrategyChoice:
        method = strategy.finetuning
        lora = method if isinstance(method, Lora) else None
        return cls.model_construct(
            precision=strategy.precision,
            optimizer=strategy.optimizer,
            finetuning=method.method,
            lora_rank=lora.rank if lora else None,
            lora_targets=lora.targets if lora else None,
            quantization=lora.quantization if lora else Quantization.NONE,
            checkpointing=strategy.checkpointing,
            sharding=strategy.sharding,
            attention=strategy.attention,
            loss=strategy.loss,
            kernels=strategy.kernels,
            framework=strategy.framework,
        )

    def strategy(self) -> Strategy:
        method: Method = Full()
        if self.finetuning is not Finetuning.FULL:
            assert self.lora_rank is not None
            assert self.lora_targets is not None
            method = Lora(self.lora_rank, self.lora_targets, self.quantization)
        return Strategy(
            self.precision,
            self.optimizer,
            method,
            self.checkpointing,
            self.sharding,
            self.attention,
            self.loss,
            self.kernels,
            self.framework,
        )


class Components(_Model):
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


class Memory(_Model):
    """Predicted memory of one rank in a steady step, in bytes."""

    allocated_bytes: Bytes
    """What `torch.cuda.max_memory_allocated()` reports."""
    reserved_bytes: Bytes
    """What `torch.cuda.max_memory_reserved()` reports; an estimate from measured ratios."""
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


class Time(_Model):
    """Predicted time of one optimizer step, by a roofline: an upper bound of speed, for comparing plans."""

    step_seconds: float
    tokens_per_second: float
    """Over all ranks."""


class Plan(_Model):
    """One configuration with its memory and time. It is given whether it fits or not: see `memory.fits`."""

    strategy: StrategyChoice
    micro_batch_size: Total
    gradient_accumulation_steps: Total
    data_parallel_size: Total
    global_batch_size: Total
    memory: Memory
    time: Time


class Request(_Model):
    """A question to the planner, normalized: names as in registry and catalog, empty axes mean the default space."""

    model: str
    num_parameters: Total
    gpu: str
    gpu_memory_bytes: Total
    """What a process can use of one GPU."""
    gpus: Gpus = 1
    nodes: Nodes = 1
    sequence_length: SequenceLength = DEFAULT_SEQUENCE_LENGTH
    headroom: Headroom = 0.05
    max_accumulation: Count | None = DEFAULT_MAX_ACCUMULATION
    global_batch_size: Count | None = None
    micro_batch_size: tuple[Count, ...] = ()
    gradient_accumulation_steps: Count | None = None
    precision: tuple[Precision, ...] = ()
    optimizer: tuple[Optimizer, ...] = ()
    finetuning: tuple[Finetuning, ...] = ()
    lora_rank: tuple[Count, ...] = ()
    lora_targets: tuple[LoraTargets, ...] = ()
    quantization: tuple[Quantization, ...] = ()
    checkpointing: tuple[Checkpointing, ...] = ()
    sharding: tuple[Sharding, ...] = ()
    attention: tuple[Attention, ...] = ()
    loss: tuple[Loss, ...] = ()
    kernels: tuple[Kernels, ...] = ()
    framework: tuple[Framework, ...] = ()


class Searched(_Model):
    """How much was searched: `strategies` scored, `feasible` of them fit with at least one sample per GPU."""

    strategies: int
    feasible: int
    seconds: float


class Way(_Model):
    """A change of the request under which something fits."""

    change: str
    """In words, with the option to use."""
    options: dict[str, str | int]
    """The options to change, as the command line spells them."""


class Shortfall(_Model):
    """Why nothing fits: the smallest plan found, and what it lacks."""

    smallest: Plan
    moment: str
    term: str
    """The largest category at that moment."""
    over_bytes: Bytes
    ways: tuple[Way, ...]
    """Changes that would fit, cheapest first."""


class PhaseBytes(_Model):
    """One phase of a steady step: its peak in the replay and in the memory model, and their relative difference."""

    replay_bytes: Bytes
    model_bytes: Bytes
    difference: float
    """(model - replay) / replay."""


class Verification(_Model):
    """A replay of the real training step beside the memory model's account of the same plan."""

    schema_version: Literal[1] = SCHEMA_VERSION
    request: Request
    plan: Plan
    phases: dict[str, PhaseBytes]
    """forward, backward and optimizer step."""
    allocated_bytes: Bytes
    """By the replay: whole allocator blocks and cuBLAS workspaces."""
    reserved_bytes: Bytes
    """By the replay's trace in a model of CUDA's caching allocator."""
    process_bytes: Bytes
    """With the CUDA context and NCCL."""
    fits: bool
    difference: float
    """Of the model's `allocated_bytes` from the replay's."""
    seconds: float
    notes: tuple[str, ...] = ()


class FitResult(_Model):
    """Answer of `fit`. `plans` are ranked; when there are none, `shortfall` says why."""

    schema_version: Literal[1] = SCHEMA_VERSION
    request: Request
    plans: tuple[Plan, ...]
    """The first `top` of the ranking."""
    best_by_method: tuple[Plan, ...]
    """The best plan of each fine-tuning method that fits, whether it is among `plans` or not."""
    searched: Searched
    rejected: dict[str, int]
    """Strategies that were left out or do not fit, counted by reason."""
    notes: tuple[str, ...]
    shortfall: Shortfall | None = None


class EstimateResult(Plan):
    """Answer of `estimate`: one plan, with the account behind it."""

    schema_version: Literal[1] = SCHEMA_VERSION
    request: Request
    notes: tuple[str, ...] = ()
