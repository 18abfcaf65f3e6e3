"""Compares the replay with peaks that others measured on real GPUs: signed errors, none left out.

python benchmarks/measured/replayed.py [part of a case's id]

The last columns are about models that are quantized while four threads load them (`loading_orders.py`). Their order is
random and changes the reserved bytes. The columns show the mean over such orders and how far the measured bytes are
outside their range; a last line says how often two orders of the same case are within 5% of each other, which is how
well one run can predict another. For SmolLM2-1.7B, eager, 1 x 2048, orders reserve 4784 to 5688 MiB (4820 measured;
5556 if one weight is loaded after another).
"""

from __future__ import annotations

import json
import math
import statistics
import sys
from collections.abc import Iterator
from functools import cache
from itertools import permutations
from pathlib import Path
from typing import Any, NamedTuple

import loading_orders
import peaks
import yaml

from hardware import MIB, load_catalog
from planner.allocator.native import CachingAllocator
from planner.models import find_model
from planner.replay import SdpaKernel, Trace, Workload, replay
from planner.replay.recording.serve import serve
from strategies import Optimizer, Outputs, Quantization

RECORD = Path(__file__).with_suffix(".jsonl")
"""File of earlier replays; without it everything is replayed again, which takes some minutes."""

COLUMNS = ("allocated", "reserved", "loaded", "forward", "backward", "optimizer")
MEAN_ORDER = "reserved, mean of orders"
OVER_ORDERS = "reserved, outside all orders"

ORDERS = 40
"""Number of loading orders that are served for each case."""
NEAR = 0.05
"""Largest relative difference at which two numbers count as near."""


class Rig(NamedTuple):
    """Describes the GPU on which cases were measured, and what the training loop and libraries did there."""

    gpu: str
    outputs: Outputs
    sdpa_kernel: SdpaKernel
    optimizer: Optimizer
    loads_in_threads: bool


RIGS = {
    # The script pins the memory-efficient kernel, and repeats grouped keys and values for it. transformers is 5.0 and
    # PEFT 0.19, which leaves the cache as it is. One session, t4-sweep, is said to have had 5.17 and 0.20. But its
    # loaded bytes of one model differ from run to run, which takes threads; and SmolLM2-135M in NF4 reserved 14 to 66
    # MiB more than it can in any order once the cache was emptied, and is within the orders' range if it was not.
    "t4": Rig("T4", Outputs.KEPT_IN_STEP, SdpaKernel.EFFICIENT, Optimizer.ADAMW_FOREACH, True),
    # q, k, v are in fp32, which flash does not take, and grouped, which the memory-efficient kernel does not.
    # PagedAdamW8bit, which needs a GPU, is replaced by an optimizer without states: 2 bytes per adapter weight less.
    "rtx4080": Rig("RTX-4080", Outputs.KEPT, SdpaKernel.MATH, Optimizer.SGD, False),
}


def cases() -> list[tuple[Rig, dict[str, Any]]]:
    folder = Path(__file__).parent
    return [(rig, case) for name, rig in RIGS.items() for case in yaml.safe_load((folder / f"{name}.yaml").read_text())]


def replayed(rig: Rig, case: dict[str, Any]) -> dict[str, float]:
    """Returns the MiB of each column from the record, or replays the case and adds it to the record."""
    found = recorded()
    inputs = {name: value for name, value in case.items() if not name.endswith("_mib") and name not in ("id", "source")}
    key = json.dumps({"gpu": rig.gpu, **inputs})
    if key not in found:
        trace = run(rig, case)
        found[key] = columns(trace)
        if rig.loads_in_threads and case["quantization"] != Quantization.NONE:
            found[key] |= over_orders(trace)
        with RECORD.open("a") as file:
            file.write(json.dumps({"case": json.loads(key), "mib": found[key]}) + "\n")
    return found[key]


@cache
def recorded() -> dict[str, dict[str, float]]:
    lines = [json.loads(line) for line in RECORD.read_text().splitlines()] if RECORD.exists() else []
    return {json.dumps(line["case"]): line["mib"] for line in lines}


def run(rig: Rig, case: dict[str, Any]) -> Trace:
    fields = find_model(case["model"]).architecture.config() | case.get("fields", {})
    fields |= {name: 0.0 for name in fields if "drop" in name}
    workload = Workload(
        case["sequence_length"],
        case["micro_batch_size"],
        cublas_workspace_bytes=load_catalog().get(rig.gpu).cublas_workspace_bytes,
        outputs=rig.outputs,
        sdpa_kernel=rig.sdpa_kernel,
        empties_cache=False,
    )
    return replay(fields, peaks.strategy_of(case)._replace(optimizer=rig.optimizer), workload)


def columns(trace: Trace) -> dict[str, float]:
    served = serve(trace, CachingAllocator())
    found = {"allocated": served.allocated_bytes, "reserved": served.reserved_bytes}
    found |= {phase.value: allocated for phase, (allocated, _) in served.phases.items()}
    found["loaded"] = loaded(trace)
    return {name: num_bytes / MIB for name, num_bytes in found.items() if name in COLUMNS}


def over_orders(trace: Trace) -> dict[str, float]:
    """Returns the MiB reserved over loading orders, and the share of pairs of orders that are near each other."""
    orders = (loading_orders.in_threads(trace, seed) for seed in range(ORDERS))
    reserved = [serve(order, CachingAllocator()).reserved_bytes / MIB for order in orders]
    return {
        "least_reserved": min(reserved),
        "mean_reserved": statistics.mean(reserved),
        "most_reserved": max(reserved),
        "near": statistics.mean(abs(a / b - 1) <= NEAR for a, b in permutations(reserved, 2)),
    }


def loaded(trace: Trace) -> int:
    """Returns the bytes that are allocated after loading, in whole blocks."""
    allocator = CachingAllocator()
    allocator.run((storage, size) for storage, size, _ in trace.sections[0].events)
    return allocator.allocated


def main(part: str = "") -> None:
    groups: dict[str, dict[str, list[float]]] = {}
    for rig, case in cases():
        if part not in case["id"]:
            continue
        print(f"{case['id']}\n  {'':10} {'measured':>10} {'replay':>10}  MiB")
        for column, error in errors(case, replayed(rig, case)):
            group = groups.setdefault(f"{rig.gpu}, {case['method']}, {case['attention']}", {})
            group.setdefault(column, []).append(error)
    shown = (*COLUMNS, MEAN_ORDER, OVER_ORDERS)
    print(f"\n| median, worst | {' | '.join(shown)} |\n|---|{'---|' * len(shown)}")
    for name, group in sorted(groups.items()):
        cells = (summary(group.get(column, [])) for column in shown)
        print(f"| {name} ({len(group['allocated'])}) | {' | '.join(cells)} |")
    chosen = [replayed(rig, case) for rig, case in cases() if part in case["id"]]
    if near := [found["near"] for found in chosen if "near" in found]:
        print(
            f"\nTwo orders of loading are within {NEAR:.0%} of each other in {statistics.mean(near):.0%} of pairs, "
            f"those of all {len(near)} cases with a chance of {math.prod(near):.2%}"
        )


def errors(case: dict[str, Any], found: dict[str, float]) -> Iterator[tuple[str, float]]:
    """Prints and yields the relative error of each column that was measured."""
    for column in COLUMNS:
        if value := case.get(f"{column}_mib"):
            error = found[column] / value - 1
            print(f"  {column:10} {value:10.1f} {found[column]:10.1f} {error:+8.2%}")
            yield column, error
    if "least_reserved" in found:
        least, most, value = found["least_reserved"], found["most_reserved"], case["reserved_mib"]
        yield MEAN_ORDER, found["mean_reserved"] / value - 1
        error = (min(max(value, least), most) - value) / value
        print(f"  {'':10} {value:10.1f} {least:.0f} to {most:.0f} reserved {error:+8.2%}")
        yield OVER_ORDERS, error


def summary(found: list[float]) -> str:
    return f"{statistics.median(map(abs, found)):.2%}, {max(found, key=abs):+.2%}" if found else ""


if __name__ == "__main__":
    main(*sys.argv[1:])
