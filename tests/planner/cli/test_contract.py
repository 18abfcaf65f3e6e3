"""Exit codes, and what is said where."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from planner.cli import main

FITS = ("fit", "tinyllama-1.1b", "--gpu", "A100-40GB")
FIT = "planner fit llama-2-7b --gpu A100-40GB"


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("PLANNER_CATALOG", "PLANNER_DEBUG", "FORCE_COLOR"):
        monkeypatch.delenv(variable, raising=False)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments))


@pytest.mark.parametrize(
    ("arguments", "exit_code"),
    [
        (FITS, 0),
        (("fit", "llama-2-70b", "--gpu", "T4"), 1),
        (("fit", "llama-2-70b", "--gpu", "T4", "--json"), 1),
        (("estimate", "tinyllama-1.1b", "--gpu", "A100-40GB"), 0),
        (("estimate", "llama-2-70b", "--gpu", "T4", "--precision", "fp16-mixed"), 1),
        (("fit", "gpt2", "--vram", "16GiB"), 0),
        (("gpus",), 0),
        (("gpus", "show", "a100 40gb"), 0),
        (("gpus", "a100 40gb"), 0),
        (("machines",), 0),
        (("machines", "p5.48xlarge"), 0),
        (("models", "llama-2-7b"), 0),
        (("models",), 0),
        (("models", "show", "7B"), 0),
        (("choices",), 0),
        (("choices", "sharding-backend"), 0),
        (("choices", "lora-dropout"), 0),
        (("schema", "fit"), 0),
    ],
)
def test_an_answer_goes_to_stdout_alone(arguments: tuple[str, ...], exit_code: int) -> None:
    result = run(*arguments)
    assert result.exit_code == exit_code
    assert result.stdout.endswith("\n")
    assert result.stderr == ""


@pytest.mark.parametrize(
    ("size", "gpu"), [("24", "24GiB"), ("24G", "24GiB"), ("24 gib", "24GiB"), ("11.5", "11.5GiB"), ("24 gb", "24GB")]
)
def test_memory_without_a_unit_is_in_gib_and_each_answer_says_so(size: str, gpu: str) -> None:
    result = run("estimate", "gpt2", "--vram", size)
    assert f"on 1 x {gpu}" in result.stdout
    assert json.loads(run("estimate", "gpt2", "--vram", size, "--json").stdout)["request"]["gpu"] == gpu


def test_several_sizes_of_memory_are_compared() -> None:
    assert "1 x 24GiB" in (shown := run("compare", "gpt2", "--vram", "24,48").stdout)
    assert "1 x 48GiB" in shown


@pytest.mark.parametrize(
    ("arguments", "error", "hint"),
    [
        (("fitt",), "unknown command 'fitt'", "did you mean fit?"),
        (("xyz",), "unknown command 'xyz'", "one of fit, "),
        (("gpus", "T5"), "unknown GPU 'T5'", "planner gpus lists all"),
        (("machines", "p5.49xlarge"), "unknown machine 'p5.49xlarge'", "did you mean p5.48xlarge, p5e.48xlarge, "),
        (("--nope",), "unknown option --nope", "planner --help explains"),
        (("fit",), "MODEL is missing", f"for example: {FIT}"),
        (("fit", "7B"), "--gpu is missing", f"for example: {FIT}"),
        (("fit", "7B", "--gpu"), "option '--gpu' requires an argument", "--help explains the options"),
        (("fit", "7B", "8B", "--gpu", "T4"), "got unexpected extra argument (8B)", "planner fit --help explains"),
        (("fit", "7B", "--vram", "24k"), "--vram is '24k', not a size", "--vram 24, or 24GiB"),
        (("fit", "7B", "--vram", "24576"), "--vram is '24576', but no card has 24576GiB", "--vram 24576MiB"),
        (
            ("fit", "7B", "--vram", "24GiB", "--gpu", "T4"),
            "--gpu T4 and --vram 24GiB both say what the GPU is",
            "give one of the two",
        ),
        (
            ("fit", "7B", "--gpu", "M3 Max"),
            "unknown GPU 'M3 Max': Apple's GPUs are not planned: torch's MPS backend has another allocator, and shares "
            "the memory of the host",
            "--vram 24GiB plans an NVIDIA card of that size",
        ),
        (("fit", "7B", "--gpuu", "T4"), "unknown option --gpuu", "did you mean --gpu, --gpus?"),
        ((*FITS, "--gpus", "two"), "--gpus is 'two', not a whole number", "--gpus 4"),
        ((*FITS, "--top", "1.5"), "--top is '1.5', not a whole number", "--top 4"),
        (
            (*FITS, "--micro-batch-size", "4k"),
            "--micro-batch-size is '4k', not a whole number",
            "--micro-batch-size 4000 or 4096",
        ),
        ((*FITS, "--top", "1,000"), "--top is '1,000', not a whole number", "--top 1000"),
        (
            (*FITS, "--sequence-length", "2x"),
            "--sequence-length is '2x', not a length in tokens",
            "--sequence-length 4k, which is 4096",
        ),
        (
            (*FITS, "--sequence-length", "512,1024"),
            "--sequence-length is '512,1024', not a length in tokens",
            "--sequence-length 4k, which is 4096; planner compare and planner sweep take several",
        ),
        (
            (*FITS, "--sequence-length", "512", "--sequence-length", "1k"),
            "--sequence-length is 512, 1k, but planner fit takes one of them",
            "--sequence-length 1k",
        ),
        (
            ("estimate", "7B", "--gpu", "T4", "--gpu", "L4"),
            "--gpu is T4, L4, but planner estimate takes one of them",
            "--gpu L4",
        ),
        ((*FITS, "--headroom", "5"), "--headroom is '5', all of the memory or more", "did you mean --headroom 5%?"),
        ((*FITS, "--gpus", "0"), "gpus is 0: input should be greater than 0", "gpus is a whole number from 1"),
        ((*FITS, "--host-memory", "256"), "host_memory is '256', not a size", "host_memory 256GB, or 256GiB"),
        ((*FITS, "--tokens", "1,000,000"), "tokens is '1,000,000', not a number from 1", "tokens 1000000"),
        (
            (*FITS, "--max-seq-length", "4096"),
            "unknown option --max-seq-length",
            "did you mean --sequence-length 4096?",
        ),
        ((*FITS, "--qlora"), "unknown option --qlora", "did you mean --finetuning qlora?"),
        ((*FITS, "--cpu-offload"), "unknown option --cpu-offload", "did you mean --offload cpu?"),
        ((*FITS, "--zero3"), "unknown option --zero3", "did you mean --sharding zero3?"),
        ((*FITS, "--packing"), "unknown option --packing", "did you mean --batching packed?"),
        ((*FITS, "--load-in-4bit"), "unknown option --load-in-4bit", "did you mean --quantization nf4?"),
        (
            (*FITS, "--gradient-checkpointing"),
            "unknown option --gradient-checkpointing",
            "did you mean --checkpointing full?",
        ),
        ((*FITS, "--tp", "2"), "unknown option --tp", "tensor parallelism is not planned: --sharding full_shard"),
        ((*FITS, "--lr", "1e-4"), "unknown option --lr", "lr changes neither memory nor speed: leave it out"),
        (
            ("check", "ds.json", "--gpu", "T4", "--model", "7B"),
            "unknown option --model",
            "a key of the files stands behind --, as their program calls it: planner check ds_z3.json --gpu T4 -- --",
        ),
        (("check", "ds.json", "--gpu", "T4", "--num-gpus", "2"), "unknown option --num-gpus", "did you mean --gpus 2?"),
        (("check", "ds.json", "--headrom", "4%"), "unknown option --headrom", "did you mean --headroom 4%?"),
        (("export", "-", "--to", "trl", "--output-dir", "x"), "unknown option --output-dir", "did you mean --output"),
        (
            ("fit", "--model", "7B", "--gpu", "T4"),
            "unknown option --model",
            "MODEL stands without a name: planner fit 7B",
        ),
        ((*FITS, "--quantization", "int4"), "unknown quantization 'int4'", "did you mean nf4?"),
        ((*FITS, "--checkpointing", "off"), "unknown checkpointing 'off'", "did you mean none?"),
        ((*FITS, "--headroom", "some"), "--headroom is 'some', not a share", "--headroom 5%"),
        (
            (*FITS, "--precision", "bf32-mixed"),
            "unknown precision 'bf32-mixed'",
            "did you mean bf16-mixed?  (one of fp32, tf32, fp16-mixed, bf16-mixed, bf16-true, fp16-true, fp8-mixed)",
        ),
        (("fit", "7B", "--gpu", "A100-40"), "unknown GPU 'A100-40'", "did you mean A100-40GB-SXM, A100-40GB-PCIe?"),
        (
            ("compare", "7B", "--gpu", "T4", "H100-SXM"),
            "unknown model 'H100-SXM'",
            "H100-SXM is a GPU: --gpu H100-80GB-SXM",
        ),
        ((*FITS, "--objective", "speed"), "unknown objective 'speed'", "did you mean throughput?"),
        (("explain", "7B"), "--gpu is missing", "for example: planner explain"),
        (("gpus", "show", "T5"), "unknown GPU 'T5'", "planner gpus lists all"),
        (("models", "show", "lama-2-7b"), "unknown model 'lama-2-7b'", "did you mean llama-2-7b"),
        (
            ("schema", "fot"),
            "unknown answer 'fot'",
            "did you mean fit?  (one of fit, machines, estimate, explain",
        ),
        (("schema",), "ANSWER is missing", "for example: planner schema fit"),
        (
            (*FITS, "--max-accumulation", "4", "--global-batch-size", "8"),
            "max_accumulation=4 and global_batch_size=8 exclude each other",
            "",
        ),
        (
            ("estimate", "7B", "--gpu", "H100", "--precision", "bf16-true", "--precision", "bf16-mixed"),
            "an estimate is of one precision, not of 2",
            "give it once",
        ),
    ],
)
def test_what_cannot_be_used_is_named_on_stderr_with_the_way_out(
    arguments: tuple[str, ...], error: str, hint: str
) -> None:
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    lines = result.stderr.splitlines()
    assert lines[0] == f"error: {error}"
    assert lines[1].startswith(f"hint: {hint}")
    assert len(lines) == 2


@pytest.mark.parametrize(
    "option",
    ["--gpus", "--nodes", "--sequence-length", "--micro-batch-size", "--max-accumulation", "--global-batch-size"],
)
@pytest.mark.parametrize("value", ["0", "-1", "99999999999999999999"])
def test_absurd_numbers_are_refused(option: str, value: str) -> None:
    result = run(*FITS, option, value)
    assert (result.exit_code, result.stdout) == (2, "")
    assert option.removeprefix("--").replace("-", "_") in result.stderr
    assert value in result.stderr


@pytest.mark.parametrize("value", ["100%", "5", "-1%", "nan", "inf"])
def test_a_headroom_that_is_no_share_is_refused(value: str) -> None:
    result = run(*FITS, "--headroom", value)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "headroom" in result.stderr


def test_headroom_is_a_percentage_or_a_share() -> None:
    headrooms = [json.loads(run(*FITS, "--json", "--headroom", text).stdout)["request"] for text in ("20%", "0.2")]
    assert headrooms[0] == headrooms[1]
    assert headrooms[0]["headroom"] == 0.2


def test_every_problem_of_a_catalog_is_told_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "my.yaml"
    file.write_text("schema_version: 1\ngpus:\n  T4: {memory_bytes: 3}\n  A100: {colour: red}\n")
    for arguments in (
        ("catalog", "check", str(file)),
        (*FITS, "--catalog", str(file)),
        ("gpus", "--catalog", str(file)),
    ):
        result = run(*arguments)
        assert (result.exit_code, result.stdout) == (2, "")
        assert result.stderr.startswith("error: 2 problems in the GPU catalog\n")
        assert f"{file}:3:" in result.stderr
        assert f"{file}:4:" in result.stderr


def test_a_checked_catalog_tells_what_it_adds_and_changes(tmp_path: Path) -> None:
    document = json.loads(run("gpus", "show", "T4", "--json").stdout)
    entry = {key: value for key, value in document["gpus"]["T4"].items() if key != "aliases"}
    file = tmp_path / "my.yaml"
    file.write_text(json.dumps({"gpus": {"T4": {"gpus_per_node": 4}, "Mine": entry}}))
    result = run("catalog", "check", str(file))
    assert result.stdout == f"{file}: no problems, 2 GPUs\n  changes  T4\n  adds  Mine\n"
    machines = tmp_path / "machines.yaml"
    machines.write_text("machines: {p5.48xlarge: {spot: true}, box: {base: p5.48xlarge}}")
    result = run("catalog", "check", str(machines))
    assert result.stdout == f"{machines}: no problems, 2 machines\n  changes  p5.48xlarge\n  adds  box\n"
    assert "Mine" in run("gpus", "--catalog", str(file)).stdout
    assert run("gpus", "--catalog", str(file), "show", "Mine").exit_code == 0


def test_a_missing_catalog_is_an_error_of_the_user() -> None:
    result = run("gpus", "--catalog", "nowhere.yaml")
    assert result.exit_code == 2
    assert "nowhere.yaml" in result.stderr


def test_the_catalog_of_the_environment_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "my.yaml"
    file.write_text("gpus:\n  T4: {memory_bytes: 17179869184}\n")
    monkeypatch.setenv("PLANNER_CATALOG", str(file))
    assert json.loads(run("gpus", "show", "T4", "--json").stdout)["gpus"]["T4"]["memory_bytes"] == 17179869184


def test_without_a_command_the_help_is_shown_as_an_error() -> None:
    result = run()
    assert (result.exit_code, result.stdout) == (2, "")
    assert "Commands:" in result.stderr


def test_a_bug_is_one_line_and_the_way_to_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("out of\ncheese")

    monkeypatch.setattr("planner.api.fit", broken)
    result = run(*FITS)
    assert (result.exit_code, result.stdout) == (70, "")
    hint = "this is a bug; PLANNER_DEBUG=1 shows where, please report it"
    assert result.stderr == f"error: internal error: RuntimeError: out of\nhint: {hint}\n"
    monkeypatch.setenv("PLANNER_DEBUG", "1")
    assert "Traceback" in run(*FITS).stderr


def test_an_interrupt_ends_quietly(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("planner.api.fit", interrupted)
    result = run(*FITS)
    assert (result.exit_code, result.stdout, result.stderr) == (130, "", "")


class MuteError(Exception):
    def __str__(self) -> str:
        raise ValueError


class Odd(BaseException):
    """No Exception."""


BUG = "this is a bug; PLANNER_DEBUG=1 shows where, please report it"


@pytest.mark.parametrize(
    ("raised", "error", "hint"),
    [
        (MemoryError(), "internal error: MemoryError: out of memory", BUG),
        (RecursionError("too deep"), "internal error: RecursionError: too deep", BUG),
        (MuteError(), "internal error: MuteError", BUG),
        (Odd("odd"), "internal error: Odd: odd", BUG),
        (SystemExit(0), "internal error: SystemExit: 0", BUG),
        (BaseExceptionGroup("many", [Odd()]), "internal error: BaseExceptionGroup: many (1 sub-exception)", BUG),
        (
            OSError(24, "Too many open files", "x"),
            "Too many open files: x",
            f"where this machine is not to blame, {BUG}",
        ),
        (OSError("odd"), "odd", f"where this machine is not to blame, {BUG}"),
        (OSError(), "OSError", f"where this machine is not to blame, {BUG}"),
    ],
    ids=lambda value: repr(value) if isinstance(value, BaseException) else "",
)
def test_whatever_is_raised_is_one_error_and_its_hint(
    monkeypatch: pytest.MonkeyPatch, raised: BaseException, error: str, hint: str
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise raised

    monkeypatch.setattr("planner.api.fit", broken)
    result = run(*FITS)
    assert (result.exit_code, result.stdout) == (70, "")
    assert result.stderr == f"error: {error}\nhint: {hint}\n"
