"""Stand-ins for optimizers whose steps are GPU kernels: the same states, made in the same order, and no arithmetic."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from planner.memory.state import BNB_BLOCK, BNB_SMALLEST, BNB_TABLE
from strategies import Optimizer


class AdamW8bit(torch.optim.Optimizer):
    """bitsandbytes' AdamW with 8-bit states (bitsandbytes/optim/optimizer.py, 0.50: `Optimizer8bit.step` and
    `Optimizer2State.init_state`), as Trainer makes it: with 32-bit states for embeddings (transformers/trainer.py,
    `register_module_override`). Its kernels update in place, so the first step makes the states, and no other step
    allocates.
    """

    def __init__(self, model: torch.nn.Module, parameters: list[torch.nn.Parameter]) -> None:
        super().__init__(parameters, {})
        self.in_32_bits = {id(m.weight) for m in model.modules() if isinstance(m, torch.nn.Embedding)}
        self.tables: dict[str, torch.Tensor] = {}
        """What a byte of a state means (`fill_qmap`): one table for all states with a sign, one for all without."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None and not self.state[parameter]:
                    self._make_states(parameter)

    def _make_states(self, parameter: torch.nn.Parameter) -> None:
        state = self.state[parameter]
        if id(parameter) in self.in_32_bits or parameter.numel() < BNB_SMALLEST:
            for name in ("state1", "state2"):
                state[name] = torch.zeros_like(parameter, dtype=torch.float32)
            return
        for name in ("dynamic", "udynamic"):
            if name not in self.tables:
                self.tables[name] = torch.empty(BNB_TABLE, dtype=torch.float32, device=parameter.device)
        for name in ("state1", "state2"):
            state[name] = torch.zeros_like(parameter, dtype=torch.uint8)
        scales = -(-parameter.numel() // BNB_BLOCK)
        for name in ("absmax1", "absmax2"):
            state[name] = torch.zeros(scales, dtype=torch.float32, device=parameter.device)


STAND_INS: Mapping[Optimizer, Callable[[torch.nn.Module, list[torch.nn.Parameter]], torch.optim.Optimizer]] = {
    Optimizer.ADAMW_8BIT: AdamW8bit,
}
