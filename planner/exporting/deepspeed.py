"""Writes DeepSpeed's JSON alone, for a program of one's own: DeepSpeed 0.19."""

from __future__ import annotations

import json

from planner.exporting.engine import deepspeed_json
from planner.exporting.launch import DEEPSPEED, Launch, Target
from planner.models import find_model
from strategies import ShardingBackend


def files(launch: Launch) -> dict[str, str]:
    """Returns the JSON with the batch in numbers, and with what transformers would fill in for "auto"."""
    if launch.backend is not ShardingBackend.DEEPSPEED:
        raise launch.cannot_say(f"a plan by {launch.backend or 'one GPU or DDP'}", "--sharding-backend deepspeed")
    content = json.loads(deepspeed_json(launch))
    hidden: int = getattr(find_model(launch.request.model).architecture, "hidden_size")  # noqa: B009 - of families
    plan = launch.plan
    content |= {
        "train_batch_size": plan.global_batch_size,
        "train_micro_batch_size_per_gpu": plan.micro_batch_size,
        "gradient_accumulation_steps": plan.gradient_accumulation_steps,
        "gradient_clipping": 1.0,
    }
    zero = content["zero_optimization"]
    # transformers/integrations/deepspeed.py, `trainer_config_finalize`
    filled = {
        "reduce_bucket_size": hidden * hidden,
        "stage3_prefetch_bucket_size": int(0.9 * hidden * hidden),
        "stage3_param_persistence_threshold": 10 * hidden,
    }
    zero |= {key: filled[key] for key, value in zero.items() if value == "auto"}
    return {DEEPSPEED: json.dumps(content, indent=2) + "\n"}


TARGET = Target("deepspeed", "DeepSpeed 0.19: deepspeed.json, for a program of one's own", files, ())
