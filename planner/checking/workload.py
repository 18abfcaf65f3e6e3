"""Plans what a run trains on a GPU, with each number of them and each length where the files leave these open."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple, Self

from hardware import GPU
from hardware.errors import PlannerError
from planner.api import estimate
from planner.api.itemizing import itemize
from planner.checking.asked import PER_NODE, arguments_of, counts_of, lengths_of, on_cluster
from planner.checking.changes.trials import Cluster
from planner.models import Foreign, Model
from planner.readers.run import Run
from planner.records.asked.request import left_free
from planner.records.result import EstimateResult

Count = tuple[int, int]
"""GPUs per node, and nodes."""


class Workload(NamedTuple):
    """Holds what a run asks of GPUs, and what of that its files leave open."""

    run: Run
    model: Model | Foreign
    fixed: Mapping[str, Any]
    """Arguments of `estimate` that no file says: the model, the catalog and the headroom."""
    arguments: Mapping[str, Any]
    """All arguments but the GPUs."""
    lengths: Sequence[int]
    """Tokens per sequence that come into question, the usual ones first."""
    counts: Sequence[Count]
    """Numbers of GPUs that come into question."""

    @classmethod
    def of(
        cls,
        run: Run,
        model: Model | Foreign,
        gpus: int | None,
        nodes: int | None,
        notes: list[str],
        **fixed: Any,
    ) -> Self:
        """Returns what a run asks.

        Args:
            run: The files.
            model: The model that they name.
            gpus: GPUs per node, where the user says so.
            nodes: Nodes, where the user says so.
            notes: Notes about what is open, or taken for something else, are added here.
            fixed: The other arguments of `estimate` that no file says.

        Raises:
            ContradictionError: The files make no run.
        """
        lengths = lengths_of(run.reading, model)
        fixed = {"model": model, **fixed}
        arguments = {**arguments_of(run.reading, run, notes, lengths[0]), **fixed}
        counts = counts_of(run.reading, gpus, nodes)
        if len(counts) > 1:
            notes.append("the files do not say how many GPUs there are: --gpus N does")
        if len(lengths) > 1:
            notes.append(f"the files do not say how long sequences are: {lengths[0]:,} tokens are planned")
        return cls(run, model, fixed, arguments, lengths, counts)

    @property
    def usual_count(self) -> Count:
        """Returns a node of GPUs where several are needed and nothing says how many; else the least of them."""
        return (PER_NODE, 1) if self.counts[0][0] > 1 and len(self.counts) > 1 else self.counts[0]

    @property
    def length(self) -> int:
        """Returns the tokens per sample: those of the files, or the usual ones."""
        return self.run.reading.value("sequence_length") or self.lengths[0]

    def cluster(self, gpu: GPU, gpus: int, nodes: int) -> Cluster:
        """Returns on what changes of the run are tried, each of which leaves some room."""
        fixed = {**self.fixed, "headroom": left_free(self.fixed["headroom"])}
        return Cluster(gpu, gpus, nodes, fixed, self.lengths[0])

    def on(self, gpu: GPU, count: Count, **otherwise: Any) -> EstimateResult:
        """Returns the plan on so many GPUs, with some arguments otherwise; without ways out, which take long."""
        return itemize(**on_cluster({**self.arguments, **otherwise}, gpu, *count))

    def on_each_count(self, gpu: GPU) -> list[EstimateResult]:
        """Returns the plans on those numbers of GPUs on which it can run: an update in backward takes a single one.

        Raises:
            PlannerError: There are none; it is the first reason.
        """
        plans, errors = [], []
        for count in self.counts:
            try:
                plans.append(self.on(gpu, count))
            except PlannerError as error:
                errors.append(error)
        if not plans:
            raise errors[0]
        return plans

    def of_other_lengths(self, gpu: GPU, count: Count) -> Iterator[tuple[int, EstimateResult]]:
        """Yields each length that comes into question, with its plan; nothing where the files say the length."""
        for length in sorted(self.lengths) if len(self.lengths) > 1 else ():
            other = self._replace(arguments={**arguments_of(self.run.reading, self.run, [], length), **self.fixed})
            with suppress(PlannerError):
                yield length, other.on(gpu, count)

    def with_ways_out(self, gpu: GPU, count: Count) -> EstimateResult:
        """Returns the plan on so many GPUs, with what would make it fit."""
        return estimate(**on_cluster(self.arguments, gpu, *count))
