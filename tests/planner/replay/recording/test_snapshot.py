"""A replay as torch's memory snapshot, read by torch's own tools."""

import pickle
import pickletools
from typing import Any

import pytest
from torch.cuda import _memory_viz

from planner.allocator.expandable import ExpandableAllocator
from planner.allocator.native import LARGE_SEGMENT, CachingAllocator, OutOfMemoryError
from planner.replay.recording.serve import serve
from planner.replay.recording.snapshot import pickled_snapshot, snapshot_of
from planner.verification.replayed import Verified

LARGEST_ADDRESS = 2**47
VIEWER_READS = {
    "PROTO FRAME STOP MARK MEMOIZE APPEND APPENDS BINGET LONG_BINGET BINPUT LONG_BINPUT BININT BININT1 BININT2 LONG1",
    "EMPTY_DICT EMPTY_LIST EMPTY_TUPLE LIST DICT TUPLE TUPLE1 TUPLE2 TUPLE3 SETITEM SETITEMS SHORT_BINUNICODE",
    "BINUNICODE NEWTRUE NEWFALSE NONE BINFLOAT",
}
"""The opcodes that `unpickle` of torch/utils/viz/MemoryViz.js knows."""


@pytest.fixture(scope="module", params=[CachingAllocator, ExpandableAllocator])
def kind(request: pytest.FixtureRequest) -> type[CachingAllocator]:
    found: type[CachingAllocator] = request.param
    return found


@pytest.fixture(scope="module")
def snapshot(verified: Verified, kind: type[CachingAllocator]) -> Any:
    return pickle.loads(pickled_snapshot(verified.trace, kind, verified.verification.reservable_bytes))


@pytest.fixture(scope="module")
def allocator(verified: Verified, kind: type[CachingAllocator]) -> CachingAllocator:
    allocator = kind(verified.verification.reservable_bytes)
    allocator.run((storage, size) for storage, size, _ in verified.trace.events())
    return allocator


def test_segments_and_blocks_add_up_to_what_the_allocator_has(snapshot: Any, allocator: CachingAllocator) -> None:
    segments = snapshot["segments"]
    assert sum(segment["total_size"] for segment in segments) == allocator.reserved
    assert sum(segment["allocated_size"] for segment in segments) == allocator.allocated
    for segment in segments:
        assert sum(block["size"] for block in segment["blocks"]) == segment["total_size"]
        starts = [block["address"] for block in segment["blocks"]]
        assert starts == sorted(starts)
        assert starts[0] == segment["address"]
        assert segment["address"] + segment["total_size"] < LARGEST_ADDRESS


def test_the_entries_lead_to_the_segments_and_through_the_peaks(snapshot: Any, allocator: CachingAllocator) -> None:
    reserved = peak_reserved = 0
    live: dict[int, int] = {}
    for entry in snapshot["device_traces"][0]:
        match entry["action"]:
            case "segment_alloc" | "segment_map":
                reserved += entry["size"]
                peak_reserved = max(peak_reserved, reserved)
            case "segment_free" | "segment_unmap":
                reserved -= entry["size"]
            case "alloc":
                assert entry["addr"] not in live
                live[entry["addr"]] = entry["size"]
            case "free_completed":
                assert live.pop(entry["addr"]) == entry["size"]
    assert (reserved, peak_reserved) == (allocator.reserved, allocator.peak_reserved)
    active = [b for s in snapshot["segments"] for b in s["blocks"] if b["state"] == "active_allocated"]
    assert live == {block["address"]: block["requested_size"] for block in active}


def test_torch_reads_it(snapshot: Any, allocator: CachingAllocator) -> None:
    total = str(_memory_viz.Bytes(allocator.reserved))
    assert f"total_reserved: {total}" in _memory_viz.segsum(snapshot)
    assert _memory_viz.trace(snapshot).startswith("Device 0 ---")
    assert "Active Memory Timeline" in _memory_viz.trace_plot(snapshot)
    assert "Allocator State History" in _memory_viz.segment_plot(snapshot)


def test_frames_say_phase_block_tensor_and_category(snapshot: Any) -> None:
    lines = _memory_viz.memory(snapshot, format_flamegraph=lambda text: text).splitlines()
    weight = "gpt_neox.layers.3.attention.dense.weight"
    assert f"stream_0;active_allocated;loading:0:parameters;loading:3:{weight} {512 * 512 * 4}" in lines


def test_the_viewer_knows_every_opcode_and_every_category(snapshot: Any, verified: Verified) -> None:
    opcodes = {op.name for op, _, _ in pickletools.genops(pickled_snapshot(verified.trace, CachingAllocator, 2**40))}
    assert opcodes <= set(" ".join(VIEWER_READS).split())
    categories = {entry["category"] for entry in snapshot["device_traces"][0]}
    assert categories > {"parameters", "gradients", "optimizer_states", "activations", "temporary", "unknown"}


def test_where_memory_ends_the_snapshot_ends_with_the_request(verified: Verified, kind: type[CachingAllocator]) -> None:
    limit = verified.verification.allocated_bytes - 2**20
    allocator = kind(limit)
    with pytest.raises(OutOfMemoryError):
        allocator.run((storage, size) for storage, size, _ in verified.trace.events())
    snapshot = snapshot_of(verified.trace, kind, limit)
    last = snapshot["device_traces"][0][-1]
    assert last["action"] == "oom"
    assert last["device_free"] == limit - allocator.reserved < last["size"]
    assert sum(segment["total_size"] for segment in snapshot["segments"]) == allocator.reserved <= limit
    assert "raise OutOfMemoryError" in _memory_viz.trace(snapshot)


def test_what_is_given_back_is_an_entry(verified: Verified, kind: type[CachingAllocator]) -> None:
    free = serve(verified.trace, kind())
    limit = free.reserved_bytes - LARGE_SEGMENT
    allocator = kind(limit)
    allocator.run((storage, size) for storage, size, _ in verified.trace.events())
    snapshot = snapshot_of(verified.trace, kind, limit)
    freed = [entry for entry in snapshot["device_traces"][0] if entry["action"] in ("segment_free", "segment_unmap")]
    assert allocator.retries
    assert sum(entry["size"] for entry in freed) > 0
    assert sum(segment["total_size"] for segment in snapshot["segments"]) == allocator.reserved
