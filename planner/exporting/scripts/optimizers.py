"""Builds the optimizer that train.yaml names."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from model import blocks

Named = list[tuple[str, torch.nn.Parameter]]


NOT_DECAYED = re.compile(r"bias|layernorm|rmsnorm|(?:^|\.)norm(?:$|\.)|_norm(?:$|\.)")
"""Names of parameters that Trainer does not decay: transformers/trainer.py, `get_decay_parameter_names`."""


@dataclass
class Chosen:
    """What train.yaml says of the optimizer."""

    optimizer: str = "adamw"
    optimizer_rank: int | None = None
    learning_rate: float = 2e-5


def _torchao(name: str) -> Callable[..., Any]:
    from torchao import optim

    return getattr(optim, name)


def _bitsandbytes(name: str) -> Callable[..., Any]:
    import bitsandbytes

    return getattr(bitsandbytes.optim, name)


def _adafactor(parameters: Any, lr: float) -> Any:
    from transformers import Adafactor

    return Adafactor(parameters, lr=lr, scale_parameter=False, relative_step=False)


def _offloaded(parameters: Any, lr: float) -> Any:
    from torchao.optim import CPUOffloadOptimizer

    return CPUOffloadOptimizer(parameters, torch.optim.AdamW, lr=lr, fused=True)


PLAIN: dict[str, Callable[..., Any]] = {
    "adamw": lambda parameters, lr: torch.optim.AdamW(parameters, lr=lr, weight_decay=0.0, fused=True),
    "adamw-foreach": lambda parameters, lr: torch.optim.AdamW(parameters, lr=lr, weight_decay=0.0, foreach=True),
    "sgd": lambda parameters, lr: torch.optim.SGD(parameters, lr=lr, foreach=True),
    "sgd-momentum": lambda parameters, lr: torch.optim.SGD(parameters, lr=lr, momentum=0.9, foreach=True),
    "adafactor": _adafactor,
    "adamw-8bit": lambda parameters, lr: _bitsandbytes("AdamW8bit")(parameters, lr=lr),
    "paged-adamw-8bit": lambda parameters, lr: _bitsandbytes("PagedAdamW8bit")(parameters, lr=lr),
    "paged-adamw-32bit": lambda parameters, lr: _bitsandbytes("PagedAdamW32bit")(parameters, lr=lr),
    "lion": lambda parameters, lr: _bitsandbytes("Lion32bit")(parameters, lr=lr),
    "lion-8bit": lambda parameters, lr: _bitsandbytes("Lion8bit")(parameters, lr=lr),
    "adamw-8bit-torchao": lambda parameters, lr: _torchao("AdamW8bit")(parameters, lr=lr),
    "adamw-4bit": lambda parameters, lr: _torchao("AdamW4bit")(parameters, lr=lr),
    "adamw-offload": _offloaded,
}
LOW_RANK = {
    "galore": {"rank": 128, "update_proj_gap": 200, "scale": 0.25, "proj_type": "std"},
    "apollo": {"rank": 128, "proj": "random", "scale_type": "channel", "update_proj_gap": 200, "scale": 1.0},
    "apollo-mini": {"rank": 1, "proj": "random", "scale_type": "tensor", "update_proj_gap": 200, "scale": 1.0},
}


def build(model: Any, said: Chosen, *, divided: bool = False, decays: bool = False) -> list[torch.optim.Optimizer]:
    """Returns the optimizers of what trains.

    Divided, each rank keeps the states of some parameters alone (ZeRO-1). Where it `decays`, biases and norms are in a
    group of their own, as Trainer has them: DeepSpeed makes flat weights of each group.
    """
    trained = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    _keep_embeddings_whole(model, said)
    if decays:
        norms = {id(p) for m in model.modules() if isinstance(m, torch.nn.LayerNorm) for p in m.parameters()}
        apart = [id(p) in norms or NOT_DECAYED.search(name.lower()) is not None for name, p in trained]
        groups = [
            [p for (_, p), is_apart in zip(trained, apart, strict=True) if is_apart is on] for on in (False, True)
        ]
        return [PLAIN[said.optimizer]([{"params": group} for group in groups if group], said.learning_rate)]
    if not divided:
        return _of(trained, model, said)
    from torch.distributed.optim import ZeroRedundancyOptimizer

    make = PLAIN[said.optimizer]
    return [ZeroRedundancyOptimizer([p for _, p in trained], lambda groups: make(groups, said.learning_rate))]


def in_backward(model: Any, said: Chosen) -> list[torch.optim.Optimizer]:
    """Steps each parameter as soon as its gradient is there, which is then freed; returns the optimizers."""
    _keep_embeddings_whole(model, said)
    made = {p: _of([(name, p)], model, said)[0] for name, p in model.named_parameters() if p.requires_grad}

    def update(parameter: torch.nn.Parameter) -> None:
        made[parameter].step()
        made[parameter].zero_grad()

    for parameter in made:
        parameter.register_post_accumulate_grad_hook(update)
    return list(made.values())


def _of(trained: Named, model: Any, said: Chosen) -> list[torch.optim.Optimizer]:
    if said.optimizer in PLAIN:
        return [PLAIN[said.optimizer]([p for _, p in trained], said.learning_rate)]
    layers = {id(m.weight) for block in blocks(model) for m in block.modules() if isinstance(m, torch.nn.Linear)}
    matrices = [p for _, p in trained if id(p) in layers]
    others = [p for _, p in trained if id(p) not in layers]
    if said.optimizer == "muon":
        made: list[torch.optim.Optimizer] = [torch.optim.Muon(matrices, lr=said.learning_rate)] if matrices else []
        return [*made, *([PLAIN["adamw"](others, said.learning_rate)] if others else [])]
    how = {**LOW_RANK[said.optimizer], **({"rank": said.optimizer_rank} if said.optimizer_rank else {})}
    groups = [{"params": others}, {"params": matrices, **how}]
    if said.optimizer == "galore":
        from galore_torch import GaLoreAdamW as LowRank
    else:
        from apollo_torch import APOLLOAdamW as LowRank
    return [LowRank([group for group in groups if group["params"]], lr=said.learning_rate)]


def _keep_embeddings_whole(model: Any, said: Chosen) -> None:
    """Keeps 8-bit optimizers of bitsandbytes from quantizing the states of embeddings, as Trainer does."""
    if said.optimizer not in ("adamw-8bit", "paged-adamw-8bit", "lion-8bit"):
        return
    import bitsandbytes

    manager = bitsandbytes.optim.GlobalOptimManager.get_instance()
    for module in model.modules():
        if isinstance(module, torch.nn.Embedding):
            manager.register_module_override(module, "weight", {"optim_bits": 32})
