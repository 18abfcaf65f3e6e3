"""Chooses the value of every option of a single configuration: what the request says, else a default."""

from __future__ import annotations

from typing import Any, TypeVar

from hardware import Cluster
from planner.records.asked.request import Request
from strategies import (
    AXES,
    Checkpointing,
    ContradictionError,
    Finetuning,
    Framework,
    Optimizer,
    Quantization,
    Sharding,
    Space,
    Task,
    dividing,
    usual_adapter_dtypes,
    usual_checkpointing,
    usual_precisions,
    usual_unquantized_dtypes,
)

C = TypeVar("C")


def options_of_one(request: Request, cluster: Cluster, space: Space, framework: Framework) -> dict[str, Any]:
    """Returns the value of every option of the configuration that a request describes.

    By default fine-tuning is full, several GPUs shard fully (with qlora or pairs of texts not at all), and every other
    option has the first value of the default space. A framework's own defaults come before these.

    Args:
        request: The request.
        cluster: The cluster, which decides on precision and sharding.
        space: The default space of the cluster and the framework.
        framework: The framework.

    Raises:
        ContradictionError: The request has several values for an option.
    """
    own = {name: (value,) for name, value in framework.facts.options.items()}
    finetuning = _one(request, "finetuning", own.pop("finetuning", (Finetuning.FULL,)))
    whole = finetuning is Finetuning.QLORA or request.task is Task.CONTRASTIVE
    shards = cluster.world_size > 1 and not whole
    sharding = _one(request, "sharding", (Sharding.FULL_SHARD if shards else Sharding.NO_SHARD,))
    backends = dividing((sharding,), request.sharding_backend or space.sharding_backend)
    precision = _one(request, "precision", usual_precisions(cluster.gpu, finetuning, framework, backends))
    quantization = request.quantization or own.get("quantization", (Quantization.NF4,))
    if "checkpointing" in own:
        own["checkpointing"] = (usual_checkpointing(framework, backends),)
    default = {
        **space._asdict(),
        "finetuning": (finetuning,),
        "precision": (precision,),
        "optimizer": tuple(Optimizer),
        "adapter_dtype": usual_adapter_dtypes(finetuning, (precision,), framework),
        "unquantized_dtype": usual_unquantized_dtypes((precision,), quantization, framework),
        "sharding": (sharding,),
        "checkpointing": (Checkpointing.NONE,),
        **own,
    }
    values: dict[str, Any] = {}
    for axis in AXES.values():
        for option in axis.options:
            if option.refines(values):
                values[option.name] = _one(request, option.name, default[option.name])
    return values


def _one(request: Request, option: str, default: tuple[C, ...]) -> C:
    """Returns the only value that the request has for an option, or the first default one if it has none."""
    given: tuple[C, ...] = getattr(request, option)
    if len(given) > 1:
        raise ContradictionError(f"an estimate is of one {option}, not of {len(given)}", "give it once")
    return (given or default)[0]
