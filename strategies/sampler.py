"""Names the engines that search a space, and the samplers for spaces that are too large to enumerate."""

from __future__ import annotations

from typing import NamedTuple

from strategies.choice import Choice


class SamplerFacts(NamedTuple):
    """Says what a sampler looks for and needs.

    Attributes:
        is_multi_objective: Whether it looks for the Pareto front of batch, speed and headroom, not for one best plan.
        extra: Extra of the distribution that installs its optional dependencies; None if it has none.
    """

    is_multi_objective: bool = False
    extra: str | None = None


class Sampler(Choice):
    """Names samplers of optuna."""

    facts: SamplerFacts

    TPE = "tpe", "tree-structured Parzen estimator, with what does not fit as a constraint", SamplerFacts()
    NSGA2 = (
        "nsga2",
        "genetic, for the front of effective batch, speed and headroom",
        SamplerFacts(is_multi_objective=True),
    )
    GP = "gp", "Gaussian process", SamplerFacts(extra="gp")
    RANDOM = "random", "independent and uniform", SamplerFacts()
    BRUTE_FORCE = "brute-force", "every combination once", SamplerFacts()


class Engine(Choice):
    """Says how a space is searched."""

    EXHAUSTIVE = "exhaustive", "every strategy, exactly"
    OPTUNA = "optuna", "trials of an optuna sampler, for spaces too large to enumerate"
