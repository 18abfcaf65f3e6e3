"""Declares the operations of mixtures of experts."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol, TypeVar

from planner.models.vocabulary.forms import RouterForm

T = TypeVar("T")


class Mixtures(Protocol[T]):
    """Declares routers and experts."""

    def module(self, name: str) -> AbstractContextManager[None]:
        """Says that what runs in the context is the forward of a module, whose parts are modules themselves."""
        ...

    def route(
        self,
        name: str,
        x: T,
        num_experts: int,
        top_k: int,
        *,
        normalizes: bool,
        casts: bool = True,
        target: str | None = None,
        form: RouterForm = "softmax",
        limited: bool = False,
    ) -> T:
        """Computes each token's weights of its `top_k` experts.

        The router's weight is a parameter and no linear layer. It stays in fp32 where the logits are in fp32.

        Args:
            normalizes: Whether a token's weights add up to 1.
            casts: Whether weights are cast from fp32 back to the dtype of the logits.
            target: The layer that PEFT takes the router for, if it can adapt it with LoRA.
            form: How experts are scored.
            limited: Whether experts of only a few groups can be chosen.
        """
        ...

    def experts(
        self,
        name: str,
        x: T,
        scores: T,
        num_experts: int,
        intermediate_size: int,
        activation: str,
        *,
        layers: tuple[str, str, str] | None = None,
        adapts: bool = True,
        sums_in_fp32: bool = False,
    ) -> T:
        """Computes the weighted sum of the outputs of gated experts.

        Their weights are two parameters of three dimensions: `[experts, out_features, in_features]`.

        Args:
            scores: Each token's weights of its experts, from `route`.
            layers: Names of the linear layers (gate, up and down) that each expert had in transformers 4, and still has
                in checkpoints; None if it had none.
            adapts: Whether PEFT takes these names for the two parameters, and adapts them with LoRA.
            sums_in_fp32: Whether transformers 4 multiplied and added the experts' outputs in fp32.
        """
        ...

    def biased_experts(self, router: str, name: str, x: T, num_experts: int, top_k: int, intermediate_size: int) -> T:
        """Computes gpt-oss's mixture: a router with a bias, and clamped SwiGLU experts with biases.

        The router scores only the chosen experts; columns of gate and up alternate. Neither router nor experts are
        linear layers, so LoRA and quantization leave them as they are.
        """
        ...

    def spread(self, x: T, scores: T) -> T:
        """Repeats all tokens once for each expert, multiplied by the expert's scores of them."""
        ...

    def every_expert(self, name: str, x: T, num_experts: int, intermediate_size: int, activation: str) -> T:
        """Computes gated experts where each computes all tokens.

        The weights are two parameters of three dimensions: `[experts, in_features, out_features]`.
        """
        ...

    def add_experts(self, x: T, out: T, num_experts: int) -> T:
        """Adds the sum of all experts' outputs to `x`, in place."""
        ...

    def sigmoid(self, x: T) -> T:
        """Applies a sigmoid."""
        ...
