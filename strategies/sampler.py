"""How strategies are sampled where a space is too large to enumerate."""

from __future__ import annotations

from typing import NamedTuple

from strategies.axis import Choice


class SamplerFacts(NamedTuple):
    """`is_multi_objective`: looks for the front of batch, speed and headroom, not for one best plan; `extra`: the
    optional dependencies that it needs."""

    is_multi_objective: bool = False
    extra: str | None = None


class Sampler(Choice):
    """Samplers of optuna by name."""

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
    EXHAUSTIVE = "exhaustive", "every strategy, exactly"
    OPTUNA = "optuna", "trials of an optuna sampler, for spaces too large to enumerate"
