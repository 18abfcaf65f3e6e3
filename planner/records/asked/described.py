"""Describes what is searched on a cluster: the options, their values, and how many strategies these make."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple

from hardware import Cluster
from planner.records.asked.axes import parse_axes
from planner.records.asked.space import SearchSpace, SpaceSource, framework_of, given_by
from strategies import AXES, Option, Space


class Described(NamedTuple):
    """Describes what is searched on a cluster, and how many strategies that makes."""

    cluster: Cluster
    given: SearchSpace
    """Values that the caller gave, which replace the default ones."""
    space: Space
    """Values of all options, given or default."""
    num_strategies: int
    """Number of strategies that can run on the cluster."""
    rejected: Counter[str]
    """Number of strategies that cannot, by reason."""

    def options(self) -> list[Option]:
        """Returns the options that apply: those of all axes, and those that refine the choices that are searched."""
        return [
            option
            for axis in AXES.values()
            for option in axis.options
            if option.can_refine({name: self._searched(name) for name in option.owners()})
        ]

    def _searched(self, option: str) -> set[Any]:
        """Returns the values of an option that are searched with any method of fine-tuning."""
        return {value for values in self.values(option).values() for value in values}

    def values(self, option: str) -> dict[str, tuple[Any, ...]]:
        """Returns the values of an option that are searched, as `Space.searched` does."""
        return self.space.searched(option, self.cluster.gpu)


def described(source: SpaceSource, cluster: Cluster, axes: Mapping[str, Any]) -> Described:
    """Describes the space that a source and a caller's options make on a cluster.

    Args:
        source: A space, or the path of its file.
        cluster: The cluster, which decides the default values.
        axes: What the caller says about options; these values replace those of the source.

    Raises:
        PlannerError: The file holds no space, or an option or value is unknown.
    """
    given = SearchSpace(**{**given_by(source), **parse_axes(axes)})
    space = given.within(Space.default(cluster, framework_of(given.given())))
    num_strategies, rejected = space.counted(cluster)
    return Described(cluster, given, space, num_strategies, rejected)
