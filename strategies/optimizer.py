"""Defines the axis of optimizers: what each keeps per parameter, and what kind of step it runs."""

from collections.abc import Mapping
from typing import NamedTuple, get_args

from strategies.axis import Axis, Option, Values, WholeNumbers
from strategies.choice import Choice

# --- the kinds of facts; `planner.memory.sharding.optimizers` has a rule for each ---


class Whole(NamedTuple):
    """Keeps states that have the shape of their tensor.

    Attributes:
        states: Number of states per tensor.
        itemsize: Bytes per element of the states; None for the tensor's own dtype.
        foreach_copies: Number of copies of all tensors, in the states' dtype, that exist during the step.
        counts_on_gpu: Whether the step counter of each tensor is on the GPU, in addition to its states.
        takes_shards: Whether the step runs on parameters that FSDP2 has sharded.
    """

    states: int = 0
    itemsize: int | None = None
    foreach_copies: int = 0
    counts_on_gpu: bool = False
    takes_shards: bool = True


class Blockwise(NamedTuple):
    """Keeps the states of bitsandbytes' optimizers.

    Attributes:
        states: Number of states per tensor.
        bits: Bits per element of the states: 8, or 32 for fp32.
        paged: Whether large states are in managed memory.
    """

    states: int
    bits: int = 8
    paged: bool = False


class Packed(NamedTuple):
    """Keeps torchao's states of `bits` bits per element, which a compiled step dequantizes and quantizes again."""

    states: int
    bits: int


class Factored(NamedTuple):
    """Keeps fp32 sums over rows and over columns in place of a whole state (Adafactor)."""


class Offloaded(NamedTuple):
    """Keeps states on the host; tensors with fewer than `smallest` elements are stepped by AdamW on the GPU."""

    smallest: int = 4096


class Orthogonalized(NamedTuple):
    """Keeps one state for each matrix in the blocks and orthogonalizes its update (Muon); AdamW steps all else."""


class LowRank(NamedTuple):
    """Keeps AdamW's states of gradients that are projected to a low rank.

    Attributes:
        rank: Number of rows or columns of a projected gradient.
        scales: Whether the states only determine how the whole gradient is scaled, and the projection is random
            (APOLLO). Otherwise the projection is by SVD, and the update is projected back (GaLore).
    """

    rank: int
    scales: bool


class Rowwise(NamedTuple):
    """Keeps one state of the tensor's shape, and one number per row (Adam-mini)."""


Facts = Whole | Blockwise | Packed | Factored | Offloaded | Orthogonalized | LowRank | Rowwise
"""Facts of an optimizer; their type is its kind."""


DEFAULT_OPTIMIZER_RANK = 128
"""Trainer's default for GaLore and APOLLO, in `_get_galore_optimizer` and `_get_apollo_optimizer` of
transformers/trainer_optimizer.py."""


class Optimizer(Choice):
    """Names the optimizers, set up as Trainer sets up those that it knows.

    Weight decay is 0, and Adafactor has no first moment. Sources: torch/optim/adam.py (states are `zeros_like(param)`;
    `fused` keeps `step` on the GPU; foreach keeps it on the CPU and copies one state by
    `torch._foreach_sqrt(exp_avg_sqs)`), adamw.py, _muon.py, sgd.py (foreach with weight decay 0 works in place);
    apex/optimizers/fused_adam.py; bitsandbytes/optim/; torchao/optim/; galore_torch/adamw.py; apollo_torch/apollo.py;
    adam_mini/adam_mini.py; transformers/optimization.py.
    """

    facts: Facts

    ADAMW = "adamw", "torch AdamW, fused (Trainer's adamw_torch_fused)", Whole(2, counts_on_gpu=True)
    ADAMW_FOREACH = (
        "adamw-foreach",
        "torch AdamW, foreach: a copy of one state during the step",
        Whole(2, foreach_copies=1),
    )
    ADAMW_FP32_MASTER = (
        "adamw-fp32-master",
        "apex FusedAdam(master_weights=True): half-precision weights, states and a copy of them in fp32",
        Whole(3, itemsize=4, takes_shards=False),
    )
    ADAMW_8BIT = "adamw-8bit", "bitsandbytes AdamW with blockwise 8-bit states", Blockwise(2)
    PAGED_ADAMW_8BIT = (
        "paged-adamw-8bit",
        "the same, large states in managed memory, which gives way to tensors",
        Blockwise(2, paged=True),
    )
    PAGED_ADAMW_32BIT = (
        "paged-adamw-32bit",
        "bitsandbytes AdamW with fp32 states in managed memory (Trainer's paged_adamw_32bit)",
        Blockwise(2, 32, paged=True),
    )
    ADAMW_8BIT_TORCHAO = "adamw-8bit-torchao", "torchao AdamW8bit: compiled step", Packed(2, 8)
    ADAMW_4BIT = "adamw-4bit", "torchao AdamW4bit: compiled step", Packed(2, 4)
    ADAMW_OFFLOAD = (
        "adamw-offload",
        "torchao CPUOffloadOptimizer with AdamW: states and step on the host",
        Offloaded(),
    )
    ADAFACTOR = "adafactor", "transformers Adafactor: factored second moment", Factored()
    LION = "lion", "bitsandbytes Lion: one fp32 state", Blockwise(1, 32)
    LION_8BIT = "lion-8bit", "bitsandbytes Lion: one blockwise 8-bit state", Blockwise(1)
    MUON = "muon", "torch Muon for the matrices of the blocks, AdamW for all else", Orthogonalized()
    ADAM_MINI = "adam-mini", "Adam-mini: one second moment per row", Rowwise()
    GALORE = (
        "galore",
        "GaLoreAdamW on the linear layers of the blocks, projection by SVD",
        LowRank(DEFAULT_OPTIMIZER_RANK, False),
    )
    APOLLO = (
        "apollo",
        "APOLLOAdamW on the linear layers of the blocks, random projection",
        LowRank(DEFAULT_OPTIMIZER_RANK, True),
    )
    APOLLO_MINI = "apollo-mini", "APOLLOAdamW of rank 1", LowRank(1, True)
    SGD = "sgd", "torch SGD without momentum: no states", Whole()
    SGD_MOMENTUM = "sgd-momentum", "torch SGD with momentum: one state", Whole(1)

    @classmethod
    def open_to(cls) -> tuple[type, ...]:
        """Returns the types of facts with which plug-ins may add optimizers."""
        return get_args(Facts)

    @classmethod
    def spellings(cls) -> Mapping[str, str]:
        """Returns the names of TrainingArguments' `optim` (transformers/training_args.py, `OptimizerNames`)."""
        return {
            "adamw_torch_fused": cls.ADAMW,
            "adamw_torch": cls.ADAMW_FOREACH,
            "adamw_bnb_8bit": cls.ADAMW_8BIT,
            "paged_adamw": cls.PAGED_ADAMW_32BIT,
            "adamw_torch_8bit": cls.ADAMW_8BIT_TORCHAO,
            "adamw_torch_4bit": cls.ADAMW_4BIT,
            "lion_32bit": cls.LION,
            "galore_adamw": cls.GALORE,
            "apollo_adamw": cls.APOLLO,
        }

    @property
    def choice(self) -> "Optimizer":
        """Returns the optimizer itself, so that code can read `choice` of a `Ranked` optimizer and of this one."""
        return self


class Ranked(NamedTuple):
    """Holds a low-rank optimizer and the rank that replaces its default."""

    choice: Optimizer
    rank: int

    @property
    def facts(self) -> Facts:
        """Returns the optimizer's facts with this rank."""
        return LowRank(self.rank, self.choice.facts.scales)  # type: ignore[union-attr]  # only these have a rank

    def __str__(self) -> str:
        return f"{self.choice} rank {self.rank}"


AnyOptimizer = Optimizer | Ranked
"""Value of the optimizer axis in a strategy: a choice, or one with a rank. Both have `choice` and `facts`."""


def _join(values: Values) -> AnyOptimizer:
    choice, rank = values["optimizer"], values.get("optimizer_rank")
    return choice if rank is None or choice not in _RANKED else Ranked(choice, rank)


def _split(optimizer: AnyOptimizer) -> Values:
    if isinstance(optimizer, Ranked):
        return {"optimizer": optimizer.choice, "optimizer_rank": optimizer.rank}
    return {"optimizer": optimizer}


_RANKED = (Optimizer.GALORE, Optimizer.APOLLO)

AXIS = Axis(
    Option("optimizer", Optimizer),
    (
        Option(
            "optimizer_rank",
            WholeNumbers(1, 2**14, DEFAULT_OPTIMIZER_RANK),
            f"Rank of the projected gradients, {DEFAULT_OPTIMIZER_RANK} unless given.",
            "rank {}",
            None,
            _RANKED,
        ),
    ),
    _join,
    _split,
)
