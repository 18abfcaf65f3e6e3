"""Says which optimizers and updates cannot run with other choices, and why."""

from __future__ import annotations

from hardware import Cluster
from strategies.finetuning.methods import Freeze, Full, Lora
from strategies.optimizer import (
    Blockwise,
    Factored,
    LowRank,
    Offloaded,
    Optimizer,
    Orthogonalized,
    Packed,
    Rowwise,
    Whole,
)
from strategies.sharding import Fsdp2
from strategies.strategy import Strategy
from strategies.update import Update


def optimizer(s: Strategy, cluster: Cluster) -> str | None:
    """Returns why an optimizer does not step what trains, or None."""
    name = s.optimizer.choice
    facts = name.facts  # not `s.optimizer.facts`: an own rank does not change the kind
    if isinstance(facts, Blockwise) and not cluster.gpu.supports_bitsandbytes:
        return f"bitsandbytes does not run on {cluster.gpu.name}"
    if isinstance(s.sharding, Fsdp2) and (reason := _UNSHARDED[type(facts)]):
        return reason
    if isinstance(facts, Whole) and not facts.takes_shards and isinstance(s.sharding, Fsdp2):
        # multi_tensor_applier passes data pointers to a kernel (apex, csrc/multi_tensor_apply.cuh); a DTensor has none
        return f"{name} does not take parameters that FSDP2 has sharded: bf16-mixed keeps fp32 weights there"
    if name is Optimizer.ADAMW_FP32_MASTER and (isinstance(s.finetuning, Lora) or s.precision.facts.trained_bytes != 2):
        return "weights that train are fp32 already: adamw-fp32-master keeps copies of weights in half precision"
    if isinstance(facts, LowRank | Rowwise) and not isinstance(s.finetuning, Full | Freeze):
        # GaLore: an adapter has no more rows than the projection. Adam-mini views gradients of q_proj and k_proj by
        # heads (`m.view(-1, head_numel)`); it finds adapters by the same names, and they have too few elements.
        parts = "adapters" if isinstance(s.finetuning, Lora) else "biases"
        return f"{name} is made for whole weights, not for {parts}"
    if isinstance(facts, Offloaded) and cluster.world_size > 1:
        # "Offload optimizer to CPU for single-GPU training": its hook copies a gradient before DDP reduces it
        return "torchao's CPUOffloadOptimizer is for one GPU"
    return None


_UNSHARDED: dict[type, str | None] = {
    Whole: None,
    Packed: None,
    Offloaded: None,
    Orthogonalized: None,
    Rowwise: None,
    # transformers' Adafactor.step makes its row and column means with torch.zeros and adds DTensors to them:
    # "aten.add_.Tensor got mixed torch.Tensor and DTensor"
    Factored: "transformers' Adafactor does not run on parameters that FSDP2 has sharded",
    # github.com/bitsandbytes-foundation/bitsandbytes issue 1633: kernels get DTensors as if they were plain tensors
    Blockwise: "bitsandbytes' optimizers do not run on parameters that FSDP2 has sharded",
    # apollo_torch multiplies by random matrices that are plain tensors: "aten.mm.default got mixed torch.Tensor and
    # DTensor"; galore_torch would gather its decomposition on every rank, which its documentation does not mention
    LowRank: "GaLore and APOLLO do not project gradients that FSDP2 has sharded",
}
"""Why optimizers with such facts cannot step shards; None if they can, unless the facts themselves say otherwise."""


def update(s: Strategy, cluster: Cluster) -> str | None:
    """Returns why parameters cannot be updated in backward, or None."""
    if s.update is Update.AFTER_BACKWARD:
        return None
    if cluster.world_size > 1 and not s.sharding.shards:
        # the hook runs when the gradient is accumulated, DDP's reduction afterwards (torch/csrc/autograd/
        # accumulate_grad.h: post-accumulate hooks belong to the tensor, DDP's hooks to the node)
        return "an update in backward would not wait for DDP to reduce the gradient"
    if s.precision.facts.matmul_dtype == "fp16" and s.precision.facts.autocast_bytes is not None:
        # torch/amp/grad_scaler.py, `step`: skips the step if any gradient has overflowed
        return "GradScaler decides on all gradients at once, which an update in backward frees one by one"
    if isinstance(s.optimizer.choice.facts, Offloaded):
        return "CPUOffloadOptimizer has hooks of its own, and steps after backward"
    return None
