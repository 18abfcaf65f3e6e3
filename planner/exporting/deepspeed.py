"""Writes DeepSpeed's JSON alone, for a program of one's own: DeepSpeed 0.19."""

from __future__ import annotations

import json

from planner.exporting.engine import deepspeed_json
from planner.exporting.launch import DEEPSPEED, Launch, Target
from planner.libraries.deepspeed import filled_in
from planner.models import find_model
from strategies import ShardingBackend, Task, Zero


def files(launch: Launch) -> dict[str, str]:
    """Returns the JSON with the batch in numbers, and with what transformers would fill in for "auto"."""
    if launch.backend is not ShardingBackend.DEEPSPEED:
        raise launch.cannot_say(f"a plan by {launch.backend or 'one GPU or DDP'}", "--sharding-backend deepspeed")
    content = json.loads(deepspeed_json(launch))
    plan, sharding = launch.plan, launch.plan.strategy.strategy().sharding
    assert isinstance(sharding, Zero)
    sizes = filled_in(sharding, find_model(launch.request.model).architecture.hidden_size)
    content |= {
        "train_batch_size": plan.global_batch_size,
        "train_micro_batch_size_per_gpu": plan.micro_batch_size,
        "gradient_accumulation_steps": plan.gradient_accumulation_steps,
        "gradient_clipping": 1.0,
    }
    zero = content["zero_optimization"]
    filled = {
        "reduce_bucket_size": sizes.reduce_bucket,
        "stage3_prefetch_bucket_size": sizes.prefetch_bucket,
        "stage3_param_persistence_threshold": sizes.persistence_threshold,
    }
    zero |= {key: filled[key] for key, value in zero.items() if value == "auto"}
    return {DEEPSPEED: json.dumps(content, indent=2) + "\n"}


TARGET = Target("deepspeed", "DeepSpeed 0.19: deepspeed.json, for a program of one's own", files, (), tasks=tuple(Task))
