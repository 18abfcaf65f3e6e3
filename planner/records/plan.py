"""Defines a plan, one configuration with its memory and time, as pydantic models that round-trip through JSON."""

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field

from hardware import GIB, has_room
from strategies import (
    AdapterDtype,
    Allocator,
    Attention,
    Checkpointing,
    ExpertQuantization,
    Finetuning,
    Framework,
    GradientBuckets,
    GradientSync,
    Kernels,
    LoraTargets,
    LoraVariant,
    Loss,
    Offload,
    Optimizer,
    OverlapComm,
    Precision,
    Quantization,
    Sharding,
    ShardingBackend,
    Strategy,
    TrainedModules,
    UnquantizedDtype,
    Update,
    Wrapping,
)

Count = Annotated[int, Field(gt=0, le=10**9, strict=True)]
"""A positive whole number that a caller may give, up to a billion."""
Total = Annotated[int, Field(gt=0)]
"""A positive product of counts, without an upper limit."""
Share = Annotated[float, Field(ge=0, lt=1)]
"""A fraction from 0 to below 1."""
Bytes = Annotated[int, Field(ge=0)]
Ranks = Annotated[int, Field(ge=0, le=2**16, strict=True)]
"""A number of ranks; 0 stands for all of them."""
Elements = Annotated[int, Field(ge=0, le=10**12, strict=True)]
"""A number of elements; 0 stands for what a library fills in."""


class Record(BaseModel):
    """Serves as the base class of all records: they are frozen and refuse unknown fields."""

    # Each class is built when it is first used, since a command that prints JSON validates one request and serializes
    # one result.
    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


class StrategyChoice(Record):
    """Holds one choice per axis, and the options that refine it, which are null if they do not apply to the choice."""

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
    unquantized_dtype: UnquantizedDtype | None = None
    expert_quantization: ExpertQuantization | None = None
    trained_blocks: Count | None = None
    checkpointing: Checkpointing
    checkpoint_every: Count | None = None
    sharding: Sharding
    sharding_backend: ShardingBackend | None = None
    gradient_buckets: GradientBuckets | None = None
    reshard_size: Ranks | None = None
    shard_size: Ranks | None = None
    offload: Offload | None = None
    gradient_sync: GradientSync | None = None
    wrapping: Wrapping | None = None
    reduce_bucket: Elements | None = None
    overlap_comm: OverlapComm | None = None
    prefetch_bucket: Elements | None = None
    persistence_threshold: Elements | None = None
    max_live_parameters: Elements | None = None
    max_reuse_distance: Elements | None = None
    sub_group_size: Elements | None = None
    attention: Attention
    loss: Loss
    kernels: Kernels
    framework: Framework
    allocator: Allocator
    update: Update = Update.AFTER_BACKWARD

    @classmethod
    def of(cls, strategy: Strategy) -> Self:
        """Returns the choices of a strategy."""
        return cls.model_construct(**strategy.to_options())

    def strategy(self) -> Strategy:
        """Returns the strategy that these choices make; the inverse of `of`."""
        # Plans written before gradient_sync was an option reduced gradients in each micro-batch.
        return Strategy.of({**dict(self), "gradient_sync": self.gradient_sync or GradientSync.EACH})


class Components(Record):
    """Holds the bytes of each memory category at the peak of the step; they add up to `process_bytes`."""

    parameters: Bytes
    gradients: Bytes
    optimizer_states: Bytes
    activations: Bytes
    """Bytes of tensors that are saved for backward."""
    temporary: Bytes
    """Bytes of tensors that are allocated and freed within an operation or a block."""
    unsharded_parameters: Bytes
    """Bytes of the whole parameters that FSDP has gathered at that moment."""
    communication: Bytes
    """Bytes of gradient buckets and collective buffers in torch's memory."""
    overhead: Bytes
    """Bytes of cuBLAS workspaces, of the CUDA context, of NCCL, and of what the caching allocator reserves but does not
    allocate."""


class HostMemory(Record):
    """Holds the predicted host memory of one node at its largest, of all its ranks together, in bytes.

    What every process takes, offloading or not, is left out: Python, torch, CUDA's libraries, the data's workers.
    """

    node_bytes: Bytes
    """Bytes that tensors take, pinned ones in powers of two."""
    budget_bytes: Bytes | None
    """Bytes that the node has: as given, or what is usual with its GPUs."""
    parameters: Bytes
    """Bytes of parameters that wait there to be gathered."""
    gradients: Bytes
    optimizer_states: Bytes
    """Bytes of states, and of weights that an optimizer there steps in addition to those of the model."""
    activations: Bytes
    """Bytes of inputs of checkpointed blocks that wait there for backward."""
    loading: Bytes = 0
    """Bytes while the model is loaded, before the first step: weights that every rank casts or unpacks."""

    @property
    def fits(self) -> bool:
        """Returns whether the node has that much."""
        return has_room(self.budget_bytes, self.node_bytes)


class Memory(Record):
    """Holds the predicted memory of one rank in a steady step, in bytes."""

    allocated_bytes: Bytes
    """Bytes that `torch.cuda.max_memory_allocated()` reports."""
    reserved_bytes: Bytes
    """Bytes that the caching allocator has to reserve for the step to run.

    With expandable segments, no replay needed more. With native ones, the allocator's model serves all requests of the
    step within the budget, where their order is known; otherwise this is a usual amount, by ratios that were
    measured."""
    unlimited_reserved_bytes: Bytes | None = None
    """Bytes that `torch.cuda.max_memory_reserved()` reports on a GPU with memory to spare, where the allocator keeps
    every block that it has cached; None if they were not asked for, or if the order of requests is not known."""
    process_bytes: Bytes
    """Bytes that `nvidia-smi` shows for the process: reserved bytes, the CUDA context and communication buffers."""
    budget_bytes: Bytes
    """Bytes that the process may take: the GPU's usable bytes less the headroom. Of one configuration that needs more,
    for which no headroom was asked, they are all usable bytes."""
    fits: bool
    """Whether `process_bytes` are within the budget, and the node has the host memory."""
    moment: str
    """Name of the moment of the step at which allocated bytes peak."""
    moments: dict[str, Bytes]
    """Peak of the allocated bytes at each moment of the step, by its name."""
    components: Components
    host: HostMemory | None = None
    """Host memory of a node; None in plans that were written before it was known."""

    @property
    def verdict(self) -> str:
        """Returns in words whether the process fits within the budget, and the host memory, where it does not."""
        says = "fits" if self.fits else "does not fit"
        on_gpu = f"{says}: {self.process_bytes / GIB:.1f} of {self.budget_bytes / GIB:.1f} GiB"
        if self.host is None or self.host.budget_bytes is None or self.host.fits:
            return on_gpu
        return f"{on_gpu}, {self.host.node_bytes / GIB:.1f} of {self.host.budget_bytes / GIB:.1f} GiB of host memory"


class Shares(Record):
    """Holds what the seconds of a step go to, as shares that add up to 1."""

    compute: float
    """Matrix products and fused attention, without recomputation."""
    memory_bound: float
    """Other operations, without recomputation."""
    recomputation: float
    """Everything that checkpointing computes again; of models that only their own code describes, the products."""
    launch: float
    """The GPU waits for the host, which launches kernels."""
    communication: float
    """The GPU waits for collectives or copies, or computes more slowly while they run."""
    optimizer: float
    """The optimizer step, and the sums of gradients over micro-batches."""


class Time(Record):
    """Holds the predicted time of one optimizer step; fields that answers of older versions lack are None there."""

    step_seconds: float
    tokens_per_second: float
    """Tokens of all ranks per second, without padding where the mean length of samples is known."""
    tokens_per_second_per_gpu: float | None = None
    step_seconds_low: float | None = None
    """Nine of ten measured steps are between this and `step_seconds_high`."""
    step_seconds_high: float | None = None
    model_flops_utilization: float | None = None
    """FLOPs of the model's products and attention, without recomputation, over the GPU's peak in the dtype of the
    precision's products; causal attention counts half of its scores."""
    shares: Shares | None = None


class Run(Record):
    """Holds what a run over the samples asked for takes with a plan."""

    steps: Total
    """Optimizer steps, the last one of which may have fewer samples."""
    seconds: float
    """Seconds of its samples at the speed of a full step."""
    usd: float | None = None
    """US dollars for all GPUs; None where their price is not known."""


class Plan(Record):
    """Holds one configuration with its memory and time; `memory.fits` says whether it fits."""

    strategy: StrategyChoice
    micro_batch_size: Total
    """Sequences per rank and forward pass."""
    gradient_accumulation_steps: Total
    """Micro-batches per optimizer step."""
    data_parallel_size: Total
    """Number of ranks, one on each GPU."""
    global_batch_size: Total
    """Sequences of all ranks per optimizer step, the effective batch: the product of the three."""
    memory: Memory
    time: Time
    usd_per_million_tokens: float | None = None
    """Price of all GPUs for a million tokens, in US dollars; None where their price is not known."""
    run: Run | None = None
    """What a run takes; None if none is asked for."""
    risks: tuple[str, ...] = ()
    """What its choices put at risk of the quality of the training, which neither memory nor time shows."""

    @property
    def what(self) -> tuple[object, ...]:
        """Returns what tells it from other plans of the same request: its choices, micro-batch and steps."""
        return *dict(self.strategy).values(), self.micro_batch_size, self.gradient_accumulation_steps
