"""Profiles of a model are kept on disk, read again, and made again where they are damaged or of another replay."""

import os
from pathlib import Path

import pytest

import planner
from planner.profiles import replayed, store
from planner.profiles.records import Refusal


def test_fit_searches_a_model_of_ones_own_and_keeps_its_profiles(monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"gpu": "T4", "sequence_length": 64, "finetuning": ["full", "lora"]}
    first = planner.fit("own_models:two_kinds", **options)
    assert first.plans[0].memory.fits
    assert first.request.num_parameters == 265_332
    monkeypatch.setattr(replayed, "replayed", lambda *_: pytest.fail("replayed again"))
    again = planner.fit("own_models:two_kinds", **options)
    assert again.plans == first.plans
    with pytest.raises(pytest.fail.Exception):
        planner.fit("own_models:two_kinds", **{**options, "sequence_length": 32})


def test_a_profile_that_cannot_be_read_is_made_again(tmp_path: Path) -> None:
    first = planner.estimate("own_models:two_kinds", gpu="T4", precision="fp32", sequence_length=64)
    kept = sorted((tmp_path / "cache").iterdir())
    content = [file.read_bytes() for file in kept]
    kept[0].write_bytes(content[0][:-20])
    kept[1].write_bytes(content[1].replace(b'"version":6', b'"version": 6'))
    again = planner.estimate("own_models:two_kinds", gpu="T4", precision="fp32", sequence_length=64)
    note = f"2 kept profiles in {tmp_path / 'cache'} were damaged, and were measured again."
    assert again == first.model_copy(update={"notes": (*first.notes[:1], note, *first.notes[1:])})
    assert [file.read_bytes() for file in kept] == content


@pytest.mark.parametrize("place", ["pipe", "directory", "link to a device"])
def test_what_stands_in_the_place_of_a_profile_does_not_block(place: str, tmp_path: Path) -> None:
    first = planner.estimate("own_models:two_kinds", gpu="T4", precision="fp32", sequence_length=64)
    for file in (tmp_path / "cache").iterdir():
        file.unlink()
        if place == "pipe":
            os.mkfifo(file)
        elif place == "directory":
            file.mkdir()
        else:
            file.symlink_to("/dev/zero")
    again = planner.estimate("own_models:two_kinds", gpu="T4", precision="fp32", sequence_length=64)
    assert again.memory == first.memory
    assert "were damaged, and were measured again" in again.notes[1]


def test_a_record_of_another_replay_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Refusal(reason="it has no blocks")
    store.keep(kept, "a model")
    assert store.read(Refusal, "a model", damaged=pytest.fail) == kept
    (tmp_path / "step.py").write_text("# another replay\n")
    monkeypatch.setattr(store, "REPLAY", tmp_path)
    store.digest_of_replay.cache_clear()
    assert store.read(Refusal, "a model", damaged=pytest.fail) is None
    store.digest_of_replay.cache_clear()
