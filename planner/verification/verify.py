"""`verify`: the certificate of one configuration, and the files that show its replay."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from hardware import GPU
from hardware.errors import shown
from planner.extras import Progress
from planner.files import OutputFileError, check_writable, write_whole
from planner.models import Foreign, Model
from planner.problem.problem import CatalogSource, resolve_one
from planner.records.verification import Verification
from planner.report.parts.categories import STACKED
from planner.report.timeline import renderer_of
from planner.verification.measure import device_of
from planner.verification.replayed import Verified, verify_candidate

if TYPE_CHECKING:
    from typing import Unpack

    from planner.records.option_types import Options

SNAPSHOTS = (".pickle", ".pkl")


def verify(
    model: str | Model | Foreign,
    *,
    gpu: str | GPU,
    gpus: int = 1,
    nodes: int = 1,
    sequence_length: int | None = None,
    micro_batch_size: int = 1,
    gradient_accumulation_steps: int = 1,
    evaluation_batch_size: int | None = None,
    batching: str = "full",
    mean_length: int | None = None,
    headroom: float = 0.05,
    device: str = "replay",
    catalog: CatalogSource = None,
    progress: Progress = lambda _: None,
    timeline: str | Path | None = None,
    snapshot: str | Path | None = None,
    **axes: Unpack[Options],
) -> Verification:
    """Replays the training step of one configuration and compares; arguments are those of `estimate`.

    The real transformers model, PEFT adapters, accelerate wrappers, FSDP2 and optimizer run on fake tensors: nothing is
    allocated. bitsandbytes layers are replaced by a stand-in of the same bytes.

    Args:
        device: "cuda" and "cpu" run the same step for real as well, and compare the replay with it.
        timeline: a file to write with the live bytes over the steady step: .html and .png are pictures, .csv a table.
        snapshot: a .pickle file to write as `torch.cuda.memory._dump_snapshot` does, for pytorch.org/memory_viz.

    Raises:
        PlannerError: as `estimate`; a missing extra; a choice that cannot be replayed, or not run on that device; a
            file that cannot be written, before anything is replayed.
    """
    where, files = device_of(device), list(_files(timeline, snapshot))
    workload = {
        "gpus": gpus,
        "nodes": nodes,
        "sequence_length": sequence_length,
        "evaluation_batch_size": evaluation_batch_size,
        "batching": batching,
        "mean_length": mean_length,
        "headroom": headroom,
    }
    problem, solver, candidate = resolve_one(
        model, gpu, catalog, axes, workload, micro_batch_size, gradient_accumulation_steps, progress
    )
    verified = verify_candidate(problem, solver, candidate, progress, where)
    for file in files:
        progress(f"writing {file.path}")
        write_whole(file.path, file.render(verified))
    return verified.verification


class _File(NamedTuple):
    path: Path
    render: Callable[[Verified], bytes]


def _files(timeline: str | Path | None, snapshot: str | Path | None) -> Iterator[_File]:
    """The files that are asked for, all of which can be made and written."""
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
        from planner.replay.recording.serve import KINDS
        from planner.replay.recording.snapshot import pickled_snapshot

        kind = KINDS[verified.verification.plan.strategy.allocator]
        return pickled_snapshot(verified.trace, kind, verified.verification.reservable_bytes)

    return _File(path, rendered)
