"""Padded and packed samples have masks, packed ones positions of their own as well."""

from __future__ import annotations

from strategies import Batching


def test_padding_masks_samples_and_packing_numbers_them_too() -> None:
    assert {batching: tuple(batching.facts) for batching in Batching} == {
        Batching.FULL: (False, False),
        Batching.PADDED: (True, False),
        Batching.PACKED: (True, True),
    }
    assert Batching.PADDED.facts._fields == ("masks_samples", "numbers_samples")
