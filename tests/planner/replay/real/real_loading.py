"""Loads a model on two gloo processes as accelerate does under FSDP2, and says what each takes of the host's memory.

Run by `test_real_loading.py`: torchrun real_loading.py FOLDER PRECISION
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import torch.distributed as dist
from accelerate import FullyShardedDataParallelPlugin, PartialState
from accelerate.utils import fsdp_utils
from torch.distributed.device_mesh import init_device_mesh
from transformers import LlamaForCausalLM


def own_bytes() -> int:
    """Memory of this process alone: pages of files that are mapped, such as a checkpoint's, are not among it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))


def measured(folder: str, precision: str) -> Iterator[int]:
    """Yields the bytes before loading, after it, before the weights are distributed, and after that."""
    PartialState(cpu=True)
    plugin = FullyShardedDataParallelPlugin(
        fsdp_version=2,
        cpu_ram_efficient_loading=True,
        auto_wrap_policy="transformer_based_wrap",
        transformer_cls_names_to_wrap=["LlamaDecoderLayer"],
        reshard_after_forward=True,
    )
    accelerator = SimpleNamespace(
        state=SimpleNamespace(fsdp_plugin=plugin),
        device=torch.device("cpu"),
        is_main_process=dist.get_rank() == 0,
        mixed_precision=precision,
        torch_device_mesh=init_device_mesh("cpu", (2,), mesh_dim_names=("dp_shard",)),
        parallelism_config=SimpleNamespace(fsdp_dim_names=("dp_shard",)),
    )
    seen: list[int] = []
    distribute = fsdp_utils.fsdp2_load_full_state_dict

    def distributed(*args: Any, **kwargs: Any) -> Any:
        seen.append(own_bytes())
        found = distribute(*args, **kwargs)
        seen.append(own_bytes())
        return found

    fsdp_utils.fsdp2_load_full_state_dict = distributed
    yield own_bytes()
    model = LlamaForCausalLM.from_pretrained(folder)
    yield own_bytes()
    fsdp_utils.fsdp2_prepare_model(accelerator, model)
    yield from seen


if __name__ == "__main__":
    os.environ |= {"ACCELERATE_USE_FSDP": "true", "FSDP_CPU_RAM_EFFICIENT_LOADING": "true"}
    dist.init_process_group("gloo")
    before, loaded, cast, distributed = measured(sys.argv[1], sys.argv[2])
    said = {"loaded": loaded - before, "cast": cast - before, "distributed": distributed - before}
    (Path(sys.argv[1]) / f"rank-{dist.get_rank()}.json").write_text(json.dumps(said))
    dist.destroy_process_group()
