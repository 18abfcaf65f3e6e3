"""A few blocks replayed and extended leave the trace that the whole model leaves, event for event."""

from collections.abc import Iterator
from itertools import groupby
from typing import Any

import pytest
import torch

from planner.problem.resolve import resolve_one
from planner.replay import Phase, Trace, Workload, replay
from planner.replay.extension.blocks import REPLAYED_PERIODS, BlockRun, repetitions, shorten
from planner.replay.extension.extend import IrregularError, extend
from planner.replay.extension.seen import Address, Seen, in_common
from planner.replay.recording.trace import Event, Label, Scope, Section
from strategies import PLAIN

WHOLE = 0
LAYERS = 9

CASES: list[tuple[str, dict[str, Any]]] = [
    ("smollm2-135m", {"precision": "bf16-mixed"}),
    ("smollm2-135m", {"precision": "bf16-mixed", "gpus": 4, "sharding": "full_shard", "steps": 2}),
    ("smollm2-135m", {"precision": "bf16-true", "gpus": 2, "sharding": "shard_grad_op", "finetuning": "lora"}),
    ("smollm2-135m", {"precision": "bf16-mixed", "finetuning": "qlora", "checkpointing": "full", "steps": 2}),
    ("gpt2", {"precision": "fp32", "optimizer": "adamw-foreach", "attention": "eager", "checkpointing": "full"}),
    ("opt-125m", {"precision": "bf16-true", "optimizer": "adafactor"}),
    ("smollm2-135m", {"precision": "bf16-true", "optimizer": "adamw-8bit"}),
    ("qwen3-0.6b", {"precision": "bf16-mixed", "finetuning": "lora", "steps": 3}),
    ("olmo-1b", {"precision": "bf16-mixed", "optimizer": "adamw-8bit-torchao"}),
]


def replayed(model: str, choices: dict[str, Any], **kept: int) -> Trace:
    gpus, steps = choices.get("gpus", 1), choices.get("steps", 1)
    axes = {axis: choice for axis, choice in choices.items() if axis not in ("gpus", "steps")}
    workload = {"gpus": gpus, "nodes": 1, "sequence_length": 64, "headroom": 0.05}
    problem, _, candidate = resolve_one(model, "A100-40GB", None, axes, workload, 1, steps)
    fields = problem.model.architecture.model_copy(update={"num_hidden_layers": LAYERS}).config()
    workload_of_a_rank = Workload(64, 1, steps, gpus, cublas_workspace_bytes=2**20)
    return replay(fields, candidate.strategy, workload_of_a_rank, progress=regular, **kept)


def regular(progress: str) -> None:
    """A replay that cannot extend its few blocks replays all of them, which would equal itself."""
    assert "blocks differ" not in progress


def in_order(trace: Trace) -> Iterator[tuple[Any, ...]]:
    """Events without storage numbers, which differ; the order of consecutive frees means nothing."""
    names = {storage: label.name for storage, label in trace.labels.items()}
    for section in trace.sections:
        yield section.phase, section.step
        for made, events in groupby(section.events, key=lambda event: event.size > 0):
            found = [(e.size, names[e.storage], e.scope) for e in events]
            yield from found if made else sorted(found, key=str)


@pytest.mark.parametrize(("model", "choices"), CASES, ids=str)
def test_the_extended_trace_is_that_of_the_whole_model(model: str, choices: dict[str, Any]) -> None:
    extended, whole = replayed(model, choices), replayed(model, choices, kept=WHOLE)
    assert list(in_order(extended)) == list(in_order(whole))


def test_what_blocks_free_of_a_first_one_that_allocates_less_is_found_in_the_others() -> None:
    """OLMo 3's first period makes masks' bytes elsewhere, so that its storages have other ordinals."""
    fields = {
        "model_type": "olmo3",
        "hidden_size": 64,
        "intermediate_size": 128,
        "vocab_size": 256,
        "num_attention_heads": 4,
        "num_hidden_layers": 24,
        "sliding_window": 32,
    }
    axes = {"precision": "bf16-mixed", "finetuning": "qlora", "checkpointing": "full"}
    workload = {"gpus": 1, "nodes": 1, "sequence_length": 64, "headroom": 0.05}
    _, _, candidate = resolve_one("smollm2-135m", "A100-40GB", None, axes, workload, 1, 1)
    extended, whole = (
        replay(fields, candidate.strategy, Workload(64, 1), kept=kept, progress=regular)
        for kept in (REPLAYED_PERIODS, WHOLE)
    )
    assert in_sizes(extended) == in_sizes(whole)


def in_sizes(trace: Trace) -> list[tuple[Any, ...]]:
    """Sizes of events without names and blocks, which depend on how blocks are divided into runs."""
    found: list[tuple[Any, ...]] = []
    for section in trace.sections:
        for made, events in groupby(section.events, key=lambda event: event.size > 0):
            sizes = [event.size for event in events]
            found.append((section.phase, *(sizes if made else sorted(sizes))))
    return found


INNER = Seen(-512, Address(1, 0, 7), -1, is_inner=True)
"""What a middle block frees of the other."""


@pytest.mark.parametrize(
    ("other", "is_common"),
    [
        (INNER, True),
        (INNER._replace(address=Address(1, 0, 5), is_inner=False), True),
        (INNER._replace(address=Address(1, 0, 5)), False),
        (INNER._replace(address=Address(2, 0, 7), is_inner=False), False),
        (INNER._replace(size=-1024, is_inner=False), False),
        (INNER._replace(distance=1, is_inner=False), False),
        (INNER._replace(address=None, other=3, is_inner=False), False),
    ],
    ids=str,
)
def test_only_a_block_at_the_end_may_have_another_ordinal(other: Seen, is_common: bool) -> None:
    expected = [INNER] if is_common else None
    assert in_common([INNER], [other]) == expected
    assert in_common([other], [INNER]) == expected


def test_blocks_of_which_few_would_be_left_out_are_all_replayed() -> None:
    model = torch.nn.Module()
    model.layers = torch.nn.ModuleList([torch.nn.Linear(n, n) for n in (*[1] * 5, 2, *[1] * 5, 3)])
    assert [run.missing for run in shorten(model, 4)] == [0] * len(shorten(model, 4))
    model.layers = torch.nn.ModuleList([torch.nn.Linear(1, 1) for _ in range(6)])
    assert [run.missing for run in shorten(model, 4)] == [2]


def test_blocks_that_would_be_left_out_are_an_error() -> None:
    """Nothing passes from the second block to the third: whatever the missing ones make would be lost."""
    events = [Event(10 * n + i, 512, (Scope(0, n), None)[i]) for n in range(4) for i in range(2)]
    trace = Trace([Section(Phase.OPTIMIZER, 1, events)], {e.storage: Label(None, "state") for e in events})
    run = BlockRun("layers", start=0, replayed_from=0, period=1, periods=6, kept=4)
    with pytest.raises(IrregularError, match="the trace is elsewhere"):
        extend(trace, [run])


def test_what_is_freed_was_allocated_once_and_with_that_size() -> None:
    live: dict[int, int] = {}
    for event in replayed(*CASES[1]).events():
        check(event, live)


def check(event: Event, live: dict[int, int]) -> None:
    if event.size > 0:
        assert event.storage not in live
        live[event.storage] = event.size
    else:
        assert live.pop(event.storage) == -event.size


HYBRID = "mmmmmammmmmmmmmammmmmmmmmammmmmmmmmammmm"
"""Layers of granite-4.0-h-tiny: Mamba, and attention in every tenth."""


@pytest.mark.parametrize(
    ("kinds", "runs", "replayed"),
    [
        ("a" * 32, [(0, 1, 32)], 4),
        ("d" + "e" * 60, [(0, 1, 1), (1, 1, 60)], 5),
        ("lllf" * 12, [(0, 4, 12)], 16),
        ("sssssf" * 5 + "ssss", [(0, 6, 5), (30, 1, 4)], 28),
        (
            HYBRID,
            [(0, 1, 5), (5, 1, 1), (6, 1, 9), (15, 1, 1), (16, 1, 9), (25, 1, 1), (26, 1, 9), (35, 1, 1), (36, 1, 4)],
            24,
        ),
        ("", [], 0),
    ],
    ids=lambda x: x if isinstance(x, str) else "",
)
def test_as_few_blocks_as_possible_are_replayed(kinds: str, runs: list[tuple[int, int, int]], replayed: int) -> None:
    found = repetitions(kinds, kept=4)
    assert list(found) == runs
    assert sum(period * min(count, 4) for _, period, count in found) == replayed


def test_a_hybrid_between_whose_attending_layers_blocks_were_left_out_is_the_whole_one() -> None:
    fields = {
        "model_type": "granitemoehybrid",
        "hidden_size": 64,
        "intermediate_size": 64,
        "shared_intermediate_size": 64,
        "vocab_size": 256,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "mamba_n_heads": 8,
        "mamba_d_head": 16,
        "num_hidden_layers": 13,
        "layer_types": [*["mamba"] * 6, "attention", *["mamba"] * 6],
    }
    extended, whole = (
        replay(fields, PLAIN, Workload(64, 1), kept=kept, progress=regular) for kept in (REPLAYED_PERIODS, WHOLE)
    )
    assert extended.peaks() == whole.peaks()
    assert sum(1 for _ in extended.events()) == sum(1 for _ in whole.events())
