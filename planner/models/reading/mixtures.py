"""Reads the parameters of mixtures of experts off a forward pass."""

from __future__ import annotations

from planner.models.reading.parameters import Linear, ParameterTensor
from planner.models.vocabulary.forms import ROUTED_IN_FP32, RouterForm, biased_expert_shapes


class MixtureReader:
    """Implements the mixtures of `Forward` on numbers of columns; `Reader` implements the rest."""

    tensors: list[ParameterTensor]
    layers: list[Linear]

    def route(
        self,
        name: str,
        x: int,
        num_experts: int,
        top_k: int,
        *,
        normalizes: bool,
        casts: bool = True,
        target: str | None = None,
        form: RouterForm = "softmax",
        limited: bool = False,
    ) -> int:
        """Records the router's weight, and the layer that PEFT takes it for; returns `top_k`."""
        in_fp32 = form in ROUTED_IN_FP32
        self.tensors.append(ParameterTensor(f"{name}.weight", (num_experts, x), in_fp32=in_fp32))
        if target:
            self.layers.append(Linear(name, x, num_experts, False, fused=(target,)))
        return top_k

    def experts(
        self,
        name: str,
        x: int,
        scores: int,
        num_experts: int,
        intermediate_size: int,
        activation: str,
        *,
        layers: tuple[str, str, str] | None = None,
        adapts: bool = True,
        sums_in_fp32: bool = False,
    ) -> int:
        """Records the experts' weights, and the layers that they were fused from."""
        self.tensors.append(ParameterTensor(f"{name}.gate_up_proj", (num_experts, 2 * intermediate_size, x)))
        self.tensors.append(ParameterTensor(f"{name}.down_proj", (num_experts, x, intermediate_size)))
        if layers:
            *gate_up, down = layers
            stacks = (
                Linear(f"{name}.gate_up_proj", x, 2 * intermediate_size, False, num_experts, tuple(gate_up)),
                Linear(f"{name}.down_proj", intermediate_size, x, False, num_experts, (down,)),
            )
            self.layers += [stack._replace(only_apart=not adapts) for stack in stacks]
        return x

    def biased_experts(
        self, router: str, name: str, x: int, num_experts: int, top_k: int, intermediate_size: int
    ) -> int:
        """Records weights and biases of the router and of the experts."""
        shapes = biased_expert_shapes(router, name, x, num_experts, intermediate_size)
        self.tensors += [ParameterTensor(name, shape) for name, shape in shapes.items()]
        return x

    def every_expert(self, name: str, x: int, num_experts: int, intermediate_size: int, activation: str) -> int:
        """Records the experts' weights."""
        self.tensors.append(ParameterTensor(f"{name}.gate_up_proj", (num_experts, x, 2 * intermediate_size)))
        self.tensors.append(ParameterTensor(f"{name}.down_proj", (num_experts, intermediate_size, x)))
        return x
