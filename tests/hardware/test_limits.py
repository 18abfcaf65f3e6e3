"""Bounds of what a catalog says and of what is read at all: the last value that is taken and the first that is not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from hardware import GIB, GPU, MIB, CatalogError, load_catalog
from hardware.errors import nearest_names, shown
from hardware.files.document import MAX_PROBLEMS, Document
from hardware.files.json_text import JsonError, decoded, parse_json
from hardware.files.yaml_text import read_document

FIELDS: dict[str, Any] = load_catalog().get("A100-40GB").model_dump(exclude_unset=True)


def test_units_of_memory_are_powers_of_two() -> None:
    assert (MIB, GIB) == (1_048_576, 1_073_741_824)


def gpu(**fields: Any) -> GPU:
    return GPU.model_validate({**FIELDS, **fields})


LINK = {"kind": "pcie"}


@pytest.mark.parametrize(
    ("field", "least", "most"),
    [
        ("memory_bytes", 16 * MIB, 4096 * GIB),
        ("context_bytes", 16 * MIB, 4096 * GIB),
        ("memory_bandwidth_bytes_per_second", 10**6, 10**14),
        ("gpus_per_node", 1, 1024),
    ],
)
def test_a_number_is_taken_between_its_bounds_and_refused_beyond(field: str, least: int, most: int) -> None:
    for value in (least, most):
        assert getattr(gpu(**{field: value}), field) == value
    for value in (least - 1, most + 1):
        with pytest.raises(ValidationError, match=field):
            gpu(**{field: value})


def test_rates_of_links_and_units_are_bounded_as_well() -> None:
    assert gpu(peak_flops={"fp32": 10**6, "fp8": 10**18}).peak_flops.fp8 == 10**18
    assert gpu(gpu_link={**LINK, "bytes_per_second": 10**14}).gpu_link.bytes_per_second == 10**14
    for fields in (
        {"peak_flops": {"fp32": 10**6 - 1}},
        {"peak_flops": {"fp32": 10**18 + 1}},
        {"gpu_link": {**LINK, "bytes_per_second": 10**6 - 1}},
        {"host_link": {**LINK, "bytes_per_second": 10**14 + 1}},
    ):
        with pytest.raises(ValidationError):
            gpu(**fields)


@pytest.mark.parametrize(("price", "fits"), [(0.0, False), (0.01, True), (1000.0, True), (1000.1, False)])
def test_a_price_is_above_nothing_and_at_most_a_thousand(price: float, fits: bool) -> None:
    if fits:
        assert gpu(price_per_hour_usd=price).price_per_hour_usd == price
    else:
        with pytest.raises(ValidationError, match="price_per_hour_usd"):
            gpu(price_per_hour_usd=price)
    assert gpu().price_per_hour_usd == FIELDS.get("price_per_hour_usd")


def test_texts_are_of_one_line_and_not_endless() -> None:
    assert gpu(source="x" * 1000, architecture="y").source == "x" * 1000
    for text in ("", "x" * 1001, "two\nlines", "bell\a"):
        with pytest.raises(ValidationError, match="source"):
            gpu(source=text)
    assert gpu(name="x" * 100).name == "x" * 100
    for name in ("x" * 101, "", ".x", "x/y"):
        with pytest.raises(ValidationError, match="name"):
            gpu(name=name)


def test_what_a_catalog_leaves_out_is_unknown() -> None:
    bare = gpu(aliases=(), network_link=None, peak_flops={"fp32": 1e12})
    assert (bare.network_link, bare.aliases) == (None, ())
    assert {dtype: bare.peak_flops.of(dtype) for dtype in ("tf32", "fp16", "bf16", "fp8", "int8")} == dict.fromkeys(
        ("tf32", "fp16", "bf16", "fp8", "int8")
    )
    with pytest.raises(ValidationError):
        gpu(unknown=1)


@pytest.mark.parametrize(
    ("vendor", "good", "bad"),
    [
        ("nvidia", ("8.0", "12.1", "10.3"), ("8", "800.0", "8.00", "sm80", "8.x")),
        ("amd", ("gfx942", "gfx90a", "gfx10300"), ("942", "gfx9", "gfx94z", "gfx123456")),
        ("intel", ("gaudi2", "xe-hpc"), ("2gaudi", "Gaudi2", "-x")),
    ],
)
def test_a_compute_capability_is_of_its_vendors_form(vendor: str, good: tuple[str, ...], bad: tuple[str, ...]) -> None:
    for text in good:
        assert gpu(vendor=vendor, compute_capability=text).compute_capability == text
    for text in bad:
        with pytest.raises(ValidationError, match="is not of"):
            gpu(vendor=vendor, compute_capability=text)


# --- what a GPU can do, by its capability ---

CONTEXT_MIB = {
    "6.0": 300,
    "7.0": 390,
    "7.5": 300,
    "8.0": 500,
    "8.6": 350,
    "8.9": 470,
    "9.0": 520,
    "10.0": 715,
    "10.3": 715,
    "12.0": 350,
    "9.9": 500,
}


@pytest.mark.parametrize(("capability", "mebibytes"), CONTEXT_MIB.items())
def test_a_context_takes_what_was_measured_on_its_architecture(capability: str, mebibytes: int) -> None:
    fields = {name: value for name, value in FIELDS.items() if name != "context_bytes"}
    found = GPU.model_validate({**fields, "compute_capability": capability})
    assert found.context_bytes == mebibytes * MIB


def features(capability: str, vendor: str = "nvidia", **peaks: float) -> set[str]:
    """What a GPU supports that has half precision and, unless told otherwise, no other matrix units."""
    peak_flops = {"fp32": 1e12, "fp16": 1e13, "bf16": 1e13, **peaks}
    found = gpu(vendor=vendor, compute_capability=capability, peak_flops=peak_flops)
    names = ("fp16", "bf16", "tf32", "fp8", "flash_attention", "bitsandbytes", "triton")
    return {name for name in names if getattr(found, f"supports_{name}")} | (
        {"cudnn"} if found.prefers_cudnn_attention else set()
    )


def test_nvidia_supports_by_compute_capability() -> None:
    assert features("5.2") == {"fp16"}
    assert features("6.0") == {"fp16", "bitsandbytes"}
    assert features("6.1") == {"fp16", "bitsandbytes"}
    assert features("7.0") == features("7.5") == {"fp16", "bitsandbytes", "triton"}
    ampere = {"fp16", "bitsandbytes", "triton", "bf16", "tf32", "flash_attention"}
    assert features("8.0") == features("8.6") == ampere
    assert features("8.9") == features("12.0") == features("12.1") == ampere | {"fp8"}
    assert features("9.0") == features("10.0") == features("10.3") == ampere | {"fp8", "cudnn"}
    assert features("12.2") == features("13.0") == (ampere | {"fp8"}) - {"flash_attention"}


def test_amd_supports_by_its_architecture_and_what_its_peaks_say() -> None:
    assert features("gfx908", "amd") == {"fp16", "bf16", "triton"}
    newer = {"fp16", "bf16", "triton", "flash_attention", "bitsandbytes"}
    assert features("gfx90a", "amd") == features("gfx942", "amd") == features("gfx950", "amd") == newer
    assert features("gfx942", "amd", tf32=1e13) == newer | {"tf32"}
    assert features("gfx942", "amd", fp8=1e13) == newer | {"fp8"}


def test_gaudi_supports_all_but_triton_and_tf32() -> None:
    gaudi = {"fp16", "bf16", "flash_attention", "bitsandbytes"}
    assert features("gaudi2", "intel") == features("gaudi2", "intel", tf32=1e13) == gaudi
    assert features("gaudi2", "intel", fp8=1e13) == gaudi | {"fp8"}


@pytest.mark.parametrize(
    ("vendor", "capability", "bytes_"),
    [
        ("nvidia", "8.9", 8_519_680),
        ("nvidia", "9.0", 32 * MIB),
        ("nvidia", "12.0", 32 * MIB),
        ("amd", "gfx90a", 32 * MIB),
        ("amd", "gfx942", 128 * MIB),
        ("amd", "gfx950", 128 * MIB),
        ("intel", "gaudi3", 0),
    ],
)
def test_a_blas_workspace_is_of_its_architecture(vendor: str, capability: str, bytes_: int) -> None:
    assert gpu(vendor=vendor, compute_capability=capability).cublas_workspace_bytes == bytes_


# --- JSON ---


def test_json_is_read_up_to_its_limits() -> None:
    for text in ("[" * 49 + "1" + "]" * 49, "[" * 50 + "]" * 50):  # a value is a level
        assert parse_json(text) == json.loads(text)
    assert parse_json('{"a": [1, 2.5, true, null, "x"]}') == {"a": [1, 2.5, True, None, "x"]}
    assert parse_json("9" * 40) == int("9" * 40)
    assert len(parse_json("[" + ",".join(["[]"] * 99_999) + "]")) == 99_999


@pytest.mark.parametrize(
    ("text", "message", "line", "column"),
    [
        ("[" * 50 + "1" + "]" * 50, "nested deeper than 50 levels", 0, 0),
        ('{"a":' * 50 + "1" + "}" * 50, "nested deeper than 50 levels", 0, 0),
        ("[" * 90_000, "nested deeper than 50 levels", 0, 0),
        ("9" * 41, "a number with more than 40 digits", 0, 0),
        ("[" + ",".join(["{}"] * 100_000) + "]", "more than 100000 objects and lists", 0, 0),
        ('{"a": 1,\n "b" 2}', "not valid JSON: Expecting ':' delimiter", 2, 6),
        ("", "not valid JSON: Expecting value", 1, 1),
    ],
    ids=lambda x: str(x)[:20],
)
def test_json_beyond_its_limits_is_refused(text: str, message: str, line: int, column: int) -> None:
    with pytest.raises(JsonError) as refused:
        parse_json(text)
    assert (refused.value.message, refused.value.line, refused.value.column) == (message, line, column)


def test_bytes_are_decoded_with_and_without_a_mark() -> None:
    assert decoded(b"\xef\xbb\xbf{}") == decoded(b"{}") == "{}"
    with pytest.raises(JsonError) as refused:
        decoded(b"one\ntw\xffo")
    assert (refused.value.message, refused.value.line, refused.value.column) == ("not UTF-8 text (byte 0xff)", 2, 3)


# --- YAML ---


def problem_of(path: Path, content: str) -> str | None:
    path.write_text(content)
    try:
        read_document(path).raise_problems()
    except CatalogError as error:
        return error.problems[0].partition(": ")[2]
    return None


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("[" * 20 + "]" * 20, None),
        ("[" * 21 + "]" * 21, "(file): nested deeper than 20 levels"),
        ("a: " + "x" * 10_000, None),
        ("a: " + "x" * 10_001, "(file): a value of more than 10000 characters"),
        (f"a: {2**128 - 1}", None),
        (f"a: {2**128}", "a: '340282366920938463463374607431768211456' has too many digits"),
        ("[" + "1," * 49_999 + "]", None),
        ("[" + "1," * 50_000 + "]", "(file): more than 50000 values, aliases included"),
    ],
    ids=lambda x: str(x)[:20],
)
def test_yaml_is_read_up_to_its_limits(content: str, problem: str | None, tmp_path: Path) -> None:
    assert problem_of(tmp_path / "x.yaml", content) == problem


def test_aliases_count_as_often_as_they_are_used(tmp_path: Path) -> None:
    def of(number: int) -> str | None:
        return problem_of(tmp_path / "x.yaml", f"a: &a [{'1,' * 998}]\nb: [{'*a,' * number}]")

    # The mapping, two keys, a list of 998 and itself; then a list, and 999 for each alias of it: 1,003 + 999 n.
    assert of(49) is None
    assert of(50) == "(file): more than 50000 values, aliases included"
    assert problem_of(tmp_path / "x.yaml", "a: &a 1\nb: [*a, *a]") is None


def test_a_megabyte_is_read_and_no_more(tmp_path: Path) -> None:
    assert problem_of(tmp_path / "x.yaml", "#" * 2**20) is None
    assert problem_of(tmp_path / "x.yaml", "#" * (2**20 + 1)) == "(file): larger than 1048576 bytes"


def test_after_fifty_problems_the_rest_is_not_read() -> None:
    document = Document("x.yaml")
    for number in range(49):
        document.add_problem_at((number, 1), (f"k{number}",), "odd")
    document.add_problem_at((0, 1), ("k0",), "odd")  # the same one again
    with pytest.raises(CatalogError) as refused:
        document.add_problem_at((50, 1), ("last",), "odd")
    assert len(refused.value.problems) == MAX_PROBLEMS == 50
    assert refused.value.hint == "the rest of the file was not read"


def test_of_fewer_problems_the_hint_is_the_files() -> None:
    document = Document("x.yaml", hint="look again")
    document.raise_problems()
    document.add_problem(("a",), "odd")
    with pytest.raises(CatalogError) as refused:
        document.raise_problems()
    assert (refused.value.problems, refused.value.hint) == (["x.yaml:1:1: a: odd"], "look again")


# --- names and values in errors ---


def test_a_value_is_shown_up_to_sixty_characters() -> None:
    assert shown("x" * 58) == repr("x" * 58)
    assert shown("x" * 59) == repr("x" * 59)[:57] + "..."
    assert len(shown("x" * 59)) == 60

    class Broken:
        def __repr__(self) -> str:
            raise RuntimeError

    assert shown(Broken()) == "a Broken"


def test_names_are_near_if_they_begin_with_or_contain_or_resemble_what_was_given() -> None:
    known = ["alpha", "alphabet", "beta", "an-alpha", "alpina"]
    assert nearest_names("alpha", known) == ("alpha", "alphabet", "an-alpha")
    assert nearest_names("alpah", known) == ("alpha", "alpina", "an-alpha", "alphabet")
    assert nearest_names("zzzzz", known) == ()
    assert nearest_names("a", ["a1", "b"]) == ("a1",)  # one letter is no part of a name, but resembles a short one
    assert nearest_names("a", ["alpha-centauri"]) == ()
    assert nearest_names("l4", ["nvidia-l4-of-a-cloud", "a-long-name"]) == ("nvidia-l4-of-a-cloud",)
    assert len(nearest_names("x", ["x1", "x2", "x3", "x4", "x5"])) == 4
    assert nearest_names("x" * 200, ["x" * 200]) == ("x" * 200,)
    assert nearest_names("x" * 201, ["x" * 201]) == ()
