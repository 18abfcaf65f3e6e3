"""Defines search spaces as data: the values to search of each option, given in Python or in a YAML file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import model_validator

from hardware.errors import shown
from planner.records.asked.axes import RequestError, parse_axes
from planner.records.plan import Count, Elements, Ranks, Record, Share
from strategies import (
    OPTIONS,
    AdapterDtype,
    Allocator,
    Attention,
    Checkpointing,
    ContradictionError,
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
    Space,
    TrainedModules,
    UnquantizedDtype,
    Update,
    Wrapping,
)


class SearchSpace(Record):
    """Holds the values to search of each option; options that are left out are searched over their usual values.

    Each option takes one value, a list of values, `all` for every choice of an axis, or a range of whole numbers such
    as `"4..64"`, `"4..64 step 4"` or `"4..64 times 2"`, with both ends.
    """

    precision: tuple[Precision, ...] = ()
    optimizer: tuple[Optimizer, ...] = ()
    optimizer_rank: tuple[Count, ...] = ()
    finetuning: tuple[Finetuning, ...] = ()
    lora_rank: tuple[Count, ...] = ()
    lora_targets: tuple[LoraTargets, ...] = ()
    quantization: tuple[Quantization, ...] = ()
    lora_variant: tuple[LoraVariant, ...] = ()
    lora_dropout: tuple[Share, ...] = ()
    adapter_dtype: tuple[AdapterDtype, ...] = ()
    trained_modules: tuple[TrainedModules, ...] = ()
    unquantized_dtype: tuple[UnquantizedDtype, ...] = ()
    expert_quantization: tuple[ExpertQuantization, ...] = ()
    trained_blocks: tuple[Count, ...] = ()
    checkpointing: tuple[Checkpointing, ...] = ()
    checkpoint_every: tuple[Count, ...] = ()
    sharding: tuple[Sharding, ...] = ()
    sharding_backend: tuple[ShardingBackend, ...] = ()
    gradient_buckets: tuple[GradientBuckets, ...] = ()
    reshard_size: tuple[Ranks, ...] = ()
    shard_size: tuple[Ranks, ...] = ()
    offload: tuple[Offload, ...] = ()
    gradient_sync: tuple[GradientSync, ...] = ()
    wrapping: tuple[Wrapping, ...] = ()
    reduce_bucket: tuple[Elements, ...] = ()
    overlap_comm: tuple[OverlapComm, ...] = ()
    prefetch_bucket: tuple[Elements, ...] = ()
    persistence_threshold: tuple[Elements, ...] = ()
    max_live_parameters: tuple[Elements, ...] = ()
    max_reuse_distance: tuple[Elements, ...] = ()
    sub_group_size: tuple[Elements, ...] = ()
    attention: tuple[Attention, ...] = ()
    loss: tuple[Loss, ...] = ()
    kernels: tuple[Kernels, ...] = ()
    framework: tuple[Framework, ...] = ()
    allocator: tuple[Allocator, ...] = ()
    update: tuple[Update, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _parsed(cls, given: Any) -> Any:
        if not isinstance(given, Mapping):
            return given
        said = {name: value for name, value in given.items() if name in OPTIONS}
        return {**given, **parse_axes(said)}

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """Returns the space in a YAML file, whose keys are options as the command line or Python spells them.

        Raises:
            SpaceFileError: The file has problems; the error lists all of them, each with its line.
        """
        from planner.records.asked.space_file import read_space  # what reads YAML is imported for files alone

        return cls(**read_space(path))

    def given(self) -> dict[str, tuple[Any, ...]]:
        """Returns the values of the options that have any, by name."""
        return {name: values for name in OPTIONS if (values := getattr(self, name))}

    def within(self, default: Space) -> Space:
        """Returns the space of strategies, with the values of `default` for options that have none here."""
        return default._replace(**self.given())


SpaceSource = SearchSpace | str | Path | None
"""Search space, or path of the YAML file that holds it."""


def given_by(source: SpaceSource) -> dict[str, tuple[Any, ...]]:
    """Returns the values that a space, or the file that holds one, has for options.

    Raises:
        RequestError: The source is neither a space nor a path.
        SpaceFileError: The file has problems.
    """
    if source is None:
        return {}
    if not isinstance(source, SearchSpace | str | Path):
        raise RequestError(f"space is {shown(source)}, not a SearchSpace or the path of a file", "space='space.yaml'")
    return (source if isinstance(source, SearchSpace) else SearchSpace.read(source)).given()


def framework_of(given: Mapping[str, tuple[Any, ...]]) -> Framework:
    """Returns the framework whose defaults hold.

    Args:
        given: Values of the options that have any, by name.

    Raises:
        ContradictionError: There are several, which have different defaults.
    """
    several = given.get("framework") or (Framework.TRANSFORMERS,)
    if len(several) > 1:
        raise ContradictionError(
            f"framework={','.join(map(str, several))}, but each has defaults of its own for other options",
            f"--framework {several[0]}, then the next one",
        )
    framework: Framework = several[0]
    return framework
