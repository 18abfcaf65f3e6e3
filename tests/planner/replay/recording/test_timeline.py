"""The steady step's live bytes by category."""

from planner.replay.recording.timeline import block_of, timeline_of
from planner.replay.recording.trace import Event, Label, Phase, Section, Trace
from planner.report.parts.categories import STACKED
from planner.verification.replayed import Verified

LABELS = {
    1: Label("parameters", "model.layers.0.weight"),
    2: Label(None, "model.layers.0.mlp mm"),
    3: Label("gradients", "model.layers.0.weight.grad"),
}


def handmade() -> Trace:
    sections = [Section(Phase.LOADING, 0, [Event(1, 512, None)])]
    for step in (1, 2):
        sections += [
            Section(Phase.FORWARD, step, [Event(2, 1024, None)]),
            Section(Phase.BACKWARD, step, [Event(3, 512, None), Event(2, -1024, None)]),
            Section(Phase.OPTIMIZER, step, [Event(3, -512, None)]),
        ]
    return Trace(sections, LABELS, {})


def test_the_last_step_begins_with_what_stays_and_ends_with_it() -> None:
    timeline = timeline_of(handmade(), STACKED)
    assert [change.total_bytes for change in timeline.changes] == [512, 1536, 2048, 1024, 512]
    assert timeline.changes[0].live == timeline.changes[-1].live
    assert dict(zip(timeline.categories, timeline.changes[2].live, strict=True)) == {
        **dict.fromkeys(STACKED, 0),
        "parameters": 512,
        "gradients": 512,
        "activations": 1024,
    }


def test_the_peak_and_its_phase() -> None:
    timeline = timeline_of(handmade(), STACKED)
    assert (timeline.peak, timeline.phase_at(timeline.peak)) == (2, "backward")
    assert [(span.phase, span.start, span.end) for span in timeline.spans] == [
        ("forward", 0, 2),
        ("backward", 2, 4),
        ("optimizer", 4, 5),
    ]


def test_a_name_says_its_block() -> None:
    names = ["model.layers.12.mlp mm", "model.layers.3 MmBackward0", "transformer.h.7", "lm_head.weight", "conv1d mm"]
    assert [block_of(name) for name in names] == [12, 3, 7, None, None]


def test_a_replayed_step_is_steady(verified: Verified) -> None:
    timeline = timeline_of(verified.trace, STACKED)
    assert timeline.changes[0].live == timeline.changes[-1].live
    assert [span.phase for span in timeline.spans] == ["forward", "backward", "forward", "backward", "optimizer"]
