"""Compares measurements on a GPU with the replay and the memory model: signed errors, none left out."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from typing import Any

from gpu.case import Case, Kind, Line, Outcome
from gpu.edges import footprint_of
from gpu.training import strategy_of, workload_of

from hardware import GIB, GPU, MIB, Catalog, load_catalog
from planner.allocator.kinds import KINDS
from planner.replay import Trace, replay
from planner.replay.backend import CPU
from planner.replay.recording.serve import serve
from planner.time import Rates, step_time
from planner.verification.replayed import phases_of

ALLOCATED, RESERVED = 0.005, 0.02
"""Relative deviations above which an error is marked, since it has to be explained."""

TELL = {
    Kind.RATES: "rates",
    Kind.MEMORY: "memory, MiB: measured, and how far the replay and the memory model are from it",
    Kind.EDGES: "edges: what has to run and what must not",
    Kind.STEPS: "seconds per step: measured, and how far the model is from it",
}


def report(lines: list[Line]) -> Iterator[str]:
    """Yields the lines of the tables of all kinds."""
    by_kind: dict[Kind, Callable[[list[Line]], Iterator[str]]] = {
        Kind.RATES: _rates,
        Kind.MEMORY: _memory,
        Kind.EDGES: _edges,
        Kind.STEPS: _steps,
    }
    yield from _machines(lines)
    for kind, tell in by_kind.items():
        of_kind = [line for line in lines if line.case.kind is kind]
        if of_kind:
            yield f"\n## {TELL[kind]}\n"
            yield from tell([line for line in of_kind if line.result.outcome is Outcome.MEASURED])
            yield from _others(of_kind)


def _machines(lines: list[Line]) -> list[str]:
    """Returns a line for each machine on which something was measured."""
    found = dict.fromkeys(str(line.facts.get("machine", {})) for line in lines)
    return [f"measured on {text}" for text in found]


def _others(lines: list[Line]) -> Iterator[str]:
    """Yields the cases that were not measured, with their reasons."""
    for line in lines:
        if line.result.outcome is not Outcome.MEASURED:
            yield f"- {line.case.name}: {line.result.outcome}: {line.result.found.get('reason', '')}"


def gpu_of(line: Line, catalog: Catalog) -> GPU | None:
    """Returns the catalog's GPU on which a line was measured, with the measured memory; None on a CPU."""
    machine = line.facts["machine"]
    found = catalog.find(machine["gpu"]) if "gpu" in machine else None
    if found is None and "gpu" in machine:
        raise SystemExit(f"the catalog has no {machine['gpu']!r}: add it, with its source")
    if found is None:
        return None
    return found.model_copy(update={"memory_bytes": machine["total_memory"]})


# --- memory ---


def _memory(lines: list[Line]) -> Iterator[str]:
    catalog = load_catalog()
    errors: dict[str, list[float]] = {}
    yield "| case | phase | allocated | replay | model | reserved | replay | process | model |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for line in lines:
        for cells, found in memory_rows(line, gpu_of(line, catalog)):
            yield f"| {' | '.join(cells)} |"
            for column, error in found.items():
                errors.setdefault(column, []).append(error)
    for column, values in errors.items():
        worst = max(values, key=abs)
        yield f"\n{column}: median {statistics.median(map(abs, values)):.3%}, worst {worst:+.2%}, {len(values)} phases"


def memory_rows(line: Line, gpu: GPU | None) -> Iterator[tuple[list[str], dict[str, float]]]:
    """Yields a row for each phase of a case, and its errors by column.

    On a CPU the replay alone is compared, with the CPU's kernels.
    """
    trace = trace_of(line.case, gpu)
    strategy = strategy_of(line.case.request)
    if gpu is None:
        replayed = {phase.value: (peak, None) for phase, peak in trace.peaks().items()}
        modelled: dict[str, int] = {}
    else:
        served = serve(trace, KINDS[strategy.allocator]())
        replayed = {phase.value: (allocated, reserved) for phase, (allocated, reserved) in served.phases.items()}
        footprint = footprint_of(line.case.request, gpu)
        size = line.case.request["micro_batch_size"]
        modelled = phases_of({moment.value: peak for moment, peak in footprint.moments(size).items()})
    for phase, measured in line.result.found["phases"].items():
        if phase not in replayed or not replayed[phase][0]:
            continue
        errors: dict[str, float] = {}
        allocated, reserved = measured["allocated_bytes"], measured.get("reserved_bytes")
        cells = [line.case.name, phase, f"{allocated / MIB:,.1f}"]
        cells.append(_error("replay, allocated", replayed[phase][0], allocated, ALLOCATED, errors))
        cells.append(_error("model, allocated", modelled.get(phase), allocated, ALLOCATED, errors))
        cells.append(f"{reserved / MIB:,.0f}" if reserved else "")
        cells.append(_error("replay, reserved", replayed[phase][1], reserved, RESERVED, errors))
        process = line.result.found.get("process_bytes") if phase == "optimizer" else None
        cells.append(f"{process / MIB:,.0f}" if process else "")
        cells.append(_error("model, process", _process(line, gpu), process, RESERVED, errors))
        yield cells, errors


def trace_of(case: Case, gpu: GPU | None) -> Trace:
    """Returns the replay of a case with the kernels of CUDA, or those of the CPU if there is no GPU."""
    strategy, fields = strategy_of(case.request), case.request["model"]
    if gpu is None:
        return replay(fields, strategy, workload_of(case.request), backend=CPU)
    workload = workload_of(case.request, gpu.cublas_workspace_bytes)
    workload = workload._replace(has_flash=gpu.supports_flash_attention, prefers_cudnn=gpu.prefers_cudnn_attention)
    return replay(fields, strategy, workload)


def _process(line: Line, gpu: GPU | None) -> int | None:
    if gpu is None:
        return None
    return footprint_of(line.case.request, gpu).process_bytes(line.case.request["micro_batch_size"])


def _error(column: str, ours: int | None, measured: int | None, most: float, errors: dict[str, float]) -> str:
    """Returns the error of a number as text, marked if it is above `most`, and adds it to `errors`."""
    if not ours or not measured:
        return ""
    errors[column] = ours / measured - 1
    return f"{errors[column]:+.2%}{' !' if abs(errors[column]) > most else ''}"


# --- edges, steps, rates ---


def _edges(lines: list[Line]) -> Iterator[str]:
    yield "| case | limit, GiB | micro-batch | ended | steps | allocated | reserved | retries | as it should |"
    yield "|---|---|---|---|---|---|---|---|---|"
    right = 0
    for line in lines:
        found, wants = line.result.found, "ran" if line.case.request["side"] == "possible" else "out of memory"
        is_right = found.get("ended") == wants
        right += is_right
        numbers = [f"{found.get(name, 0) / GIB:.2f}" for name in ("allocated_bytes", "reserved_bytes")]
        cells = [line.case.name, f"{found['limit_bytes'] / GIB:.2f}", str(found["micro_batch_size"])]
        cells += [str(found.get("ended", "-")), str(found["steps"]), *numbers, str(found.get("retries", ""))]
        yield f"| {' | '.join([*cells, 'yes' if is_right else 'NO'])} |"
    yield f"\n{right} of {len(lines)} as they should"


def _steps(lines: list[Line]) -> Iterator[str]:
    catalog = load_catalog()
    ratios: list[float] = []
    yield "| case | seconds | model | model / measured |\n|---|---|---|---|"
    for line in lines:
        measured, gpu = line.result.found["step_seconds"], gpu_of(line, catalog)
        modelled = seconds_of(line.case, gpu) if gpu is not None else None
        cells = [line.case.name, f"{measured:.4f}"]
        if modelled is not None:
            ratios.append(modelled / measured)
            cells += [f"{modelled:.4f}", f"{ratios[-1]:.2f}"]
        yield f"| {' | '.join([*cells, '', ''][:4])} |"
    if ratios:
        yield f"\nmodel / measured: median {statistics.median(ratios):.2f}, {min(ratios):.2f} to {max(ratios):.2f}"


def seconds_of(case: Case, gpu: GPU) -> float:
    """Returns the time of a step that the planner predicts, in seconds."""
    from gpu.edges import memory_of

    from hardware import Cluster

    request, strategy, cluster = case.request, strategy_of(case.request), Cluster(gpu)
    memory = memory_of(request, gpu)
    rates, again = Rates.of(cluster, strategy), memory.recomputation(strategy)
    size, steps = request["micro_batch_size"], request.get("gradient_accumulation_steps", 1)
    return step_time(memory.work(strategy), again, memory.traffic(strategy), rates, size, steps).total


def _rates(lines: list[Line]) -> Iterator[str]:
    """Yields the numbers as they were measured."""
    for line in lines:
        yield f"- {line.case.name}"
        yield from (f"  {text}" for text in _numbers(line.result.found))


def _numbers(found: Any) -> Iterator[str]:
    for name, value in found.items():
        for row in value if isinstance(value, list) else [value]:
            if isinstance(row, dict):
                cells = [f"{key} {_short(number)}" for key, number in row.items()]
                yield f"{name}: {', '.join(cells)}"
            else:
                yield f"{name}: {_short(row)}"


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
