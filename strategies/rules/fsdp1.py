"""Says which choices cannot run with FSDP1, and why."""

from __future__ import annotations

from hardware import Cluster
from strategies.finetuning.methods import BitFit, Freeze, Lora, LoraVariant, TrainedModules, quantization_of
from strategies.finetuning.quantization import Quantization
from strategies.kernels import Kernels
from strategies.optimizer import Blockwise, Factored, LowRank, Offloaded, Orthogonalized, Packed, Rowwise, Whole
from strategies.precision import Precision
from strategies.sharding import Fsdp1, GradientSync, Offload
from strategies.strategy import Strategy
from strategies.update import Update


def fsdp1(s: Strategy, _: Cluster) -> str | None:
    """Returns why a strategy cannot run with FSDP1, or None; other backends have no objection here."""
    if not isinstance(s.sharding, Fsdp1):
        return None
    if s.sharding.on_host and s.sharding.gradient_sync is GradientSync.EACH:
        # torch/distributed/fsdp/_flat_param.py, `prepare_gradient_for_backward`: "Gradient accumulation outside
        # `no_sync()` does not work with CPU offloading"
        return "FSDP1 with an offload loses the gradients of earlier micro-batches: gradient_sync last keeps them"
    if s.sharding.to_options()["offload"] is Offload.OPTIMIZER:
        # torch/distributed/fsdp/api.py, `CPUOffload`: gradients follow the parameters, and the optimizer runs there
        return "FSDP1 offloads parameters along with the optimizer: offload cpu"
    if s.update is Update.IN_BACKWARD:
        # autograd accumulates into flat parameters, so a hook on an original parameter never runs
        return "parameters of FSDP1 are views of a flat one, whose gradient an update in backward does not get"
    if s.kernels is Kernels.COMPILE:
        return "compiled blocks have no account of FSDP1's units"
    if s.precision is Precision.FP8_MIXED:
        return "fp8-mixed is not derived for FSDP1"
    if s.checkpointing.choice.facts.reentrant and s.checkpointing.every > 1:
        return "units of FSDP1 within reentrant checkpoints beside others are not derived: checkpoint_every 1"
    return _method(s) or _OPTIMIZERS[type(s.optimizer.choice.facts)]


def _method(s: Strategy) -> str | None:
    method, quantization = s.finetuning, quantization_of(s.finetuning)
    if quantization is not Quantization.NONE and not quantization.flattens:
        # MatMul8bitLt multiplies `state.CB` and not the parameter; packed weights of GPTQModel are buffers
        return f"{quantization} weights cannot be sharded by FSDP1"
    if isinstance(method, BitFit):
        return "bitfit is not derived for FSDP1, which makes gradients of whole flat parameters, biases and weights"
    if isinstance(method, Freeze) and method.trained_modules is not TrainedModules.NONE:
        # the root has embedding and head, and gradients of one reach all blocks through the other
        return "FSDP1 joins embedding and head to one flat parameter, which trains as a whole or not at all"
    if not isinstance(method, Lora):
        return None
    if method.is_prepared:
        # torch/distributed/fsdp/_flat_param.py, `_validate_tensors_to_flatten`
        return "FSDP1 joins parameters of one dtype alone: what NF4 leaves unquantized has to be in half precision"
    if method.variant is LoraVariant.DORA:
        # peft/tuners/lora/dora.py multiplies A's and B's weights outside of the forward that gathers them
        return "DoRA multiplies the adapters' weights outside of their forward, where FSDP1 has only shards of them"
    if method.trained_modules is not TrainedModules.NONE:
        return "trained copies of embedding and head are not derived for FSDP1, where each is a unit of its own"
    return None


_OPTIMIZERS: dict[type, str | None] = {
    Whole: None,
    Blockwise: None,
    Packed: None,
    Factored: None,
    Offloaded: None,
    # torch/optim/_muon.py takes matrices alone, Adam-mini views gradients by heads, GaLore and APOLLO project matrices
    Orthogonalized: "Muon takes matrices, and FSDP1 leaves flat shards of them",
    Rowwise: "Adam-mini views gradients by rows and heads, and FSDP1 leaves flat shards of them",
    LowRank: "GaLore and APOLLO project matrices, and FSDP1 leaves flat shards of them",
}
"""Why optimizers with such facts cannot step shards of flat parameters; None if they can."""
