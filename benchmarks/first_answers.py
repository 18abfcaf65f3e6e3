"""Times the first answer for models that replays plan: with an empty cache, in CPU seconds of all its processes.

On idle cores an answer takes about `(seconds - imports) / cores + imports`, since its settings are replayed in as many
processes as there are cores; imports of torch, transformers and PEFT come before. A ratio to the imports alone does not
depend on the machine much.

Run it with `python benchmarks/first_answers.py [NAME or config.json ...]`.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

NAMES = (
    "glm-4-9b", "olmo-3-7b", "modernbert-base", "lfm2-1.2b", "gemma-4-e4b", "qwen3.5-4b", "granite-4.0-h-1b",
    "falcon-h1-1.5b", "mamba2", "minimax_m2",
)  # fmt: skip
"""Names of the registry, and model types, of which the configuration that transformers has by default is planned."""

IMPORTS = "import torch, transformers, peft; import planner.replay.step"


def cpu_seconds(*command: str, cache: str) -> tuple[float, str]:
    """Returns the CPU seconds of a command and of its children, and what it prints."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {**os.environ, "PLANNER_CACHE": cache}
    found = subprocess.run([sys.executable, *command], env=environment, capture_output=True, text=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, found.stdout


def saved(name: str, folder: str) -> str:
    """Returns what names a model for the planner: itself, or the file that transformers saves for a model type."""
    import transformers

    if name not in transformers.CONFIG_MAPPING:
        return name
    transformers.AutoConfig.for_model(name).save_pretrained(folder)
    return str(Path(folder, "config.json"))


def main(names: list[str]) -> None:
    """Prints a line for each model."""
    with tempfile.TemporaryDirectory() as folder:
        imports, _ = cpu_seconds("-c", IMPORTS, cache=folder)
    print(f"imports: {imports:.1f} s")
    print(f"{'model':20} {'settings':>8} {'CPU s':>6} {'imports':>8} {'tok/s':>7} {'MFU':>5}")
    for name in names:
        with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as cache:
            fit = ("-m", "planner", "fit", saved(name, folder), "--gpu", "A100-80GB", "--json")
            seconds, said = cpu_seconds(*fit, cache=cache)
            settings = len(list(Path(cache).iterdir())) - 1
        if not said.startswith("{"):
            print(f"{name:20} is refused: planner fit {name} --gpu A100-80GB says why", flush=True)
            continue
        document = json.loads(said)
        speed = "nothing fits"
        for plan in (document["usual"] or document["plans"])[:1]:
            time = plan["time"]
            speed = f"{time['tokens_per_second']:7,.0f} {time['model_flops_utilization'] or 0:5.0%}"
        print(f"{name:20} {settings:8} {seconds:6.1f} {seconds / imports:7.1f}x {speed}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:] or list(NAMES))
