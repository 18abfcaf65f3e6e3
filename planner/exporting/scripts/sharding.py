"""Divides a model among ranks: FSDP2 as accelerate calls it, or DDP."""

from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from model import blocks
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import CPUOffloadPolicy, MixedPrecisionPolicy, OffloadPolicy, fully_shard
from torch.nn.parallel import DistributedDataParallel


@dataclass
class Sharded:
    """What train.yaml says of shards."""

    sharding: str = "no_shard"  # DDP; "zero1": states alone; FSDP2: "shard_grad_op", "full_shard", "hybrid_shard"
    shard_size: int = 0  # of hybrid_shard: ranks that divide one copy of the model; 0 for all
    reshard_size: int = 0  # of full_shard: ranks that keep a block's shard from forward to backward; 0 for all
    offload_to_cpu: bool = False
    sync_each_micro_batch: bool = False  # gradients are reduced in every micro-batch, not in the last alone
    gradient_as_bucket_view: bool = False


def divide(model: Any, said: Sharded, device: torch.device, autocast: str | None) -> Any:
    """Returns the model on its device, divided among the ranks."""
    if not dist.is_initialized():
        return model.to(device)
    if said.sharding in ("no_shard", "zero1"):
        return DistributedDataParallel(model.to(device), gradient_as_bucket_view=said.gradient_as_bucket_view)
    dtype = getattr(torch, autocast) if autocast else None
    in_4_bits = any(type(p).__name__ == "Params4bit" for p in model.parameters())
    if dtype is not None and not in_4_bits:
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.data = parameter.data.float()  # what trains is stored in fp32, and gathered in half precision
    world = dist.get_world_size()
    size = (said.shard_size if said.sharding == "hybrid_shard" else 0) or world
    reshards = {"shard_grad_op": False, "full_shard": said.reshard_size or True}
    shape, names = ((world,), ("shard",)) if size == world else ((world // size, size), ("replicate", "shard"))
    how: dict[str, Any] = {
        "mesh": init_device_mesh(device.type, shape, mesh_dim_names=names),
        "mp_policy": MixedPrecisionPolicy(param_dtype=dtype, reduce_dtype=dtype),
        "reshard_after_forward": reshards.get(said.sharding, True),
        "offload_policy": CPUOffloadPolicy(pin_memory=device.type == "cuda")
        if said.offload_to_cpu
        else OffloadPolicy(),
    }
    for block in blocks(model):
        fully_shard(block, **how)
    _divide_ends(model.get_base_model() if hasattr(model, "peft_config") else model, how)
    fully_shard(model, **{**how, "reshard_after_forward": None})
    return model


def _divide_ends(base: Any, how: dict[str, Any]) -> None:
    """Makes a unit of the embedding, and one of the final norm and the head; tied, all are in one unit."""
    embedding, head = base.get_input_embeddings(), base.get_output_embeddings()
    body = getattr(base, base.base_model_prefix)
    norm = [module for module in body.children() if "Norm" in type(module).__name__][-1:]
    tied = embedding.weight is head.weight
    if not tied:
        fully_shard(embedding, **how)
    fully_shard([*norm, *([embedding] if tied else []), head], **{**how, "reshard_after_forward": False})
