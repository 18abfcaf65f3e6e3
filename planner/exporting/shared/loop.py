"""Says what scripts with a loop of their own share: optimizer, checkpoints, kernels and evaluation."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from planner.exporting.launch import Launch
from planner.exporting.shared import settings
from planner.readers.exported.loop import CHECKPOINTING
from planner.readers.exported.run import LIGER
from strategies import Framework, Optimizer, Precision, Sharding

HELPERS = ("loop.py", "checkpointing.py", "optimizers.py")
"""What these scripts import, beside what all do."""


def loop(launch: Launch, optimizers: Collection[Optimizer]) -> dict[str, Any]:
    """Returns the keys of `Loop`, `Chosen` and `Checkpointed` in scripts/; raises ExportError for what they cannot say.

    Args:
        launch: The plan.
        optimizers: Those that the script builds.
    """
    strategy = launch.strategy
    if strategy.framework is not Framework.TRANSFORMERS:
        raise launch.cannot_say(f"framework {strategy.framework}", f"--to {strategy.framework}")
    if strategy.optimizer not in optimizers:
        where = f" with sharding {strategy.sharding}" if strategy.sharding is not Sharding.NO_SHARD else ""
        raise launch.cannot_say(f"optimizer {strategy.optimizer}{where}")
    if strategy.checkpointing not in CHECKPOINTING:
        raise launch.cannot_say(f"checkpointing {strategy.checkpointing}")
    off = dict.fromkeys(("cross_entropy", "fused_linear_cross_entropy", *LIGER), False)
    return {
        "evaluation_batch_size": launch.request.evaluation_batch_size,
        "tf32": strategy.precision is Precision.TF32,
        "liger": settings.liger(launch) or off,
        "optimizer": strategy.optimizer.value,
        "optimizer_rank": strategy.optimizer_rank,
        "learning_rate": settings.learning_rate(launch),
        "checkpointing": strategy.checkpointing.value,
        "checkpoint_every": strategy.checkpoint_every or 1,
        **({"max_steps": 5, "output": None} if launch.random_weights else {"epochs": 1, "output": "output"}),
    }
