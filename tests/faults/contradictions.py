"""What an answer in JSON says against itself."""

from __future__ import annotations

import json
import math
from typing import Any

RISKY = ("precision", "optimizer", "finetuning", "lora_rank")
"""Options that `strategies.quality` judges."""


def contradiction(answer: str, exit_code: int, *, is_sorted: bool) -> str | None:
    """Of an answer of `fit` or `estimate`, the first thing that cannot be; None if there is none.

    Args:
        answer: the JSON.
        exit_code: of the command.
        is_sorted: whether the plans stand by their batch where that is the objective.
    """
    document = json.loads(answer, parse_constant=_refused)
    if "machines" in document:  # a ranking, which several GPUs give
        ranked = [machine["plan"] for machine in document["machines"]]
        if (exit_code == 0) != bool(ranked):
            return f"exit {exit_code} with {len(ranked)} machines"
        return next(filter(None, map(_of_plan, ranked)), None)
    if "plans" not in document:
        return _of_plan(document)
    plans, others = document["plans"], document["best_by_method"]
    if (exit_code == 0) != bool(plans):
        return f"exit {exit_code} with {len(plans)} plans"
    if not all(plan["memory"]["fits"] for plan in [*plans, *others]):
        return "a plan of fit does not fit"
    of_a_risk: dict[tuple[Any, ...], list[int]] = {}
    for plan in plans:  # what puts convergence at risk, which comes later, depends on these alone
        of_a_risk.setdefault(tuple(plan["strategy"][name] for name in RISKY), []).append(plan["global_batch_size"])
    is_sorted = is_sorted and document["request"]["objective"] == "batch"
    if is_sorted and any(batches != sorted(batches, reverse=True) for batches in of_a_risk.values()):
        return "plans are not sorted by batch"
    return next(filter(None, map(_of_plan, [*plans, *others])), None)


def _of_plan(plan: dict[str, Any]) -> str | None:
    memory = plan["memory"]
    if memory["fits"] != (memory["process_bytes"] <= memory["budget_bytes"]):
        return "fits is not process_bytes <= budget_bytes"
    if sum(memory["components"].values()) != memory["process_bytes"]:
        return "components do not add up to process_bytes"
    if min(*memory["components"].values(), *memory["moments"].values(), memory["budget_bytes"]) < 0:
        return "negative bytes"
    if not memory["allocated_bytes"] <= memory["reserved_bytes"] <= memory["process_bytes"]:
        return "allocated <= reserved <= process does not hold"
    sizes = plan["micro_batch_size"], plan["gradient_accumulation_steps"], plan["data_parallel_size"]
    if math.prod(sizes) != plan["global_batch_size"]:
        return "global batch is not the product"
    if not 0 < plan["time"]["step_seconds"] < math.inf:
        return f"step_seconds is {plan['time']['step_seconds']}"
    return None


def _refused(name: str) -> None:
    raise ValueError(f"{name} in JSON")
