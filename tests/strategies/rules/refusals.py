"""Asks the rules of strategies: the reason of a refusal, and the GPUs of the catalog that run something."""

from __future__ import annotations

from typing import Any

from hardware import Cluster, load_catalog
from strategies import (
    PLAIN,
    Optimizer,
    Precision,
    Strategy,
    violation,
)

CATALOG = load_catalog()
BF16 = PLAIN._replace(precision=Precision.BF16_MIXED, optimizer=Optimizer.ADAMW)


def on(gpu: str, gpus: int = 1) -> Cluster:
    return Cluster(CATALOG.get(gpu), gpus)


A100, TWO_A100S = on("A100-80GB-SXM"), on("A100-80GB-SXM", 2)


def refused(strategy: Strategy, cluster: Cluster = A100) -> str:
    """The reason, or nothing."""
    return violation(strategy, cluster) or ""


def gpus_that_run(**choices: Any) -> set[str]:
    """Names of the catalog's GPUs, each alone."""
    strategy = PLAIN._replace(**choices)
    return {gpu.name for gpu in CATALOG.gpus if violation(strategy, Cluster(gpu)) is None}


def of_generation(*prefixes: str) -> set[str]:
    """Those of a compute capability that begins so."""
    return {gpu.name for gpu in CATALOG.gpus if gpu.compute_capability.startswith(prefixes)}


NVIDIA = {gpu.name for gpu in CATALOG.gpus if gpu.vendor == "nvidia"}
AMD = {gpu.name for gpu in CATALOG.gpus if gpu.vendor == "amd"}
GAUDI = {gpu.name for gpu in CATALOG.gpus if gpu.vendor == "intel"}
EVERY = NVIDIA | AMD | GAUDI
BEFORE_AMPERE = of_generation("6.", "7.")
