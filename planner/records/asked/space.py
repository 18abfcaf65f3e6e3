"""Defines search spaces as data: the values to search of each option, given in Python or in a YAML file."""

from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any, Self

from pydantic import model_validator

from hardware import PlannerError
from hardware.document import MAX_PROBLEMS, Document, Location
from hardware.errors import FileError, shown
from hardware.reading import read_document
from planner.records.asked.arguments import near_arguments
from planner.records.asked.axes import RequestError, parse_axes, parse_option, without_aliases
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
)

VERSION_KEY = "schema_version"
"""Key of a space's file that is no option and is ignored."""
MOST_TOLD = 200
"""Values of the longest list for which an error says which of them are wrong."""


class SpaceFileError(FileError):
    """Reports all problems of a search space's file that cannot be used."""

    subject = "the search space"
    way_out = "planner space show --gpu T4 lists the options and their values"


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
        document = read_document(path, SpaceFileError)
        space = _parsed(document)
        document.raise_problems()
        return cls(**space)

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


def _parsed(document: Document) -> dict[str, tuple[Any, ...]]:
    """Returns the values of every option in a file; what cannot be parsed becomes a problem of the document."""
    data = document.data if document.data is not None else {}
    if not isinstance(data, Mapping):
        document.add_problem((), f"must be a mapping of options to their values, not {shown(data)}")
        return {}
    space: dict[str, tuple[Any, ...]] = {}
    said = {key.replace("-", "_"): value for key, value in data.items()}
    try:
        meant = without_aliases(said)
    except PlannerError as error:
        document.add_problem(("sharding",), f"{error.message}; {error.hint}")
        return {}
    for key, value in {**data, **{name: value for name, value in meant.items() if said.get(name) is not value}}.items():
        name = key.replace("-", "_")
        if name == VERSION_KEY:
            continue
        if name not in OPTIONS:
            near = near_arguments(name, OPTIONS)
            document.add_problem((key,), f"unknown option; {f'did you mean {near[0]}?' if near else _known()}")
        elif name in space:
            document.add_problem((key,), f"{name} is given twice")
        elif value is None:
            document.add_problem((key,), "has no values")
        else:
            space[name] = _values(document, key, name, value)
    return space


def _values(document: Document, key: str, name: str, value: Any) -> tuple[Any, ...]:
    """Returns the values of an option; an invalid value of a list becomes a problem at its own place in the file."""
    try:
        return parse_option(OPTIONS[name], value)
    except PlannerError:
        listed = value if isinstance(value, list) and len(value) <= MOST_TOLD else []
        items: dict[Location, Any] = {(key, i): item for i, item in enumerate(listed)}
        found = ((place, message) for place, item in items.items() if (message := _problem(name, item)))
        wrong = dict(islice(found, MAX_PROBLEMS))
        for place, message in (wrong or {(key,): str(_problem(name, value))}).items():
            document.add_problem(place, message)
        return ()


def _problem(name: str, value: Any) -> str | None:
    """Returns what is wrong with a value of an option, or None."""
    try:
        parse_option(OPTIONS[name], value)
    except PlannerError as error:
        return f"{error.message}; {error.hint}"
    return None


def _known() -> str:
    return f"one of {', '.join(OPTIONS)}"
