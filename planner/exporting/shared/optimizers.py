"""Says optimizers in the words of transformers' Trainer: `optim`, its arguments and the layers that it is for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from planner.exporting.launch import Launch
from strategies import Optimizer, Update

_LOW_RANK = {
    Optimizer.GALORE: ("galore_adamw", ""),
    Optimizer.APOLLO: ("apollo_adamw", ""),
    # apollo_torch's README, "APOLLO-Mini"
    Optimizer.APOLLO_MINI: ("apollo_adamw", "rank=1,scale_type=tensor"),
}


def trainer_optimizer(launch: Launch) -> Mapping[str, Any]:
    """Returns the keys of TrainingArguments; raises ExportError if Trainer has no such optimizer."""
    strategy = launch.strategy
    in_backward = strategy.update is Update.IN_BACKWARD
    if strategy.optimizer is Optimizer.SGD_MOMENTUM and not in_backward:
        return {"optim": "sgd", "optim_args": "momentum=0.9"}
    if strategy.optimizer not in _LOW_RANK:
        return {"optim": launch.optimizer()}
    name, arguments = _LOW_RANK[strategy.optimizer]
    if strategy.optimizer_rank is not None:
        arguments = f"rank={strategy.optimizer_rank}"
    return {
        "optim": f"{name}_layerwise" if in_backward else name,
        "optim_args": arguments or None,
        # The linear layers of the blocks; "all-linear" would project the head's gradient as well.
        "optim_target_modules": list(launch.described.target_names),
    }
