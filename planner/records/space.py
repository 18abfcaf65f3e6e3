"""Search spaces as data: what to search of each option, in Python or in a YAML file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, Self

from pydantic import model_validator

from hardware import Cluster, PlannerError
from hardware.errors import FileError, nearest_names, shown
from hardware.reading import MAX_PROBLEMS, Document, Location, read_document
from planner.records.axes import RequestError, parse_axes, parse_option
from planner.records.plan import Count, Ranks, Record, Share
from strategies import (
    AXES,
    OPTIONS,
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
    Option,
    Precision,
    Quantization,
    Sharding,
    Space,
    TrainedModules,
    Update,
)

VERSION_KEY = "schema_version"
MOST_TOLD = 200
"""Of a longer list it is not said which of its values are wrong."""


class SpaceFileError(FileError):
    """A file of a search space that cannot be used."""

    subject = "the search space"
    way_out = "planner space show --gpu T4 lists the options and their values"


class SearchSpace(Record):
    """What to search of each option; those that are left out are searched over their usual values.

    Each takes one value, a list of values, `all` choices of an axis, or a range of whole numbers such as `4..64`,
    `4..64 step 4` or `4..64 times 2`.
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
    trained_blocks: tuple[Count, ...] = ()
    checkpointing: tuple[Checkpointing, ...] = ()
    checkpoint_every: tuple[Count, ...] = ()
    sharding: tuple[Sharding, ...] = ()
    gradient_buckets: tuple[GradientBuckets, ...] = ()
    reshard_size: tuple[Ranks, ...] = ()
    shard_size: tuple[Ranks, ...] = ()
    offload: tuple[Offload, ...] = ()
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
        """The space in a YAML file, whose keys are options as they are spelled on the command line or in Python.

        Raises SpaceFileError with all problems of the file, each with its line.
        """
        document = read_document(path, SpaceFileError)
        space = _parsed(document)
        document.raise_problems()
        return cls(**space)

    def given(self) -> dict[str, tuple[Any, ...]]:
        """The options that it says something about."""
        return {name: values for name in OPTIONS if (values := getattr(self, name))}

    def within(self, default: Space) -> Space:
        """The choices of each option, those of `default` where this says nothing."""
        return default._replace(**self.given())


SpaceSource = SearchSpace | str | Path | None


def given_by(source: SpaceSource) -> dict[str, tuple[Any, ...]]:
    """What a space, or the file that holds one, says about options."""
    if source is None:
        return {}
    if not isinstance(source, SearchSpace | str | Path):
        raise RequestError(f"space is {shown(source)}, not a SearchSpace or the path of a file", "space='space.yaml'")
    return (source if isinstance(source, SearchSpace) else SearchSpace.read(source)).given()


def _parsed(document: Document) -> dict[str, tuple[Any, ...]]:
    """Every option of a file; what cannot be parsed becomes a problem of the document."""
    data = document.data if document.data is not None else {}
    if not isinstance(data, Mapping):
        document.add_problem((), f"must be a mapping of options to their values, not {shown(data)}")
        return {}
    space: dict[str, tuple[Any, ...]] = {}
    for key, value in data.items():
        name = key.replace("-", "_")
        if name == VERSION_KEY:
            continue
        if name not in OPTIONS:
            near = nearest_names(name, OPTIONS)
            document.add_problem((key,), f"unknown option; {f'did you mean {near[0]}?' if near else _known()}")
        elif name in space:
            document.add_problem((key,), f"{name} is given twice")
        elif value is None:
            document.add_problem((key,), "has no values")
        else:
            space[name] = _values(document, key, name, value)
    return space


def _values(document: Document, key: str, name: str, value: Any) -> tuple[Any, ...]:
    """An option's values, each of a list at a place of its own."""
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
    try:
        parse_option(OPTIONS[name], value)
    except PlannerError as error:
        return f"{error.message}; {error.hint}"
    return None


def _known() -> str:
    return f"one of {', '.join(OPTIONS)}"


class Described(NamedTuple):
    """What is searched on a cluster, and how many strategies that makes."""

    cluster: Cluster
    given: SearchSpace
    """What was said, which overrides the defaults."""
    space: Space
    num_strategies: int
    """That can run there."""
    rejected: Counter[str]

    def options(self) -> list[Option]:
        """Those that mean something here: choices, and what refines those that are searched."""
        return [
            option
            for axis in AXES.values()
            for option in axis.options
            if option is axis.choices or any(map(option.refines, self._searched(axis.name)))
        ]

    def _searched(self, option: str) -> set[Any]:
        return {value for values in self.values(option).values() for value in values}

    def values(self, option: str) -> dict[str, tuple[Any, ...]]:
        """What is searched of an option: see `Space.searched`."""
        return self.space.searched(option, self.cluster.gpu)


def described(source: SpaceSource, cluster: Cluster, axes: Mapping[str, Any]) -> Described:
    """The space that a source and `axes`, which come before it, make on a cluster.

    Raises PlannerError: a file that is no space, an unknown option or value.
    """
    given = SearchSpace(**{**given_by(source), **parse_axes(axes)})
    space = given.within(Space.default(cluster))
    num_strategies, rejected = space.counted(cluster)
    return Described(cluster, given, space, num_strategies, rejected)
