"""Writes a training loop of DeepSpeed's own engine, with its JSON in numbers: DeepSpeed 0.19."""

from __future__ import annotations

import json
from typing import Any

from planner.exporting.launch import DEEPSPEED, REQUIREMENTS, SCRIPT, Launch, Target
from planner.exporting.shared import packages, settings
from planner.exporting.shared.engine import deepspeed_json
from planner.exporting.shared.loop import HELPERS, loop
from planner.libraries.deepspeed import CLIPPING, filled_in
from planner.readers.exported.loop import OPTIMIZERS
from strategies import ShardingBackend, Task, Zero


def files(launch: Launch) -> dict[str, str]:
    """Returns the script with its recipe, DeepSpeed's JSON, what it imports, what is predicted, and random weights."""
    if launch.backend is not ShardingBackend.DEEPSPEED:
        raise launch.cannot_say(f"a plan by {launch.backend or 'one GPU or DDP'}", "--sharding-backend deepspeed")
    required = (packages.TORCH, packages.TRANSFORMERS, packages.ACCELERATE, packages.DATASETS)
    recipe = {**settings.run(launch), **loop(launch, OPTIMIZERS), "deepspeed_config": DEEPSPEED}
    return {
        settings.RECIPE: launch.yaml(recipe),
        DEEPSPEED: _json(launch),
        **settings.scripts(launch, "train_deepspeed.py", HELPERS),
        SCRIPT: launch.script(f'{launch.torchrun()} {settings.PROGRAM} "$@"'),
        REQUIREMENTS: packages.requirements(launch, *required),
    }


def _json(launch: Launch) -> str:
    """Returns the JSON with what transformers would fill in for "auto"; DeepSpeed works the whole batch out itself."""
    content: dict[str, Any] = json.loads(deepspeed_json(launch))
    sharding = launch.plan.strategy.strategy().sharding
    assert isinstance(sharding, Zero)
    sizes = filled_in(sharding, launch.described.architecture.hidden_size)
    del content["train_batch_size"]
    content |= {
        "train_micro_batch_size_per_gpu": launch.plan.micro_batch_size,
        "gradient_accumulation_steps": launch.plan.gradient_accumulation_steps,
        "gradient_clipping": CLIPPING,
    }
    zero = content["zero_optimization"]
    filled = {
        "reduce_bucket_size": sizes.reduce_bucket,
        "stage3_prefetch_bucket_size": sizes.prefetch_bucket,
        "stage3_param_persistence_threshold": sizes.persistence_threshold,
    }
    zero |= {key: filled[key] for key, value in zero.items() if value == "auto"}
    return json.dumps(content, indent=2) + "\n"


TARGET = Target(
    "deepspeed",
    "DeepSpeed 0.19: train.py with train.yaml, deepspeed.json in numbers, run.sh",
    files,
    (settings.RECIPE, DEEPSPEED),
    makes_weights=True,
    tasks=tuple(task for task in settings.TASKS if task is not Task.CONTRASTIVE),
    many_nodes=True,
)
