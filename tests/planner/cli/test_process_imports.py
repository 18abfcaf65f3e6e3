"""What a run of the command imports, and what it spares itself: a start is short."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from processes import FIT, ROOT


def imported(*arguments: str) -> set[str]:
    """Top-level packages that a run has imported at its end."""
    code = (
        "import atexit, sys\n"
        "atexit.register(lambda: print(*sys.modules, file=sys.stderr))\n"
        f"from planner.cli import main; main({list(arguments)!r})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stderr.split())


def packages(modules: set[str]) -> set[str]:
    return {module.partition(".")[0] for module in modules}


def test_a_plan_is_made_without_looking_for_reference_cycles() -> None:
    code = (
        "import atexit, gc, sys\n"
        "searches = []\n"
        "gc.callbacks.append(lambda phase, info: searches.append(info['generation']) if phase == 'start' else None)\n"
        "atexit.register(lambda: print(len(searches), gc.get_freeze_count(), file=sys.stderr))\n"
        f"from planner.entry import main; sys.argv[1:] = {[*FIT, '--json']!r}; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    searches, frozen = map(int, done.stderr.split())
    assert searches < 3 < frozen


@pytest.mark.parametrize("plugins", [None, "my-plugin"])
def test_plugins_of_pydantic_are_looked_for_only_where_the_user_says_which_not_to_load(plugins: str | None) -> None:
    """`PYDANTIC_DISABLE_PLUGINS` names those that are not loaded, so that others are."""
    code = (
        "import atexit, sys\n"
        "atexit.register(lambda: print('importlib.metadata' in sys.modules, file=sys.stderr))\n"
        f"from planner.entry import main; sys.argv[1:] = {[*FIT, '--json']!r}; main()"
    )
    environment = {name: value for name, value in os.environ.items() if name != "PYDANTIC_DISABLE_PLUGINS"}
    if plugins is not None:
        environment["PYDANTIC_DISABLE_PLUGINS"] = plugins
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, check=False)
    assert (done.returncode, done.stderr) == (0, f"{plugins is not None}\n")


@pytest.mark.parametrize("arguments", [("--help",), ("--version",)])
def test_help_and_version_import_little_but_click(arguments: tuple[str, ...]) -> None:
    modules = imported(*arguments)
    assert not packages(modules) & {"pydantic", "yaml", "rich", "hardware", "strategies", "torch", "optuna", "numpy"}
    ours = {module for module in modules if module.startswith("planner")}
    assert ours == {
        "planner",
        "planner.entry",
        "planner.cli",
        "planner.cli.app",
        "planner.cli.command",
        "planner.cli.output",
        "planner.printable",
        "planner.progress",
    }


@pytest.mark.parametrize("arguments", [(*FIT, "--json"), ("gpus", "--json"), ("models", "--json")])
def test_json_imports_nothing_that_draws_or_trains(arguments: tuple[str, ...]) -> None:
    assert not packages(imported(*arguments)) & {"rich", "torch", "optuna", "transformers", "jinja2", "numpy"}


@pytest.mark.parametrize("arguments", [FIT, (*FIT, "--json"), ("gpus", "--json"), ("models", "--json")])
def test_what_ships_is_read_without_yaml(arguments: tuple[str, ...]) -> None:
    modules = imported(*arguments)
    assert "yaml" not in packages(modules)
    assert not modules & {"hardware.files.yaml_text", "hardware.entries", "planner.records.asked.space_file"}


def test_a_plan_of_one_gpu_imports_nothing_that_shards_or_simulates() -> None:
    ours = {module for module in imported(*FIT, "--json") if module.startswith("planner.")}
    unused = ("planner.allocator", "planner.memory.requests", "planner.memory.sharding.deepspeed", "planner.advice")
    unused += (
        "planner.memory.step.followed",
        "planner.search.pareto",
        "planner.models.sources",
        "planner.models.names.other_kinds",
    )
    assert not [module for module in ours if module.startswith(unused)]


def test_a_report_of_what_fits_imports_nothing_that_advises_on_what_does_not() -> None:
    unused = {"planner.advice.shortfall", "planner.advice.why_not", "planner.advice.ways", "planner.advice.minimal"}
    unused |= {"planner.report.fit.shortfall", "planner.report.verify"}
    assert not imported(*FIT) & unused


def test_annotations_of_large_named_tuples_are_types() -> None:
    """`typing` compiles each annotation that is text, which takes longer than all else that makes a NamedTuple."""
    code = (
        "import atexit, sys, typing\n"
        "def texts(kind): return sum(isinstance(of, typing.ForwardRef) for of in kind.__annotations__.values())\n"
        "def found():\n"
        "    kinds = {kind for module in list(sys.modules.values()) for kind in vars(module).values()\n"
        "        if isinstance(kind, type) and issubclass(kind, tuple) and len(getattr(kind, '_fields', ())) > 8}\n"
        "    print(len(kinds), *(kind.__name__ for kind in kinds if texts(kind) > 1), file=sys.stderr)\n"
        "atexit.register(found)\n"
        f"from planner.cli import main; main({[*FIT, '--json']!r})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    number, *of_text = done.stderr.split()
    assert int(number) > 10
    assert of_text == []


def test_a_report_imports_nothing_that_trains() -> None:
    assert not packages(imported(*FIT)) & {"torch", "optuna", "transformers", "jinja2", "numpy"}
