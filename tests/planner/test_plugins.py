"""What a plug-in's file adds is planned with as if it was built in."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from planner.plugins import PluginError, load_plugins

ROOT = Path(__file__).parents[2]

CATALOG = """
gpus:
  MyGPU-48GB:
    vendor: nvidia
    architecture: ada
    compute_capability: "8.9"
    memory_bytes: 50962169856
    memory_bandwidth_bytes_per_second: 864e9
    peak_flops: {fp32: 91e12, tf32: 91e12, fp16: 181e12, bf16: 181e12}
    gpu_link: {kind: pcie, bytes_per_second: 32e9}
    host_link: {kind: pcie, bytes_per_second: 32e9}
    gpus_per_node: 8
    source: a data sheet
"""

MODEL = """
from planner.models import add_model

add_model(
    "my-llama",
    {
        "model_type": "llama", "hidden_size": 1024, "intermediate_size": 2816, "num_hidden_layers": 8,
        "num_attention_heads": 16, "vocab_size": 32000, "max_position_embeddings": 2048,
    },
    aliases=["mine"],
)
"""

FAMILY = """
from planner.models import add_family, add_model
from planner.models.families.llama import Llama


class Doubled(Llama):
    def branch(self, f, x):
        return f.times(x)


add_family("doubled", Doubled)
add_model(
    "doubled-1b",
    {
        "model_type": "doubled", "hidden_size": 2048, "intermediate_size": 5632, "num_hidden_layers": 22,
        "num_attention_heads": 32, "num_key_value_heads": 4, "vocab_size": 32000, "max_position_embeddings": 2048,
    },
)
"""

POLICY = """
from strategies import Checkpointing, CheckpointingFacts, Operation

Checkpointing.add(
    "attention-only", "blocks are recomputed but for attention", CheckpointingFacts(keeps={Operation.SDPA: 1})
)
"""

OPTIMIZER = """
from strategies import Optimizer, Whole

Optimizer.add("ademamix", "AdEMAMix, two first moments: three fp32 states", Whole(3, itemsize=4))
"""


def planner(plugin: Path | str | None, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PLANNER_PLUGINS": str(plugin) if plugin else ""}
    return subprocess.run(
        [sys.executable, "-m", "planner", *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment,
        check=False,
    )


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_a_gpu_of_a_file(tmp_path: Path) -> None:
    catalog = str(written(tmp_path / "my.yaml", CATALOG))
    done = planner(None, "fit", "gpt2", "--gpu", "MyGPU-48GB", "--catalog", catalog)
    assert (done.returncode, done.stderr) == (0, "")
    assert "on 1 x MyGPU-48GB (47.5 GiB usable)" in done.stdout


def test_a_model_of_a_known_family(tmp_path: Path) -> None:
    done = planner(written(tmp_path / "mine.py", MODEL), "fit", "mine", "--gpu", "T4")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("my-llama, 168 M parameters, on 1 x T4")


def test_a_family_of_its_own_has_its_own_memory(tmp_path: Path) -> None:
    arguments = ("--gpu", "A100-40GB", "--precision", "fp32", "--json")
    own = planner(written(tmp_path / "family.py", FAMILY), "estimate", "doubled-1b", *arguments)
    llama = planner(None, "estimate", "tinyllama-1.1b", *arguments)
    assert (own.returncode, own.stderr) == (0, "")
    parameters = [json.loads(done.stdout)["memory"]["components"]["parameters"] for done in (own, llama)]
    assert parameters[0] == parameters[1]
    assert json.loads(own.stdout)["time"]["step_seconds"] > json.loads(llama.stdout)["time"]["step_seconds"]


def test_a_checkpointing_policy_keeps_what_it_says(tmp_path: Path) -> None:
    plugin = written(tmp_path / "policy.py", POLICY)
    arguments = ("estimate", "tinyllama-1.1b", "--gpu", "A100-40GB", "--micro-batch-size", "4", "--json")
    peaks = {}
    for choice in ("full", "attention-only", "selective-matmuls", "none"):
        done = planner(plugin, *arguments, "--checkpointing", choice)
        assert (done.returncode, done.stderr) == (0, "")
        peaks[choice] = json.loads(done.stdout)["memory"]["moments"]["end_of_forward"]
    assert list(peaks.values()) == sorted(peaks.values())
    assert len(set(peaks.values())) == len(peaks)


def test_an_optimizer_has_the_memory_of_its_facts(tmp_path: Path) -> None:
    plugin = written(tmp_path / "optimizer.py", OPTIMIZER)
    arguments = ("fit", "pythia-160m", "--gpu", "A100-40GB", "--finetuning", "full", "--precision", "fp32", "--json")
    states = {}
    for optimizer in ("ademamix", "adamw"):
        done = planner(plugin, *arguments, "--optimizer", optimizer)
        assert (done.returncode, done.stderr) == (0, "")
        best = json.loads(done.stdout)["plans"][0]
        assert best["strategy"]["optimizer"] == optimizer
        states[optimizer] = best["memory"]["components"]["optimizer_states"]
    assert states["ademamix"] / states["adamw"] == pytest.approx(3 / 2, rel=1e-3)


def test_a_plug_in_that_fails_says_why(tmp_path: Path) -> None:
    for text, message in (
        ("1 / 0", "failed with ZeroDivisionError: division by zero"),
        (MODEL.replace("my-llama", "llama-2-7b"), "the registry has a model 'llama-2-7b' already"),
        (MODEL.replace('"llama"', '"lama"'), "the registry has no family 'lama'"),
    ):
        done = planner(written(tmp_path / "broken.py", text), "models")
        assert (done.returncode, done.stdout) == (2, "")
        assert message in done.stderr
    missing = planner(tmp_path / "missing.py", "models")
    assert "missing.py: no such file" in missing.stderr


HINT = "PLANNER_PLUGINS names files and modules"


@pytest.mark.parametrize(
    ("text", "failure"),
    [
        ("import sys; sys.exit(0)", "SystemExit: 0"),
        ("raise GeneratorExit", "GeneratorExit"),
        ("class Odd(BaseException): pass\nraise Odd('of\\nits own')", "Odd: of its own"),
        ("raise BaseExceptionGroup('several', [SystemExit(1)])", "BaseExceptionGroup: several (1 sub-exception)"),
        ("class Mute(Exception):\n    def __str__(self): raise SystemExit\nraise Mute", "Mute"),
        ("def f(): f()\nf()", "RecursionError: maximum recursion depth exceeded"),
        (
            "import hardware\nclass Own(hardware.PlannerError):\n    def __init__(self): pass\nraise Own",
            "Own",
        ),
        ("raise ValueError('\\x1b[31m')", "ValueError: \\x1b[31m"),
    ],
)
def test_a_plug_in_does_not_end_the_command_in_a_way_of_its_own(tmp_path: Path, text: str, failure: str) -> None:
    plugin = written(tmp_path / "broken.py", text)
    done = planner(plugin, "--version")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"error: plug-in {plugin} failed with {failure}\nhint: {HINT}\n"


@pytest.mark.parametrize("text", ["a = 1\0", "(" * 5_000_000, "1+" * 2_500_000 + "1"], ids=["null", "open", "sum"])
def test_what_python_cannot_compile_is_one_error_and_the_way_out(tmp_path: Path, text: str) -> None:
    plugin = written(tmp_path / "broken.py", text)
    done = planner(plugin, "--version")
    assert (done.returncode, done.stdout) == (2, "")
    error, hint = done.stderr.splitlines()
    assert error.startswith(f"error: plug-in {plugin} failed with ")
    assert hint == f"hint: {HINT}"


def test_an_interrupt_in_a_plug_in_is_an_interrupt(tmp_path: Path) -> None:
    done = planner(written(tmp_path / "slow.py", "raise KeyboardInterrupt"), "--version")
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


@pytest.mark.parametrize(
    ("names", "error"),
    [
        ("fifo.py", "plug-in fifo.py: not a file"),
        ("folder.py", "plug-in folder.py: not a file"),
        ("device.py", "plug-in device.py: not a file"),
        ("sys.py", "plug-in sys.py: no such file"),
        ("nothing", "plug-in nothing: no such module"),
        ("os.nothing", "plug-in os.nothing: no such module"),
        ("..", "plug-in ..: neither a .py file nor the name of a module"),
        ("a..b", "plug-in a..b: neither a .py file nor the name of a module"),
        ("folder/plugin", "plug-in folder/plugin: neither a .py file nor the name of a module"),
        (",", "PLANNER_PLUGINS has an empty name beside a comma"),
        ("os,,sys", "PLANNER_PLUGINS has an empty name beside a comma"),
    ],
)
def test_a_name_that_is_no_plug_in_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: str, error: str
) -> None:
    monkeypatch.chdir(tmp_path)
    os.mkfifo("fifo.py")
    Path("folder.py").mkdir()
    Path("device.py").symlink_to("/dev/zero")
    monkeypatch.setenv("PLANNER_PLUGINS", names)
    with pytest.raises(PluginError) as failed:
        load_plugins()
    assert (failed.value.message, failed.value.hint) == (error, HINT)


def test_a_module_that_a_plug_in_misses_is_not_taken_for_the_plug_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(tmp_path / "needy.py", "import nothing_like_that")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PLANNER_PLUGINS", "needy")
    failure = "plug-in needy failed with ModuleNotFoundError: No module named 'nothing_like_that'"
    with pytest.raises(PluginError, match=failure):
        load_plugins()


def test_a_plug_in_that_failed_is_gone_and_one_of_the_same_name_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [tmp_path / folder / "twin.py" for folder in ("first", "second", "third")]
    for file, text in zip(files, ("number = 1", "number = 2", "number = 3; import sys; sys.exit()"), strict=True):
        file.parent.mkdir()
        written(file, text)
    before = set(sys.modules)
    monkeypatch.setenv("PLANNER_PLUGINS", ",".join(map(str, files)))
    with pytest.raises(PluginError, match="SystemExit"):
        load_plugins()
    added = {name for name in set(sys.modules) - before if name.startswith("planner_plugin_")}
    assert sorted(sys.modules.pop(name).number for name in added) == [1, 2]
