"""Replays of FSDP1: its units, what its offload leaves on the GPU, and that torch is as before afterwards."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch.distributed.fsdp import _flat_param, _runtime_utils
from torch.distributed.fsdp._flat_param import FlatParamHandle

from planner.allocator.streams import Stream
from planner.replay import Phase, Workload, replay
from planner.replay.backend import CPU
from planner.replay.recording.trace import Trace
from strategies import (
    PLAIN,
    Checkpointing,
    Checkpoints,
    Fsdp1,
    GradientSync,
    Lora,
    Offload,
    Optimizer,
    Precision,
    Quantization,
    Sharding,
    UnquantizedDtype,
)

BLOCKS, RANKS = 3, 2
LLAMA = {
    "model_type": "llama",
    "hidden_size": 128,
    "intermediate_size": 344,
    "num_hidden_layers": BLOCKS,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 1000,
    "max_position_embeddings": 512,
}
PARAMETERS = 2 * 1_000 * 128 + 128 + BLOCKS * (3 * 128 * 344 + 2 * 128 * 128 + 2 * 128 * 64 + 2 * 128)
FP32 = 4


def replayed(micro_batches: int = 1, **choices: Any) -> Trace:
    strategy = PLAIN._replace(**{"sharding": Fsdp1(), "optimizer": Optimizer.SGD_MOMENTUM, **choices})
    return replay(LLAMA, strategy, Workload(64, 2, micro_batches, world_size=RANKS), backend=CPU)


def gathered(trace: Trace, phase: Phase) -> int:
    """How many units are gathered in a phase of the last step."""
    events = (e for s in trace.sections if (s.phase, s.step) == (phase, trace.last_step) for e in s.events)
    labels = [trace.labels[event.storage] for event in events if event.size > 0]
    return sum(label.stream is Stream.GATHER for label in labels)


def test_units_are_the_root_and_its_blocks() -> None:
    trace = replayed(precision=Precision.FP32)
    assert (gathered(trace, Phase.FORWARD), gathered(trace, Phase.BACKWARD)) == (1 + BLOCKS, BLOCKS)


def test_with_peft_each_matrix_of_an_adapter_is_a_unit() -> None:
    trace = replayed(precision=Precision.BF16_TRUE, finetuning=Lora(8, ("q_proj",)))
    assert gathered(trace, Phase.FORWARD) == 1 + BLOCKS + 2 * BLOCKS


def test_what_is_not_resharded_is_gathered_once() -> None:
    trace = replayed(sharding=Fsdp1(Sharding.SHARD_GRAD_OP))
    assert (gathered(trace, Phase.FORWARD), gathered(trace, Phase.BACKWARD)) == (1 + BLOCKS, 0)


def test_a_rank_keeps_its_share_of_parameters_gradients_and_states() -> None:
    share = PARAMETERS // RANKS * FP32
    assert replayed().peaks()[Phase.OPTIMIZER] == pytest.approx(3 * share, rel=0.005)


def test_with_an_offload_the_optimizer_step_finds_nothing_on_the_gpu() -> None:
    for precision in (Precision.FP32, Precision.BF16_MIXED, Precision.BF16_TRUE):
        peaks = replayed(precision=precision, sharding=Fsdp1(offload=Offload.CPU)).peaks()
        assert peaks[Phase.OPTIMIZER] < 0.01 * PARAMETERS * FP32


def test_whole_gradients_accumulate_until_the_last_micro_batch() -> None:
    last, each = (
        replayed(3, sharding=Fsdp1(gradient_sync=sync)).peaks() for sync in (GradientSync.LAST, GradientSync.EACH)
    )
    more = last[Phase.FORWARD] - each[Phase.FORWARD]
    assert more == pytest.approx(PARAMETERS * FP32 * (RANKS - 1) / RANKS, rel=0.005)
    assert last[Phase.OPTIMIZER] == each[Phase.OPTIMIZER]


def test_mixed_precision_leaves_the_scales_of_quantized_weights_as_they_are() -> None:
    nf4 = Lora(8, ("q_proj",), quantization=Quantization.NF4, unquantized_dtype=UnquantizedDtype.BF16)
    mixed, true = (
        replayed(precision=precision, finetuning=nf4).peaks()[Phase.OPTIMIZER]
        for precision in (Precision.BF16_MIXED, Precision.BF16_TRUE)
    )
    assert mixed == pytest.approx(true, abs=64 * BLOCKS)  # buffers of the rotary embedding are in half


def test_reentrant_checkpoints_gather_each_unit_to_compute_it_again_and_for_its_backward() -> None:
    trace = replayed(checkpointing=Checkpoints(Checkpointing.FULL_REENTRANT))
    assert (gathered(trace, Phase.FORWARD), gathered(trace, Phase.BACKWARD)) == (1 + BLOCKS, 2 * BLOCKS)


def _of_torch() -> Counter[Any]:
    runtime, flat = vars(_runtime_utils), vars(_flat_param)
    handle = FlatParamHandle.pre_unshard, FlatParamHandle._use_low_precision_shard
    return Counter(
        [
            *(value for value in (*runtime.values(), *flat.values()) if callable(value)),
            *handle,
            torch.Tensor.pin_memory,
            dist._broadcast_coalesced,
        ]
    )


def test_torch_is_as_before_after_a_replay() -> None:
    before = _of_torch()
    replayed(sharding=Fsdp1(offload=Offload.CPU))
    assert _of_torch() == before
    assert not hasattr(torch.cpu.Stream, "synchronize")
