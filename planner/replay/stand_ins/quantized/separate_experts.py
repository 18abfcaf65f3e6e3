"""Gives every expert of a mixture linear layers of its own, as transformers 4 did and bitsandbytes needs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from strategies import ContradictionError

_OF_GATE, _OF_DOWN = ".experts.gate_up_proj", ".experts.down_proj"
"""Ends of the patterns of transformers' fused parameters (transformers/conversion_mapping.py)."""
_SUMS_IN_FP32 = ("deepseek_v2", "deepseek_v3")
"""Model types whose `moe` gave the sums the dtype of the scores (transformers 4.57, modeling_deepseek_v3.py)."""


class Expert(torch.nn.Module):
    """One gated expert, `MixtralBlockSparseTop2MLP` of transformers 4.57 (models/mixtral/modeling_mixtral.py).

    Args:
        fused: The module that holds all experts of the block.
        names: Names of the layers of gate, up and down.
    """

    def __init__(self, fused: Any, names: tuple[str, str, str]) -> None:
        super().__init__()
        _, hidden, width = fused.down_proj.shape
        given = {"bias": False, "device": "meta", "dtype": fused.down_proj.dtype}
        self.names, self.act_fn = names, fused.act_fn
        gate, up, down = names
        self.add_module(gate, torch.nn.Linear(hidden, width, **given))
        self.add_module(up, torch.nn.Linear(hidden, width, **given))
        self.add_module(down, torch.nn.Linear(width, hidden, **given))

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Returns `down(act(gate(x)) * up(x))`."""
        gate, up, down = (self.get_submodule(name) for name in self.names)
        current = self.act_fn(gate(hidden_states)) * up(hidden_states)
        out: torch.Tensor = down(current)
        return out


class SeparateExperts(torch.nn.ModuleList):
    """The experts of a block, one after the other: the loop of `MixtralSparseMoeBlock` in transformers 4.57.

    The values of fake tensors say nothing of the routing: it is even.

    Args:
        experts: The experts.
        sums: Dtype of the sums; None for that of the hidden states.
    """

    def __init__(self, experts: Iterable[Expert], sums: torch.dtype | None) -> None:
        super().__init__(experts)
        self.sums = sums

    def forward(self, hidden_states: torch.Tensor, chosen: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Returns the weighted sum of the outputs of each token's experts.

        Args:
            hidden_states: `[tokens, hidden]`.
            chosen: Experts of each token, `[tokens, top_k]`.
            scores: Their scores.
        """
        sums, pairs = self.sums or hidden_states.dtype, chosen.numel()
        scores, out = scores.to(sums), torch.zeros_like(hidden_states, dtype=sums)
        _mask = torch.zeros(*chosen.shape, len(self), dtype=torch.int64)  # `one_hot`, which reads values
        for number, expert in enumerate(self):
            found = torch.empty((pairs + number) // len(self), 2, dtype=torch.int64)  # `torch.where` of the mask
            token, place = found.unbind(1)
            state = hidden_states[None, token].reshape(-1, hidden_states.shape[-1])
            current = expert(state) * scores[token, place, None]
            out.index_add_(0, token, current.to(sums))
        return out.to(hidden_states.dtype)


def separate(model: Any) -> None:
    """Replaces the fused experts of a model, in place.

    Raises:
        ContradictionError: The model has none that transformers fused from linear layers.
    """
    names = _names_of(model.config.model_type)
    sums = torch.float32 if model.config.model_type in _SUMS_IN_FP32 else None
    found = 0
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if names is not None and hasattr(child, "gate_up_proj") and hasattr(child, "down_proj"):
                experts = (Expert(child, names) for _ in range(len(child.down_proj)))
                setattr(module, name, SeparateExperts(experts, sums))
                found += 1
    if not found:
        raise ContradictionError(
            "the model has no experts that were linear layers of their own in transformers 4",
            "--expert-quantization none",
        )


@contextmanager
def adapted_apart() -> Iterator[None]:
    """Lets PEFT adapt the layers of separate experts, for which it would take the fused parameters of transformers 5.

    It still takes a router for a parameter (peft/utils/transformers_weight_conversion.py, `_convert_peft_config_moe`).
    """
    from peft.utils import transformers_weight_conversion as conversion

    whole = dict(conversion._MOE_TARGET_MODULE_MAPPING)
    fused = {end.rpartition(".")[2] for end in (_OF_GATE, _OF_DOWN)}
    for kind, names in whole.items():
        conversion._MOE_TARGET_MODULE_MAPPING[kind] = {old: new for old, new in names.items() if new not in fused}
    try:
        yield
    finally:
        conversion._MOE_TARGET_MODULE_MAPPING.update(whole)


def _names_of(model_type: str) -> tuple[str, str, str] | None:
    """Returns the names of an expert's layers in checkpoints; None if they are fused there, or there are no experts."""
    from transformers.conversion_mapping import _MODEL_TO_CONVERSION_PATTERN, get_checkpoint_conversion_mapping

    pattern = _MODEL_TO_CONVERSION_PATTERN.get(model_type, model_type)
    found: dict[str, list[str]] = {}
    for converter in get_checkpoint_conversion_mapping(pattern) or ():
        sources = [source.split(".")[-2] for source in converter.source_patterns if ".*." in source]
        for target in converter.target_patterns:
            found |= {end: sources for end in (_OF_GATE, _OF_DOWN) if target.endswith(end)}
    names = [*found.get(_OF_GATE, ()), *found.get(_OF_DOWN, ())]
    return (names[0], names[1], names[2]) if len(names) == 3 else None
