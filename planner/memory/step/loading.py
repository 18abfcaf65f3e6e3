"""Computes what loading a model takes, on the GPU and on the host, before ranks have divided it.

What `from_pretrained` reads into the host's memory are pages of the checkpoint's files, which ranks share and the
system gives back: they take nothing. What is cast or unpacked there is memory of each rank's own. With accelerate every
rank reads all weights, also with `cpu_ram_efficient_loading`, which `accelerate launch` sets unless told otherwise:
since transformers 5 it decides alone who sends them. What another rank than the first has is then thrown away, so a
script may leave it on the meta device there, which is planned where a node cannot hold more.
Checkpoints are taken to be in half precision.

A base that bitsandbytes quantizes goes to the GPU unless `device_map` says otherwise, all of it on each, whatever FSDP
does with it later. Sources: transformers 5.24, core_model_loading.py, `convert_and_load_state_dict_in_model`;
modeling_utils.py, `_move_missing_keys_from_meta_to_device`; quantizers/quantizer_bnb_4bit.py, `update_device_map`;
quantizers/quantizer_mxfp4.py; accelerate 1.15, commands/launch.py, `--fsdp_cpu_ram_efficient_loading`;
utils/fsdp_utils.py, `fsdp2_prepare_model` and `fsdp2_load_full_state_dict`.
"""

from collections.abc import Sequence
from typing import NamedTuple

from planner.memory.settings.dtypes import HALF
from planner.memory.sharding.account import Unit
from planner.memory.sharding.backends import backend_of
from planner.models import Inventory
from strategies import DataParallel, Fsdp2, FullySharded, Loading, Lora, Method, quantization_of


class Loaded(NamedTuple):
    """Bytes that loading takes: of one rank's GPU, and of a node's host memory."""

    gpu_bytes: int = 0
    """Bytes at the peak on a GPU, of a quantized base, all of it, or while ranks divide the weights; 0 where a step
    exceeds that."""
    host_bytes: int = 0
    """Bytes of a node's host memory."""
    instead_bytes: int = 0
    """Bytes of the host's memory for one rank that has the base there instead; 0 where the GPU keeps all of it."""
    spared_bytes: int = 0
    """Bytes of a node's host memory if every rank had the model, where that is over and rank 0 alone has it; else 0."""

    def at_least(self, gpu_bytes: int) -> "Loaded":
        """Returns the bytes with no fewer of a GPU."""
        return self._replace(gpu_bytes=max(self.gpu_bytes, gpu_bytes))

    @classmethod
    def of(
        cls,
        inventory: Inventory,
        method: Method,
        sharding: DataParallel,
        whole: Sequence[Unit],
        units: Sequence[Unit],
        loading: Loading,
        ranks: int,
        limit_bytes: int | None,
    ) -> "Loaded":
        """Returns what loading a model takes.

        Args:
            inventory: The model's parameters.
            method: The fine-tuning method, which says what is quantized.
            sharding: How the model is replicated or sharded.
            whole: The parameters of each part, as one rank would store all of them.
            units: The same as each rank stores its share of them.
            loading: Which ranks of a node have all weights.
            ranks: The number of ranks on a node.
            limit_bytes: The node's host memory; None where unknown.
        """
        if quantization_of(method).by_bitsandbytes:
            stored, added = sum(u.stored_bytes for u in whole), sum(u.gradient_bytes for u in whole)
            peak = max(stored, stored - added + _on_the_way(inventory, method))
            if not sharding.shards:
                return cls(peak)
            return cls(0, stored) if loading is Loading.RANK_0 else cls(peak, 0, stored)
        host = sum(u.fp32_bytes for u in whole) if backend_of(sharding).casts_on_host else 0
        if inventory.architecture.packs_experts and not host:
            host = inventory.num_expert_parameters * HALF
        shares = 0
        if isinstance(sharding, Fsdp2) and sharding.on_host:  # they are made while the weights are still there
            shares = sum(share for unit in units for share in unit.shares)
        each, by_one = (readers * host + ranks * shares for readers in (ranks, 1))
        sends = loading is Loading.AUTO and isinstance(sharding, FullySharded)
        if sends and limit_bytes is not None and each > limit_bytes:
            return cls(0, by_one, spared_bytes=each)
        return cls(0, by_one if loading is Loading.RANK_0 else each)


def _on_the_way(inventory: Inventory, method: Method) -> int:
    """Returns the bytes of the largest weight in half precision, while it is quantized or cast to fp32.

    PEFT casts all that is not quantized when the rest is there; without it the last of the weights is quantized.
    """
    prepared = isinstance(method, Lora) and method.is_prepared
    tensors = (t for part in inventory.parts for t in part.tensors)
    return HALF * max(t.num_elements for t in tensors if prepared != (t.layer is not None and t.layer.quantizes))
