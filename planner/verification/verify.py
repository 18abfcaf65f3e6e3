"""Provides `verify`, which replays one configuration and writes files that show the replay."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, Unpack

from hardware import GPU
from hardware.errors import shown
from planner.advice.shortfall import ways_of_one
from planner.files import OutputFileError, check_writable, write_whole
from planner.models import Foreign, Model
from planner.problem.arguments import ConfigurationArguments
from planner.problem.problem import Problem
from planner.problem.questions import question
from planner.problem.resolve import resolve_asked
from planner.records.verification import Verification
from planner.report.parts.categories import STACKED
from planner.report.timeline import renderer_of
from planner.search import Candidate, Solver
from planner.verification.measure import device_of
from planner.verification.replayed import Verified, verify_candidate

SNAPSHOTS = (".pickle", ".pkl")
"""Suffixes of files that hold a snapshot."""


@question(ConfigurationArguments)
def verify(
    model: str | Model | Foreign,
    *,
    gpu: str | GPU,
    gpus: int | None = None,
    nodes: int = 1,
    device: str = "replay",
    timeline: str | Path | None = None,
    snapshot: str | Path | None = None,
    **asked: Unpack[ConfigurationArguments],
) -> Verification:
    """Replays the real training step of one configuration without a GPU, and compares the memory model with it.

    The real transformers model, PEFT adapters, accelerate wrappers, FSDP2 and optimizer run two steps on fake tensors,
    which have no memory; the second one is reported. Layers of bitsandbytes, and kernels that only GPUs have, are
    replaced by stand-ins that allocate the same bytes. A model of CUDA's caching allocator serves the recorded
    allocations within the budget. Needs the extra `verify`.

    Args:
        model: The model, as for `fit`, or a `Foreign` that names one outside the registry's families.
        gpu: Name or alias of a GPU in the catalog, or a `GPU`. No such GPU is needed.
        gpus: GPUs per node; by default as many as the machine has, or else one.
        nodes: Number of nodes.
        device: `replay` runs the step on fake tensors only; `cuda` also runs it for real, on one GPU of this machine;
            `cpu` also runs it for real on the CPU, with one process per rank if the model is sharded. The result
            compares the replay with the real step in `measured`.
        timeline: Path of a file to write with the live bytes of each memory category over the step: `.html` and `.png`
            (needs the extra `plot`) are pictures, `.csv` is a table.
        snapshot: Path of a `.pickle` or `.pkl` file to write in the format of `torch.cuda.memory._dump_snapshot`, which
            pytorch.org/memory_viz shows.
        asked: Options of `SearchSpace` by name, with one value each and the defaults of `estimate`.

    Returns:
        The peak bytes of each phase in the replay and in the memory model, the bytes that each kind of caching
        allocator reserves, whether the plan's serves the step within the budget, the tensors alive at the peak, and
        ways out if the replay does not fit.

    Raises:
        InvalidChoiceError: There is no such device, option or choice.
        ContradictionError: Choices exclude each other, cannot be replayed, or cannot run for real on the device.
        MissingExtraError: A package of the extra `verify`, or for a picture of `plot`, is not installed.
        OutputFileError: A file cannot be written. This is checked before anything is replayed.
        PlannerError: Any other reason for which `estimate` raises; or the device or its memory does not suffice.
    """
    where, files = device_of(device), list(_files(timeline, snapshot))
    problem, solver, candidate = resolve_asked(model, gpu, gpus, nodes, asked)
    progress = asked["progress"]
    verified = verify_candidate(problem, solver, candidate, progress, where)
    for file in files:
        progress(f"writing {file.path}")
        write_whole(file.path, file.render(verified))
    return _advised(problem, solver, candidate, verified.verification)


def _advised(problem: Problem, solver: Solver, candidate: Candidate, found: Verification) -> Verification:
    """Returns a verification with the ways out where the replay does not fit."""
    if found.fits:
        return found
    beyond = max(0, found.process_bytes - found.plan.memory.process_bytes)
    return found.model_copy(update={"ways": ways_of_one(problem, solver, candidate, "verify", beyond)})


class _File(NamedTuple):
    """Describes a file to write: its path, and the function that makes its content from a replay."""

    path: Path
    render: Callable[[Verified], bytes]


def _files(timeline: str | Path | None, snapshot: str | Path | None) -> Iterator[_File]:
    """Yields the requested files, after a check that each can be made and written."""
    if timeline is not None:
        yield _timeline(_path("timeline", timeline))
    if snapshot is not None:
        yield _snapshot(_path("snapshot", snapshot))


def _path(name: str, given: str | Path) -> Path:
    if not isinstance(given, str | Path):
        raise OutputFileError(f"{name} is {shown(given)}, not the path of a file", "such as step.html")
    return Path(given)


def _timeline(path: Path) -> _File:
    render = renderer_of(path)
    check_writable(path)

    def rendered(verified: Verified) -> bytes:
        from planner.replay.recording.timeline import timeline_of

        return render(timeline_of(verified.trace, STACKED), verified.verification)

    return _File(path, rendered)


def _snapshot(path: Path) -> _File:
    if path.suffix not in SNAPSHOTS:
        raise OutputFileError(f"a snapshot is a {' or '.join(SNAPSHOTS)} file, not {path.name}", f"{path.stem}.pickle")
    check_writable(path)

    def rendered(verified: Verified) -> bytes:
        from planner.allocator.kinds import KINDS
        from planner.replay.recording.snapshot import pickled_snapshot

        kind = KINDS[verified.verification.plan.strategy.allocator]
        return pickled_snapshot(verified.trace, kind, verified.verification.reservable_bytes)

    return _File(path, rendered)
