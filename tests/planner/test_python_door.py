"""What a Python program sees: names, types, results that show themselves, and a package in the way."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import planner
from planner import EstimateResult, FitResult, estimate, fit
from planner.report.display import report_of

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def found() -> FitResult:
    return fit("llama-7b", gpu="A100-40GB")


@pytest.fixture(scope="module")
def estimated() -> EstimateResult:
    return estimate("llama-7b", gpu="T4")


def test_dir_lists_what_there_is() -> None:
    assert dir(planner) == sorted(planner.__all__)
    for name in planner.__all__:
        assert getattr(planner, name) is not None


def test_a_result_prints_the_table_of_the_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    run = [sys.executable, "-m", "planner", "fit", "llama-7b", "--gpu", "A100-40GB"]
    shown = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    shown, command = shown.split("\n  planner fit llama-7b --gpu A100-40GB --json |\n")
    assert command == "    planner export - --to transformers --plan 11 -o run\n"
    told = fit("llama-7b", gpu="A100-40GB", advice=True)
    (table, rest), (expected_table, expected_rest) = (text.split("  searched ") for text in (str(told), shown))
    heading, *rows = expected_table.splitlines()
    assert [heading, *rows] == [line for line in table.splitlines() if line in (heading, *rows)]
    of_plan = rest[rest.index("  plan 11:") :]  # after the notes, for which the command leaves less room
    assert of_plan.rstrip() == expected_rest[expected_rest.index("  plan 11:") :].rstrip()


def test_the_repr_of_a_result_is_one_line(found: FitResult, estimated: EstimateResult) -> None:
    assert repr(found) == "<FitResult: 10 plans for llama-2-7b on 1 x A100-40GB-SXM, effective batch 384>"
    assert repr(estimated) == "<EstimateResult: llama-2-7b on 1 x T4 does not fit: 104.5 of 14.6 GiB>"
    nothing = fit("llama-2-70b", gpu="T4")
    assert repr(nothing) == "<FitResult: nothing fits for llama-2-70b on 1 x T4>"


def test_a_notebook_shows_a_result_as_html(estimated: EstimateResult) -> None:
    html = estimated._repr_html_()
    assert html.startswith("<pre style=")
    assert html.endswith("</pre>")
    assert "104.5 of 14.6 GiB" in html
    forged = estimated.model_copy(update={"notes": ("<script>alert(1)</script>",)})
    assert "<script>" not in forged._repr_html_()


def test_what_a_result_quotes_commands_no_terminal() -> None:
    result = estimate("gpt2", gpu="T4")
    forged = result.model_copy(update={"notes": ("\x1b[2Jcleared",)})
    assert "\x1b" not in str(forged)
    assert r"\x1b[2Jcleared" in str(forged)


def test_no_report_is_made_of_another_object() -> None:
    with pytest.raises(TypeError, match="no report is made of a int"):
        report_of(3)  # type: ignore[arg-type]


@pytest.mark.parametrize("package", ["hardware", "strategies", "planner"])
def test_the_packages_are_typed(package: str) -> None:
    assert (ROOT / package / "py.typed").is_file()


MISTAKES = """
from planner import estimate, fit, verify

fit("llama-7b", gpu="T4", precison="fp32")
fit("llama-7b", gpu="T4", precision="fp23")
verify("llama-7b", gpu="T4", atention="sdpa")
estimate("llama-7b", gpu="T4", lora_rank=4.5)
"""
RIGHT = """
from planner import estimate, fit, verify
from strategies import Precision

fit("llama-7b", gpu="T4", precision=["fp32", Precision.BF16_MIXED], lora_rank="4..64", lora_targets="q_proj,v_proj")
estimate("llama-7b", gpu="T4", finetuning="lora", lora_dropout=0.1, optimizer=None)
verify("llama-7b", gpu="T4", sharding="all")
"""


def test_mypy_finds_a_typo_in_an_option(tmp_path: Path) -> None:
    files = {tmp_path / "mistakes.py": MISTAKES, tmp_path / "right.py": RIGHT}
    for file, content in files.items():
        file.write_text(content)
    # From the root, with its settings: what `mypy` there has kept in its cache holds here, too.
    run = [sys.executable, "-m", "mypy", *map(str, files)]
    done = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, check=False)
    errors = [line for line in done.stdout.splitlines() if "error:" in line]
    places = [line.partition(": error: ")[0].rpartition("/")[2] for line in errors]
    assert places == [f"mistakes.py:{n}" for n in (4, 5, 6, 7)], done.stdout
    assert 'did you mean "precision"?' in errors[0]


@pytest.mark.parametrize("name", ["hardware", "strategies"])
def test_another_package_of_a_name_is_told(name: str, tmp_path: Path) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").write_text("raise SystemExit('somebody else')")
    code = textwrap.dedent("""
        import planner
        try:
            planner.fit
        except ImportError as error:
            print(error)
    """)
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    told = f"the planner's own package '{name}' is in {ROOT}, but Python finds another one of that name: "
    run = [sys.executable, "-c", code]
    done = subprocess.run(run, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"{told}{tmp_path / name}. ")
    command = [sys.executable, "-m", "planner", "gpus"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: {told}")


def test_what_is_generated_is_up_to_date() -> None:
    run = [sys.executable, "docs/generate.py", "--check"]
    done = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
