"""Quantized weights come to the GPU one by one, and that shows in the blocks that they get."""

from itertools import accumulate

import pytest

from planner.allocator.native import MIB, CachingAllocator
from planner.models import find_model
from planner.replay import Phase, Trace, Workload, replay
from planner.replay.recording.serve import serve
from planner.replay.recording.trace import EMPTY_CACHE, Event
from strategies import (
    PLAIN,
    Checkpointing,
    Checkpoints,
    Lora,
    Precision,
    Quantization,
)


def loading(quantization: Quantization, **loop: bool) -> tuple[Trace, list[Event]]:
    fields = find_model("smollm2-135m").architecture.model_copy(update={"num_hidden_layers": 6}).config()
    strategy = PLAIN._replace(
        precision=Precision.BF16_TRUE,
        finetuning=Lora(8, ("q_proj",), quantization),
        checkpointing=Checkpoints(Checkpointing.FULL),
    )
    trace = replay(fields, strategy, Workload(32, 1, **loop))
    assert trace.sections[0].phase is Phase.LOADING
    return trace, trace.sections[0].events


@pytest.mark.parametrize("quantization", [Quantization.NF4, Quantization.NF4_DOUBLE])
def test_what_loading_needs_in_passing_is_freed(quantization: Quantization) -> None:
    trace, events = loading(quantization)
    left = {event.storage for event in events if event.size > 0} - {e.storage for e in events if e.size < 0}
    labels = [trace.labels[storage] for storage in left]
    assert {label.name for label in labels if label.category != "parameters"} == {"input_ids of the batch"}
    names = {trace.labels[event.storage].name for event in events if event.size < 0}
    assert "base_model.model.model.layers.3.mlp.up_proj.weight, loaded" in names


def test_transformers_first_reserves_one_piece_for_all_weights_of_the_whole_model() -> None:
    _, (first, second, *_) = loading(Quantization.NF4)
    block = 576 * (2 * 576 + 2 * 192) + 3 * 576 * 1536  # q and o, k and v, the three of the feed-forward
    norms = 6 * 2 * 576 + 576
    expected = 6 * block // 2 + 2 * (49152 * 576 + norms)
    assert first.size == pytest.approx(expected, abs=512)
    assert second == first._replace(size=-first.size)


def test_peak_of_loading_is_above_what_stays() -> None:
    _, events = loading(Quantization.NF4)
    sizes = list(accumulate(event.size for event in events))
    embedding_in_half = 2 * 49152 * 576
    assert max(sizes) - sizes[-1] > embedding_in_half - MIB


def test_peft_empties_the_cache_from_a_version_on() -> None:
    emptied, events = loading(Quantization.NF4)
    kept, others = loading(Quantization.NF4, empties_cache=False)
    assert EMPTY_CACHE in events
    assert EMPTY_CACHE not in others
    reserved = [serve(trace, CachingAllocator()).reserved_bytes for trace in (emptied, kept)]
    assert reserved[0] <= reserved[1]
