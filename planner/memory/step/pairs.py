"""Composes a step of contrastive training: one pass for each text of a pair, a loss over both, and one backward.

Autograd's nodes run from the last one made to the first: the whole backward of the second pass comes before that of the
first one. Source: sentence-transformers 6.2, sentence_transformer/losses/multiple_negatives_ranking.py, which embeds
two columns one after the other, and base/trainer.py, whose `compute_loss` holds both columns' features until it
returns.
"""

from __future__ import annotations

from collections.abc import Sequence

from planner.memory.settings.dtypes import FP32
from planner.memory.settings.parts import Part
from planner.memory.sharding.layout import Layout
from planner.memory.step.outputs import IN_FORWARD, raised
from planner.memory.step.step import Lines, Moment, Position, compose, largest_lines

COLUMNS = 2
"""Texts of a sample: an anchor, and the text that belongs to it."""

SCORES = 4
"""Matrices of all anchors' scores with all texts that exist at once around the start of backward: the scaled scores,
those that the log-sum-exp has saved, and in backward two gradients of them."""


def paired(places: Sequence[Position], parts: Sequence[Part], second: Layout, first: Layout) -> Lines:
    """Returns the lines of both passes by moment, without what persists and without the scores.

    Args:
        places: Positions among the parts of one pass.
        parts: Stem, blocks, head and loss.
        second: What is around the pass that runs last, and comes first in backward.
        first: What is around the other one.
    """
    *model, loss = parts
    saved = sum(part.saved[0] for part in model), sum(part.saved[1] for part in model)
    kept = sum(part.kept[0] for part in model), sum(part.kept[1] for part in model)
    features = model[-1].outputs[1]
    embedding = loss.input_bytes
    in_forward, in_backward = (saved[0], saved[1] + features + embedding), (saved[0], saved[1] + embedding)
    lines, others = compose(places, second), compose(places, first)
    found = {m: [*raised(x, in_forward if m in IN_FORWARD else in_backward, saved)] for m, x in lines.items()}
    for moment, more in others.items():
        if moment not in IN_FORWARD:
            found[moment] += raised(more, kept)
    return {moment: largest_lines(x) for moment, x in found.items()}


def with_scores(lines: Lines, micro_batch_size: int) -> Lines:
    """Returns the lines with the matrices of scores, whose sizes are squares of the micro-batch, in samples."""
    size = SCORES * FP32 * micro_batch_size**2
    around = (Moment.END_OF_FORWARD, Moment.START_OF_BACKWARD)
    return {m: tuple(raised(x, (size, 0))) if m in around else x for m, x in lines.items()}
