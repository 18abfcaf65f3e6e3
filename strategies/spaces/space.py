"""Defines the set of strategies to search: some choices per axis, and their product."""

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import product
from math import prod
from typing import Any, NamedTuple

from hardware import GPU, Cluster
from strategies.allocator import Allocator
from strategies.attention import Attention
from strategies.checkpointing import Checkpointing
from strategies.finetuning.methods import (
    ALL_LINEAR,
    DEFAULT_LORA_RANK,
    DEFAULT_TRAINED_BLOCKS,
    AdapterDtype,
    Finetuning,
    LoraTargets,
    LoraVariant,
    TrainedModules,
)
from strategies.finetuning.quantization import ExpertQuantization, Quantization, UnquantizedDtype
from strategies.framework import Framework
from strategies.kernels import Kernels
from strategies.loss import Loss
from strategies.optimizer import DEFAULT_OPTIMIZER_RANK, Optimizer
from strategies.precision import Precision
from strategies.rules import exclusion, usual_allocator
from strategies.sharding import (
    ALL_RANKS,
    DataParallel,
    Fsdp2,
    GradientBuckets,
    GradientSync,
    Offload,
    OverlapComm,
    Sharding,
    ShardingBackend,
    Wrapping,
    indivisible,
)
from strategies.sharding.deepspeed import AUTO
from strategies.spaces.chain import Chain
from strategies.spaces.counting import outcomes
from strategies.spaces.usual import (
    dividing,
    usual_shardings,
    usual_values,
)
from strategies.strategy import AXES, OPTIONS, Strategy
from strategies.update import Update

_LED = ("precision", "optimizer", "finetuning", "checkpointing")
"""First axes of a strategy: fine-tuning, and those whose default choices depend on its method or on a framework."""

_DIVIDED = "sharding"
"""Axis whose values a cluster can exclude regardless of all other choices."""


class Space(NamedTuple):
    """Holds the values of every option that are searched.

    The defaults are what practitioners run. All else must be asked for by name: plain SGD, which does not train
    transformers well; eager attention and the foreach step, which only cost memory; kernels of other libraries.
    """

    precision: tuple[Precision, ...] = ()
    """Precisions; if empty, `usual_precisions` of the GPU for each method."""
    optimizer: tuple[Optimizer, ...] = ()
    """Optimizers; if empty, `USUAL_OPTIMIZERS` of each method."""
    optimizer_rank: tuple[int, ...] = (DEFAULT_OPTIMIZER_RANK,)
    finetuning: tuple[Finetuning, ...] = (Finetuning.FULL, Finetuning.LORA, Finetuning.QLORA)
    """Methods; the default leaves out those that train less than LoRA does at its quality."""
    lora_rank: tuple[int, ...] = (DEFAULT_LORA_RANK,)
    lora_targets: tuple[LoraTargets, ...] = (ALL_LINEAR,)
    quantization: tuple[Quantization, ...] = (Quantization.NF4, Quantization.NF4_DOUBLE)
    """Quantizations; the default leaves out int8, which takes more memory, and GPTQ and AWQ, which need a
    checkpoint that somebody has calibrated."""
    lora_variant: tuple[LoraVariant, ...] = (LoraVariant.LORA,)
    lora_dropout: tuple[float, ...] = (0.0,)
    adapter_dtype: tuple[AdapterDtype, ...] = (AdapterDtype.FP32,)
    """Dtypes of adapters; if empty, `usual_adapter_dtypes` of the framework for each method."""
    trained_modules: tuple[TrainedModules, ...] = (TrainedModules.NONE,)
    unquantized_dtype: tuple[UnquantizedDtype, ...] = (UnquantizedDtype.FP32, UnquantizedDtype.BF16)
    """Both that trainers leave; on a GPU without bf16, fp16 instead. If empty, `usual_unquantized_dtypes`."""
    expert_quantization: tuple[ExpertQuantization, ...] = (ExpertQuantization.NONE,)
    trained_blocks: tuple[int, ...] = (DEFAULT_TRAINED_BLOCKS,)
    checkpointing: tuple[Checkpointing, ...] = (Checkpointing.NONE, Checkpointing.FULL)
    """Checkpointing; if empty, none and that of the framework."""
    checkpoint_every: tuple[int, ...] = (1,)
    sharding: tuple[Sharding, ...] = (Sharding.NO_SHARD, Sharding.SHARD_GRAD_OP, Sharding.FULL_SHARD)
    sharding_backend: tuple[ShardingBackend, ...] = (ShardingBackend.FSDP2,)
    gradient_buckets: tuple[GradientBuckets, ...] = (GradientBuckets.COPIES,)
    reshard_size: tuple[int, ...] = (ALL_RANKS,)
    shard_size: tuple[int, ...] = (ALL_RANKS,)
    offload: tuple[Offload, ...] = (Offload.NONE,)
    gradient_sync: tuple[GradientSync, ...] = (GradientSync.LAST, GradientSync.EACH)
    """Both; they differ where gradients accumulate."""
    wrapping: tuple[Wrapping, ...] = (Wrapping.TODAY,)
    reduce_bucket: tuple[int, ...] = (AUTO,)
    overlap_comm: tuple[OverlapComm, ...] = (OverlapComm.AUTO,)
    prefetch_bucket: tuple[int, ...] = (AUTO,)
    persistence_threshold: tuple[int, ...] = (AUTO,)
    max_live_parameters: tuple[int, ...] = (AUTO,)
    max_reuse_distance: tuple[int, ...] = (AUTO,)
    sub_group_size: tuple[int, ...] = (AUTO,)
    attention: tuple[Attention, ...] = (Attention.SDPA,)
    loss: tuple[Loss, ...] = (Loss.FULL,)
    kernels: tuple[Kernels, ...] = (Kernels.EAGER,)
    framework: tuple[Framework, ...] = (Framework.TRANSFORMERS,)
    allocator: tuple[Allocator, ...] = (Allocator.NATIVE,)
    update: tuple[Update, ...] = (Update.AFTER_BACKWARD,)

    @classmethod
    def default(cls, cluster: Cluster, framework: Framework = Framework.TRANSFORMERS) -> "Space":
        """Returns the space that makes sense on a cluster, with the defaults of a framework.

        Sharding is for several GPUs only, and the allocator is the one without fragmentation if the GPU supports it. An
        option with a single value gets that of the framework; one with several keeps them, unless the framework has but
        one.
        """
        half = UnquantizedDtype.BF16 if cluster.gpu.supports_bf16 else UnquantizedDtype.FP16
        space = cls(
            unquantized_dtype=(UnquantizedDtype.FP32, half),
            sharding=usual_shardings(cluster),
            shard_size=(cluster.gpus_per_node,),
            allocator=(usual_allocator(cluster.gpu),),
        )
        if framework is Framework.TRANSFORMERS:
            return space
        facts = framework.facts
        alone = {name: (v,) for name, v in facts.options.items() if name in facts.fixed or len(space._of(name)) == 1}
        return space._replace(framework=(framework,), adapter_dtype=(), unquantized_dtype=(), checkpointing=(), **alone)

    @property
    def least(self) -> "Space":
        """Returns the space with only the smallest value of every monotone option: one strategy per chain."""
        growing = [option.name for option in OPTIONS.values() if option.monotone]
        return self._replace(**{name: (min(self._of(name)),) for name in growing})

    def strategies(self, gpu: GPU) -> Iterator[Strategy]:
        """Yields every combination; the GPU decides the default precisions."""
        return self._combined(gpu, tuple(AXES[_DIVIDED].combinations(self._of)))

    def _combined(self, gpu: GPU, shardings: Sequence[DataParallel]) -> Iterator[Strategy]:
        others = [
            shardings if name == _DIVIDED else tuple(axis.combinations(self._of))
            for name, axis in AXES.items()
            if name not in _LED
        ]
        for space in self._by_method(gpu):
            precisions, optimizers, methods, checkpoints = (tuple(AXES[name].combinations(space._of)) for name in _LED)
            for method in methods:
                for choices in product(precisions, optimizers, (method,), checkpoints, *others):
                    yield Strategy(*choices)

    def _by_method(self, gpu: GPU) -> "Iterator[Space]":
        """Yields the space of each method of fine-tuning, with default choices where none are given."""
        for method in self.finetuning:
            usual = self._usual(gpu, method)
            open_ones = {name: values for name, values in usual.items() if not self._of(name)}
            yield self._replace(finetuning=(method,), **open_ones)

    def _usual(self, gpu: GPU, method: Finetuning) -> dict[str, tuple[Any, ...]]:
        """Returns the values of those options whose usual ones depend on the method, by the option's name."""
        backends = dividing(self.sharding, self.sharding_backend)
        return usual_values(gpu, method, self.framework[0], self.precision, self.quantization, backends)

    def _chains(self, gpu: GPU, shardings: Sequence[DataParallel]) -> Iterator[Chain]:
        """Yields the strategies, grouped by those that differ in a monotone option only."""
        alike: dict[Any, tuple[Any, ...]] = {}
        for strategy in self.least._combined(gpu, shardings):
            method = strategy.finetuning
            if method not in alike:
                alike[method] = self._grown("finetuning", method)
            yield Chain(strategy, "finetuning", alike[method])

    def _grown(self, name: str, value: Any) -> tuple[Any, ...]:
        """Returns the values that differ from `value` only in its monotone refinement, smallest first."""
        axis = AXES[name]
        said = axis.to_options(value)
        option = axis.growing(said[name])
        if option is None:
            return (value,)
        return tuple(axis.value({**said, option.name: number}) for number in sorted(self._of(option.name)))

    def searched(self, option: str, gpu: GPU) -> dict[str, tuple[Any, ...]]:
        """Returns the values of an option that are searched.

        Returns:
            The values under the key "", or by fine-tuning method if none are given and the defaults depend on it.
        """
        if values := self._of(option):
            return {"": values}
        return {str(method): self._usual(gpu, method)[option] for method in self.finetuning}

    def _of(self, option: str) -> tuple[Any, ...]:
        values: tuple[Any, ...] = getattr(self, option)
        return values

    def valid(self, cluster: Cluster) -> tuple[list[Chain], Counter[str]]:
        """Returns the strategies that can run on the cluster, as chains, and counts the others by reason."""
        found: list[Chain] = []
        shardings, rejected = self._divided(cluster)
        for chain in self._chains(cluster.gpu, shardings):
            reason = exclusion(chain.least, cluster)
            if reason is None:
                found.append(chain)
            else:
                rejected[reason] += chain.length
        return found, rejected

    def counted(self, cluster: Cluster) -> tuple[int, Counter[str]]:
        """Counts the strategies that can run, and the others by reason, without making each of them."""
        running = 0
        shardings, rejected = self._divided(cluster)
        for space in self._by_method(cluster.gpu):
            for reason, number in outcomes(space._of, {_DIVIDED: shardings}, cluster).items():
                if reason is None:
                    running += number
                else:
                    rejected[reason] += number
        return running, rejected

    def divisible(self, cluster: Cluster) -> "Space":
        """Returns the space without shard sizes that cannot divide the cluster; if none can, the sizes are kept."""
        ranks = cluster.world_size
        resharded = tuple(n for n in self.reshard_size if indivisible(Fsdp2(reshard_size=n), ranks) is None)
        hybrid = Fsdp2(Sharding.HYBRID_SHARD)
        sharded = tuple(n for n in self.shard_size if indivisible(hybrid._replace(shard_size=n), ranks) is None)
        return self._replace(reshard_size=resharded or self.reshard_size, shard_size=sharded or self.shard_size)

    def num_divisible(self, cluster: Cluster) -> int:
        """Returns how many strategies have a sharding that can divide the cluster."""
        return len(self._divided(cluster)[0]) * self._num_others(cluster.gpu)

    def _divided(self, cluster: Cluster) -> tuple[list[DataParallel], Counter[str]]:
        """Returns the shardings that can divide the cluster, and the number of strategies with others, by reason.

        Most sizes of a long range cannot divide it, so they are dropped before anything is combined.
        """
        possible: list[DataParallel] = []
        dropped: Counter[str] = Counter()
        for sharding in AXES[_DIVIDED].combinations(self._of):
            if reason := indivisible(sharding, cluster.world_size):
                dropped[reason] += 1
            else:
                possible.append(sharding)
        others = self._num_others(cluster.gpu)
        return possible, Counter({reason: number * others for reason, number in dropped.items()})

    def _num_others(self, gpu: GPU) -> int:
        """Returns how many strategies there are with any one sharding."""
        names = [name for name in AXES if name != _DIVIDED]
        return sum(prod(map(space._num_values, names)) for space in self._by_method(gpu))

    def _num_values(self, axis: str) -> int:
        refined = (AXES[axis].refining(choice) for choice in self._of(axis))
        return sum(prod(len(self._of(option.name)) for option in options) for options in refined)
