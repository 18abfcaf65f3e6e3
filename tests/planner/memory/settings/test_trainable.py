"""Which parameters of stem, blocks and head train under each method."""

from __future__ import annotations

import pytest

from planner.memory.settings.trainable import Trainable, copies_modules, trained_at_ends, trained_in_blocks
from strategies import BitFit, Freeze, Full, Lora, Method, TrainedModules

NONE, EMBEDDINGS, HEAD, BOTH = TrainedModules


def test_nothing_trains_unless_it_is_said() -> None:
    assert Trainable() == Trainable(weights=False, biases=False, embedding=False, head=False)


@pytest.mark.parametrize(
    ("method", "untied", "tied"),
    [
        # (weights, biases, embedding, head)
        (Full(), (True, False, True, True), (True, False, True, True)),
        (Lora(), (False, False, False, False), (False, False, False, False)),
        (BitFit(), (False, True, False, False), (False, True, False, False)),
        (Freeze(), (False, False, False, False), (False, False, False, False)),
        # what is tied is one weight, of which PEFT makes two copies
        (Freeze(2, EMBEDDINGS), (False, False, True, False), (False, False, True, True)),
        (Freeze(2, HEAD), (False, False, False, True), (False, False, True, True)),
        (Freeze(2, BOTH), (False, False, True, True), (False, False, True, True)),
        (Lora(trained_modules=EMBEDDINGS), (False, False, True, False), (False, False, True, False)),
        (Lora(trained_modules=HEAD), (False, False, False, True), (False, False, False, True)),
        (Lora(trained_modules=BOTH), (False, False, True, True), (False, False, True, True)),
    ],
    ids=str,
)
def test_at_the_ends_train_the_modules_that_are_named(
    method: Method, untied: tuple[bool, ...], tied: tuple[bool, ...]
) -> None:
    assert trained_at_ends(method, tied=False) == untied
    assert trained_at_ends(method, tied=True) == tied


WHOLE, BIASES, FROZEN = Trainable(weights=True), Trainable(biases=True), Trainable()


@pytest.mark.parametrize(
    ("method", "blocks"),
    [
        (Full(), [WHOLE] * 4),
        (Lora(), [FROZEN] * 4),
        (Lora(trained_modules=BOTH), [FROZEN] * 4),
        (BitFit(), [BIASES] * 4),
        (Freeze(1), [FROZEN, FROZEN, FROZEN, WHOLE]),
        (Freeze(3), [FROZEN, WHOLE, WHOLE, WHOLE]),
        (Freeze(4), [WHOLE] * 4),
    ],
    ids=str,
)
def test_of_the_blocks_all_train_or_biases_or_the_last(method: Method, blocks: list[Trainable]) -> None:
    assert trained_in_blocks(method, 4) == tuple(blocks)


def test_only_peft_trains_copies_of_modules() -> None:
    assert [copies_modules(Lora(trained_modules=modules)) for modules in TrainedModules] == [False, True, True, True]
    assert not any(copies_modules(method) for method in (Full(), BitFit(), Freeze(2, BOTH)))
