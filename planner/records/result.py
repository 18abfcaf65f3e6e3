"""Defines the answers of `fit` and `estimate` as pydantic models that round-trip through JSON."""

from collections.abc import Callable
from typing import Literal

from planner.records.advice import Shortfall, Way, WhyNot
from planner.records.asked.axes import RequestError
from planner.records.asked.request import Request, fillable
from planner.records.display import Displayed
from planner.records.plan import Plan, Record
from planner.records.verification import SCHEMA_VERSION, Verification
from strategies import Engine, Objective, Sampler


class Searched(Record):
    """Says how much was searched."""

    strategies: int
    """Number of strategies that can run: all of the space with the exhaustive engine, those tried with optuna."""
    feasible: int
    """Number of strategies that fit with at least one sample per GPU."""
    seconds: float
    """Time until the plans to list were decided, with what the allocator's model served of them; without replays."""
    engine: Engine = Engine.EXHAUSTIVE
    sampler: Sampler | None = None
    """Sampler of optuna; None for the exhaustive engine."""
    trials: int | None = None
    """Number of completed trials of the study, including those of earlier runs; None for the exhaustive engine."""


class FitResult(Displayed, Record):
    """Holds the answer of `fit`: ranked plans, or the reasons why nothing fits in `shortfall`."""

    schema_version: Literal[1] = SCHEMA_VERSION
    request: Request
    plans: tuple[Plan, ...]
    """The best plans, best first, as many as `top` of the request to `fit`.

    Left out are those that reduce gradients in every micro-batch and gain nothing by it. Those of the same method,
    precision, optimizer and checkpointing as a better one, of which neither the batch nor the speed is 5% better, are
    among them only where there is room."""
    best_by_method: tuple[Plan, ...]
    """Best plan of each fine-tuning method that fits, whether it is among `plans` or not."""
    usual: tuple[Plan, ...] = ()
    """Fastest plan of each fine-tuning method at a usual effective batch, where the batch is open: 64 sequences, or
    slightly more where the GPUs cannot divide 64. Those with a quantized base come after those without."""
    front: tuple[Plan, ...] = ()
    """All plans that no other one beats in effective batch, speed and memory, over every strategy, micro-batch and
    number of steps, those of the largest batch first; empty unless it was asked for. At the price of one machine, the
    cost of a token goes with the speed."""
    to_run: int | None = None
    """Number of the plan to run, the recommended one, as `--plan` takes it; None where nothing fits."""
    searched: Searched
    rejected: dict[str, int]
    """Number of strategies that cannot run or do not fit, by reason."""
    notes: tuple[str, ...]
    """Notes for users on techniques that are left out, risks and approximations."""
    plan_notes: tuple[str, ...] = ()
    """Those of the notes that are on the recommended plan."""
    shortfall: Shortfall | None = None
    fastest: Plan | None = None
    """Fastest plan that fits, where none is within the deadline and the budget of the run; else None."""
    verification: Verification | None = None
    """Verification of the first plan by a replay; None unless it was requested."""
    step_more: Way | None = None
    """A change that would double the batch, or make the plan to run faster by a third; None where nothing fits or there
    is none, or if it was not asked for."""
    why_not: tuple[WhyNot, ...] = ()
    """Why no plan with the values that were asked about comes first."""

    @property
    def listed(self) -> tuple[Plan, ...]:
        """Returns all plans of the answer, each once, in the order of their numbers, which begin with 1.

        Those of `plans` come first, then those of `usual`, of `best_by_method` and of `front` that are not among them.
        """
        found: dict[tuple[object, ...], Plan] = {}
        for plan in (*self.plans, *self.usual, *self.best_by_method, *self.front):
            found.setdefault(plan.what, plan)
        return tuple(found.values())

    @property
    def recommended(self) -> Plan:
        """Returns the plan to run.

        It is the best one by the objective. Where that is the largest batch, which few runs have a use for, it is the
        fastest one at a usual batch, unless the best one was verified.

        Raises:
            RequestError: Nothing fits.
        """
        if not self.plans:
            raise self._nothing_fits()
        looks_for_batch = self.request.objective in (None, Objective.BATCH)
        if looks_for_batch and self.usual and self.verification is None and self.searched.sampler is None:
            return self.usual[0]
        return self.plans[0]

    def plan(self, number: int | None = None) -> Plan:
        """Returns the plan with a number, from 1; the one to run if none is given.

        Raises:
            RequestError: There is no such plan.
        """
        listed = self.listed
        if not listed:
            raise self._nothing_fits()
        if number is None:
            return self.recommended
        if not 0 < number <= len(listed):
            raise RequestError(f"the answer has {len(listed)} plans, not a plan {number}", f"1 to {len(listed)}")
        return listed[number - 1]

    def _nothing_fits(self) -> RequestError:
        where = f"{self.request.model} on {self.request.where}"
        return RequestError(
            f"nothing fits for {where}: there is no plan", "planner fit says what would, shortfall.ways"
        )

    def numbered(self) -> Callable[[Plan], int]:
        """Returns a function from a plan of the answer to its number, which commands take that take the answer."""
        numbers = {plan.what: number for number, plan in enumerate(self.listed, start=1)}
        return lambda plan: numbers[plan.what]

    def headline(self) -> str:
        """Returns the number of plans and the effective batch of the first one in words."""
        where = f"{self.request.model} on {self.request.where}"
        if not self.plans:
            return f"nothing fits for {where}"
        return f"{len(self.plans)} plans for {where}, effective batch {self.plans[0].global_batch_size}"


class EstimateResult(Displayed, Plan):
    """Holds the answer of `estimate`: one plan, with the request and notes on it."""

    schema_version: Literal[1] = SCHEMA_VERSION
    request: Request
    notes: tuple[str, ...] = ()
    ways: tuple[Way, ...] = ()
    """Smallest sets of changes after which the plan fits, by what they cost the user; empty where it fits."""

    @property
    def is_tight(self) -> bool:
        """Returns whether it fits, but leaves less of the GPU free than a search would, if no headroom is asked for."""
        memory, request = self.memory, self.request
        is_beyond = memory.process_bytes > fillable(request.gpu_memory_bytes, None)
        return memory.fits and request.headroom is None and is_beyond

    def headline(self) -> str:
        """Returns in words whether the plan fits, and how much of the budget it takes."""
        return f"{self.request.model} on {self.request.where} {self.memory.verdict}"
