from pathlib import Path

import pytest

from hardware import Catalog, CatalogError, load_catalog, read_catalog
from hardware.names.named import claim_names, name_key

WRONG_EVERYWHERE = """\
schema_version: 2
gpu: {}
gpus:
  X1:
    vendor: nvidia
    aliases: [4090, T4]
    memory_bites: 3
    memory_bandwidth_bytes_per_second: .inf
    peak_flops: {fp32: -1, fp15: 3}
    name: X2
  A100: {memory_bytes: true}
  a100-80gb: {gpus_per_node: 8}
  T4: {aliases: ["4090", H100], compute_capability: "7"}
  Y: 3
  "4090": {memory_bytes: 24}
"""

X = """\
gpus:
  X:
    vendor: nvidia
    architecture: ampere
    compute_capability: "8.0"
    memory_bytes: 42_000_000_000
    memory_bandwidth_bytes_per_second: 1555e9
    peak_flops: {fp32: 19.5e12}
    gpu_link: {kind: nvlink, bytes_per_second: 300e9}
    host_link: {kind: pcie, bytes_per_second: 31.5e9}
    gpus_per_node: 8
    source: invented
"""


def problems_of(directory: Path, content: str, base: Catalog | None) -> list[str]:
    path = directory / "my.yaml"
    path.write_text(content)
    with pytest.raises(CatalogError) as caught:
        read_catalog(path, base)
    return [problem.removeprefix(f"{directory}/") for problem in caught.value.problems]


def test_all_problems_of_a_file_are_reported_at_once_with_line_column_and_path(tmp_path: Path) -> None:
    assert problems_of(tmp_path, WRONG_EVERYWHERE, load_catalog()) == [
        "my.yaml:1:17: schema_version: must be 1, not 2",
        "my.yaml:2:1: gpu: unknown key, did you mean gpus?",
        "my.yaml:4:3: gpus.X1.architecture: this field is required",
        "my.yaml:4:3: gpus.X1.compute_capability: this field is required",
        "my.yaml:4:3: gpus.X1.memory_bytes: this field is required",
        "my.yaml:4:3: gpus.X1.gpu_link: this field is required",
        "my.yaml:4:3: gpus.X1.host_link: this field is required",
        "my.yaml:4:3: gpus.X1.gpus_per_node: this field is required",
        "my.yaml:4:3: gpus.X1.source: this field is required",
        "my.yaml:6:15: gpus.X1.aliases.0: must be text: put 4090 in quotes",
        "my.yaml:7:19: gpus.X1.memory_bites: unknown field, did you mean memory_bytes?",
        "my.yaml:8:40: gpus.X1.memory_bandwidth_bytes_per_second: must be finite, not inf",
        "my.yaml:9:24: gpus.X1.peak_flops.fp32: must be greater than or equal to 1000000, not -1",
        "my.yaml:9:34: gpus.X1.peak_flops.fp15: unknown field, did you mean fp16?",
        "my.yaml:10:11: gpus.X1.name: unknown field: the key above is the name",
        "my.yaml:11:24: gpus.A100.memory_bytes: must be a number of bytes, or a size such as 48GB, not True",
        "my.yaml:12:3: gpus.a100-80gb: duplicate: A100-80GB-SXM is already given above",
        "my.yaml:13:3: gpus.T4: compute_capability '7' is not of nvidia's form, such as \"8.0\"",
        "my.yaml:14:6: gpus.Y: must be a mapping of fields, not 3",
        "my.yaml:15:26: gpus.4090.memory_bytes: must be greater than or equal to 16777216, not 24",
    ]


def test_an_alias_that_names_another_gpu_is_refused(tmp_path: Path) -> None:
    content = X + '    aliases: [Y, "nvidia t4"]\n  Y:\n' + X.split("X:\n")[1]
    assert problems_of(tmp_path, content, load_catalog()) == [
        "my.yaml:13:18: gpus.X.aliases.1: the name 'nvidia t4' already belongs to T4",
        "my.yaml:14:3: gpus.Y: the name 'Y' already belongs to X",
    ]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (
            "",
            "my.yaml:1:1: (file): must be a mapping with the key gpus or machines; the file is empty",
        ),
        ("- 1", "my.yaml:1:1: (file): must be a mapping with the key gpus or machines; not [1]"),
        ("schema_version: 1", "my.yaml:1:1: gpus: must be a mapping of GPU names, not None"),
        ("schema_version: true\ngpus: {}", "my.yaml:1:17: schema_version: must be 1, not True"),
        ("gpus: [T4]", "my.yaml:1:1: gpus: must be a mapping of GPU names, not ['T4']"),
    ],
)
def test_a_file_of_another_shape_is_refused(tmp_path: Path, content: str, expected: str) -> None:
    assert problems_of(tmp_path, content, None) == [expected]


def test_a_complete_entry_needs_no_base(tmp_path: Path) -> None:
    path = tmp_path / "my.yaml"
    path.write_text(X)
    assert read_catalog(path).get("x").memory_bytes == 42_000_000_000


def test_the_vendor_in_front_of_a_name_does_not_count() -> None:
    assert name_key("NVIDIA A100-SXM4-80GB") == name_key("a100_sxm4 80gb")


def test_claiming_a_taken_name_yields_its_owner_and_keeps_it() -> None:
    owners: dict[str, str] = {}
    assert list(claim_names(owners, "A", ("B",))) == []
    assert list(claim_names(owners, "C", ("b", "D"))) == [(0, "A")]
    assert owners == {"a": "A", "b": "A", "c": "C", "d": "C"}


def test_sizes_are_taken_with_their_unit(tmp_path: Path) -> None:
    file = tmp_path / "my.yaml"
    file.write_text("gpus: {Mine: {base: T4, memory_bytes: 15.5GiB, host_memory_bytes: 64 GB, aliases: [], source: x}}")
    mine = load_catalog(file).get("Mine")
    assert (mine.memory_bytes, mine.host_memory_bytes) == (31 * 2**29, 64 * 10**9)
