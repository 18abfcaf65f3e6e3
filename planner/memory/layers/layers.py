"""Interprets the forward-pass vocabulary on symbolic tensors, as transformers and PEFT compose each layer.

Each module adds a kind of layers to the one before: `pass_state`, `sublayers`, `ends`, and here mixtures of experts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import prod

from planner.memory.autograd.tape import Tensor
from planner.memory.layers import mixtures
from planner.memory.layers.ends import Ends
from planner.memory.settings.dtypes import FP32
from planner.models import Linear
from planner.models.vocabulary.forms import ROUTED_IN_FP32, RouterForm, biased_expert_shapes
from strategies import Lora


class Layers(Ends):
    """Interprets a family's forward pass: implements `planner.models.vocabulary.forward.Forward[Tensor]`.

    The protocol documents the arguments of its methods. Shapes in brackets are those of one sample.
    """

    gathered_whole = ""
    """Name of a module that DeepSpeed gathers with all that it consists of (`planner.libraries.deepspeed`)."""

    def route(
        self,
        name: str,
        x: Tensor,
        num_experts: int,
        top_k: int,
        *,
        normalizes: bool,
        casts: bool = True,
        target: str | None = None,
        form: RouterForm = "softmax",
        limited: bool = False,
    ) -> Tensor:
        """Returns each token's scores of experts, by the `form` of router (`planner.memory.layers.mixtures.routers`).

        The router's weight stays in fp32 where the form computes its logits in fp32.
        """
        itemsize = self.dtypes.kept_in_fp32 if form in ROUTED_IN_FP32 else None
        weight = self._stack(f"{name}.weight", 1, x.width, num_experts, (target,) if target else (), itemsize)()
        routing = mixtures.routers.Routing(num_experts, top_k, normalizes, casts, limited)
        return mixtures.routers.ROUTERS[form](self, x, weight, name, routing)

    def experts(
        self,
        name: str,
        x: Tensor,
        scores: Tensor,
        num_experts: int,
        intermediate_size: int,
        activation: str,
        *,
        layers: tuple[str, str, str] | None = None,
        adapts: bool = True,
        sums_in_fp32: bool = False,
    ) -> Tensor:
        """Returns the weighted sum of the outputs of each token's experts.

        It is computed by a grouped product, or where experts are quantized by one after the other.
        """
        fused, down = (layers[:2], layers[2:]) if layers and adapts else ((), ())
        width, hidden = intermediate_size, x.width
        if layers and isinstance(self.method, Lora) and self.method.separates_experts:
            expert = mixtures.separate_experts.Expert(
                self.linear, lambda gate: self.activation(activation, gate), *layers, width
            )
            sums = FP32 if sums_in_fp32 else x.itemsize
            return mixtures.separate_experts.separate_experts(self, name, x, scores, num_experts, expert, sums)
        # Down comes first, since its wrapper is the outer one of PEFT's.
        of_down = self._stack(f"{name}.down_proj", num_experts, width, hidden, down)
        of_gate_up = self._stack(f"{name}.gate_up_proj", num_experts, hidden, 2 * width, fused)
        weights = mixtures.experts.Weights(of_gate_up, of_down, width)
        with self.tape.module(name):
            return mixtures.experts.experts(self, x, scores, weights, lambda gate: self.activation(activation, gate))

    @contextmanager
    def module(self, name: str) -> Iterator[None]:
        """Runs what a module of several others does; DeepSpeed gathers some at once (`gathered_whole`)."""
        if name != self.gathered_whole:
            yield
            return
        with self.tape.whole(name, lambda: any(p.startswith(f"{name}.") for p in self.parameters)):
            yield

    def spread(self, x: Tensor, scores: Tensor) -> Tensor:
        """Returns a copy of every token for each expert, times that expert's score: `[experts, tokens, hidden]`."""
        return mixtures.dense_experts.spread(self, x, scores)

    def every_expert(self, name: str, x: Tensor, num_experts: int, intermediate_size: int, activation: str) -> Tensor:
        """Returns the outputs of gated experts that each compute all tokens: `[experts, tokens, hidden]`."""
        hidden, width = x.width, intermediate_size
        gate_up = self._stack(f"{name}.gate_up_proj", num_experts, hidden, 2 * width, ())()
        down = self._stack(f"{name}.down_proj", num_experts, width, hidden, ())()
        with self.tape.module(name):
            return mixtures.dense_experts.experts(
                self, x, gate_up, down, width, lambda gate: self.activation(activation, gate)
            )

    def add_experts(self, x: Tensor, out: Tensor, num_experts: int) -> Tensor:
        """Returns the sum of all experts' outputs added to `x`, in the storage of `x`."""
        return mixtures.dense_experts.add_up(self, x, out, num_experts)

    def _stack(
        self,
        name: str,
        num_experts: int,
        in_features: int,
        out_features: int,
        fused: tuple[str, ...],
        kept: int | None = None,
    ) -> Callable[[], Tensor]:
        """Returns a function that makes one weight of all experts, with its adapter folded in where it has one.

        The adapter's factors exist from this call on, as long as the returned function does.

        Args:
            name: Name of the parameter.
            num_experts: Number of experts, 1 for a router.
            in_features: Input features of one expert.
            out_features: Output features of one expert.
            fused: Names of the layers that PEFT takes the parameter for; LoRA adapts it if all of them are targets.
            kept: Bytes per element of a parameter that keeps a dtype of its own; None for the dtype of other weights.
        """
        elements = num_experts * in_features * out_features
        weight = self.parameter(name, elements, kept or self.dtypes.other, trains=self.trains_base)
        if not isinstance(self.method, Lora) or not fused or not all(self.method.adapts(target) for target in fused):
            return lambda: weight
        layer = Linear(name, in_features, out_features, False, num_experts, fused)
        rank, itemsize = layer.adapter_rank(self.method.rank), self.dtypes.adapter
        of_layer = name.removesuffix(".weight")
        down = self.parameter(f"{of_layer}.lora_A", in_features * rank, itemsize, trains=True)
        up = self.parameter(f"{of_layer}.lora_B", rank * out_features, itemsize, trains=True)
        factors = mixtures.experts.factors(self, up, down, weight.itemsize, name)
        return lambda: mixtures.experts.fold(self, weight, factors, name, stacked=num_experts > 1)

    def biased_experts(
        self, router: str, name: str, x: Tensor, num_experts: int, top_k: int, intermediate_size: int
    ) -> Tensor:
        """Returns the output of gpt-oss's router and experts, whose weights no LoRA and no quantization reaches."""
        shapes = biased_expert_shapes(router, name, x.width, num_experts, intermediate_size)
        itemsize = self.dtypes.other
        weights = [self.parameter(n, prod(shape), itemsize, trains=self.trains_base) for n, shape in shapes.items()]
        return mixtures.gpt_oss_experts.biased_experts(self, x, weights, num_experts, top_k, intermediate_size)

    def sigmoid(self, x: Tensor) -> Tensor:
        """Returns the sigmoid of `x`, which saves its output."""
        return self.unary(x, "sigmoid", saves="output")
