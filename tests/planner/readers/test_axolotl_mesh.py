"""Sizes of the mesh in axolotl 0.19: GPUs that share a copy of the model, and copies (utils/distributed.py)."""

from __future__ import annotations

from pathlib import Path

import pytest

from planner.readers.documents.reading import Reading
from planner.readers.documents.source import read_source
from planner.readers.registry import READERS
from planner.readers.run import Run
from strategies import Sharding

FSDP2 = "base_model: meta-llama/Llama-3.2-1B\nbf16: true\nfsdp_version: 2\nfsdp_config: {reshard_after_forward: true}\n"
FSDP1 = FSDP2.replace("fsdp_version: 2", "fsdp_version: 1")


def read(text: str, tmp_path: Path, ranks: int | None) -> Reading:
    file = tmp_path / "run.yaml"
    file.write_text(text)
    return Run([read_source(str(file))], READERS, {}, ranks).reading


@pytest.mark.parametrize("more", ["", "dp_shard_size: 8\n", "dp_shard_size: 8\ndp_replicate_size: 1\n"])
def test_one_copy_on_all_gpus_is_full_sharding(more: str, tmp_path: Path) -> None:
    reading = read(FSDP2 + more, tmp_path, 8)
    assert reading.refused == []
    assert (reading.value("sharding"), reading.value("shard_size")) == (Sharding.FULL_SHARD, None)


@pytest.mark.parametrize(
    "more", ["dp_shard_size: 4\n", "dp_replicate_size: 2\n", "dp_shard_size: 4\ndp_replicate_size: 2\n"]
)
def test_several_copies_are_hybrid_sharding(more: str, tmp_path: Path) -> None:
    reading = read(FSDP2 + more, tmp_path, 8)
    assert reading.refused == []
    assert (reading.value("sharding"), reading.value("shard_size")) == (Sharding.HYBRID_SHARD, 4)


@pytest.mark.parametrize(
    ("more", "gpus", "nodes", "sharding"),
    [
        ("dp_shard_size: 4\n", 4, 1, Sharding.FULL_SHARD),
        ("dp_shard_size: 16\n", 8, 2, Sharding.FULL_SHARD),
        ("dp_shard_size: 8\ndp_replicate_size: 2\n", 8, 2, Sharding.HYBRID_SHARD),
    ],
)
def test_the_mesh_says_the_gpus_where_nothing_else_does(
    more: str, gpus: int, nodes: int, sharding: Sharding, tmp_path: Path
) -> None:
    reading = read(FSDP2 + more, tmp_path, None)
    assert (reading.value("gpus"), reading.value("nodes"), reading.value("sharding")) == (gpus, nodes, sharding)


@pytest.mark.parametrize(
    ("text", "ranks", "what"),
    [
        (FSDP2 + "dp_shard_size: 16\n", 8, "1 copies on 16 GPUs each, where there are 8 GPUs"),
        (FSDP2 + "dp_shard_size: 4\ndp_replicate_size: 4\n", 8, "4 copies on 4 GPUs each, where there are 8 GPUs"),
        (FSDP1 + "dp_shard_size: 8\n", 8, "a mesh of data-parallel sizes without FSDP2, which accelerate refuses"),
        (FSDP2 + "dp_shard_size: 12\n", None, "12 GPUs, which are no whole nodes of 8"),
    ],
)
def test_a_mesh_that_does_not_cover_the_gpus_is_refused(
    text: str, ranks: int | None, what: str, tmp_path: Path
) -> None:
    assert what in [refused.what for refused in read(text, tmp_path, ranks).refused]


def test_copies_without_fsdp_are_plain_data_parallel(tmp_path: Path) -> None:
    reading = read("base_model: m/m\nbf16: true\ndp_replicate_size: 8\n", tmp_path, 8)
    assert (reading.value("sharding"), reading.refused) == (Sharding.NO_SHARD, [])
