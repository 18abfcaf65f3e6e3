"""The command says whether a run fits, and refuses by its name what has no word."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from recipes import AXOLOTL, CUT, FSDP, LLAMA_FACTORY, TRL, run, written


@pytest.mark.parametrize(
    ("recipe", "what"),
    [
        (AXOLOTL + "rl: dpo\n", "dpo"),
        (AXOLOTL + "tensor_parallel_size: 2\n", "tensor parallelism"),
        (AXOLOTL.replace("bf16: auto", "") + CUT, "cut cross-entropy without bf16 or fp16"),
        (AXOLOTL + "cut_cross_entropy: true\n", "cut_cross_entropy without its plugin"),
        (AXOLOTL.replace("base_model: meta-llama/Llama-3.2-1B", "base_model: nobody/knows-this"), "unknown model"),
        (AXOLOTL.replace("base_model: meta-llama/Llama-3.2-1B", "base_model: os:getcwd"), "names the code"),
        (AXOLOTL.replace("micro_batch_size: 2", "micro_batch_size: two"), "not a whole number"),
        (TRL + "use_vllm: true\n", "vLLM beside the trainer"),
        (TRL + "beta: 0.1\n", "a reference model beside the one that trains"),
        (TRL + "use_peft: true\n", "a frozen base in float32"),
        (TRL + "label_smoothing_factor: 0.1\n", "label smoothing"),
        (TRL + "use_everything: true\n", "would refuse: use_everything"),
        (LLAMA_FACTORY.replace("stage: sft", "stage: dpo"), "dpo"),
        (LLAMA_FACTORY + "use_unsloth: true\n", "Unsloth"),
        (FSDP, "no recipe"),
    ],
)
def test_what_has_no_word_is_refused_by_name_and_still_read(recipe: str, what: str, tmp_path: Path) -> None:
    (file,) = written(tmp_path, run=recipe)
    result = run(file, "--json")
    assert result.exit_code == 2
    answer = json.loads(result.stdout)
    assert answer["plan"] is None
    assert answer["reading"]
    assert any(what in remark["what"] for remark in answer["refused"])
    assert what in " ".join(run(file).stdout.split())


def test_exit_codes_say_whether_it_fits(tmp_path: Path) -> None:
    (file,) = written(tmp_path, full=AXOLOTL.replace("adapter: qlora\nload_in_4bit: true\n", ""))
    assert run(file, "--gpu", "H100", "--gpus", "1").exit_code == 0
    assert run(file, "--gpu", "H100", "--gpus", "1", "--", "micro_batch_size=1000").exit_code == 1
    assert run(file, "--", "micro_batch_size=1000").exit_code == 0
    assert run(file, "--gpu", "H100", "--", "no_such_key_at_all=1").exit_code == 2
    assert run(str(tmp_path / "absent.yaml")).exit_code == 2


@pytest.mark.parametrize("columns", ["80", "120"])
def test_the_report_fits_the_terminal_and_names_places(
    columns: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    (file,) = written(tmp_path, qlora=AXOLOTL)
    shown = run(file).stdout
    assert max(map(len, shown.splitlines())) <= int(columns)
    assert "read as axolotl 0.19" in shown
    words = " ".join(shown.split())
    assert "smallest GPUs that hold it" in words
    assert "not understood, 1 key: no_such_key" in words
    assert "qlora.yaml:3" in words


WIDE = TRL + "per_device_train_batch_size: 16\nmax_length: 2048\ngradient_checkpointing: false\n"


@pytest.mark.parametrize("gpu", ["RTX-3060", "H100"])
def test_the_verdict_what_decides_it_and_the_way_out_stand_on_one_screen_and_the_rest_behind_notes(
    gpu: str, tmp_path: Path
) -> None:
    (file,) = written(tmp_path, sft=WIDE)
    on = (file, "--gpu", gpu, "--gpus", "1")
    brief, full = run(*on).stdout, run(*on, "--notes").stdout
    assert len(brief.splitlines()) <= 40
    over = gpu == "RTX-3060"
    assert ("does not fit: " in brief, "decided by" in brief) == (over, over)
    assert "changes" in brief
    assert ("moments of a step" in brief, "moments of a step" in full) == (False, True)
    assert (brief.count("@@ -"), full.count("@@ -") > 1) == (1, True)
    said = json.loads(run(*on, "--json").stdout)["reading"]
    assert all(word.replace("_", "-") in full for word in said)


def test_beside_changes_that_make_it_fit_the_ways_out_are_other_machines(tmp_path: Path) -> None:
    (file,) = written(tmp_path, sft=WIDE)
    on = (file, "--gpu", "RTX-3060", "--gpus", "1")
    changes, ways = "smallest changes that make it fit", "what would fit, by what it costs"
    assert (changes in run(*on).stdout, ways in run(*on).stdout) == (True, False)
    costs = {way["cost"] for way in json.loads(run(*on, "--json").stdout)["plan"]["ways"]}
    told = run(*on, "--notes").stdout
    assert "more money" in costs
    assert len(costs) > 1
    assert [cost for cost in costs if f"{cost}: " in told] == ["more money"]


def test_an_argument_that_is_no_file_is_named() -> None:
    result = run("missing=x.yaml")
    assert result.exit_code == 2
    assert "'missing=x.yaml' is no file here, and is taken for KEY=VALUE" in result.stderr


def test_a_template_is_told_to_be_filled_in(tmp_path: Path) -> None:
    (file,) = written(tmp_path, sft=TRL + "max_length: {{ length }}\n")
    refused = run(file)
    assert refused.exit_code == 2
    assert "are of a template: fill it in first" in refused.stderr
