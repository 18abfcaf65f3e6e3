"""Writes DeepSpeed's configuration of a strategy, as accelerate and transformers do."""

from __future__ import annotations

from typing import Any

import torch

from planner.libraries.deepspeed import CLIPPING, filled_in
from planner.replay.setup.build import half
from planner.replay.structure.source import base_of
from strategies import Precision, Strategy, Zero
from strategies.sharding import OverlapComm


def config_of(model: Any, strategy: Strategy, sharding: Zero) -> dict[str, Any]:
    """Returns DeepSpeed's configuration, with the values that transformers fills in."""
    config = base_of(model).config
    hidden_size = getattr(config, "text_config", config).hidden_size  # as transformers' `trainer_config_finalize`
    precision = strategy.precision
    in_bf16 = half(precision) is torch.bfloat16
    bf16: dict[str, Any] = {"enabled": in_bf16}
    if precision is Precision.BF16_TRUE:
        bf16 |= {"bf16_master_weights_and_grads": True, "bf16_optimizer_states": True}
    # "auto" in the rest of "fp16": transformers fills in nothing, so that DeepSpeed's own scaling is dynamic
    return {
        "train_micro_batch_size_per_gpu": 1,  # it scales throughput alone: Trainer's loop makes the batches
        "gradient_accumulation_steps": 1,  # `micro_batch` says which one is the last, as accelerate does
        "gradient_clipping": CLIPPING,
        "zero_allow_untested_optimizer": True,  # accelerate/accelerator.py, `_prepare_deepspeed`
        "bf16": bf16,
        "fp16": {"enabled": half(precision) is torch.float16},
        "zero_optimization": _zero_of(filled_in(sharding, hidden_size)),
        "steps_per_print": 10**9,
    }


def _zero_of(sharding: Zero) -> dict[str, Any]:
    """Returns the section of the ZeRO optimizer."""
    zero: dict[str, Any] = {"stage": sharding.stage, "reduce_bucket_size": sharding.reduce_bucket}
    if sharding.steps_on_host:
        zero["offload_optimizer"] = {"device": "cpu"}
    if sharding.on_host:
        zero["offload_param"] = {"device": "cpu"}
    if sharding.overlap_comm is not OverlapComm.AUTO:
        zero["overlap_comm"] = sharding.overlap_comm is OverlapComm.YES
    if sharding.stage == 3:
        zero |= {
            "stage3_prefetch_bucket_size": sharding.prefetch_bucket,
            "stage3_param_persistence_threshold": sharding.persistence_threshold,
            "stage3_max_live_parameters": sharding.max_live_parameters,
            "stage3_max_reuse_distance": sharding.max_reuse_distance,
            "sub_group_size": sharding.sub_group_size,
        }
    return zero
