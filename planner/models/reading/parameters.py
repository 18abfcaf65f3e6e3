"""Describes a model's parameters by names and shapes, and says which of them are linear layers."""

from math import prod
from typing import NamedTuple


class Linear(NamedTuple):
    """Describes a linear layer, or a stack of expert weights that PEFT adapts as if they were layers.

    A layer has weights of `[out_features, in_features]`, and a bias of `[out_features]` or none. A stack has such
    weights for each of its experts.
    """

    name: str
    in_features: int
    out_features: int
    bias: bool
    experts: int = 1
    """Number of experts in a stack; 1 for a layer."""
    fused: tuple[str, ...] = ()
    """Names of the layers that a stack was fused from, which PEFT's `target_modules` takes; empty for a layer."""
    quantizes: bool = True
    """Whether the layer is quantized. It is not if transformers keeps it in fp32 next to fp16 weights
    (`_keep_in_fp32_modules`)."""
    only_apart: bool = False
    """Whether PEFT adapts it only where every expert has layers of its own: elsewhere it takes the layer's name for a
    stack, or does not know the stack."""
    written_out: bool = False
    """Whether the modeling file writes `x @ weight.T` in place of `functional.linear`."""
    is_unread: bool = False
    """Whether the loss does not depend on what it returns: its weights, and adapters, have no gradients and no states,
    since optimizers skip them, but a place in DDP's buckets."""
    in_head: bool = False
    """Whether it belongs to the head of a classifier, which can train as a module."""

    @property
    def target_names(self) -> tuple[str, ...]:
        """Returns the names that PEFT's `target_modules` matches: `q_proj` for `self_attn.q_proj`.

        If there are several, the weights are adapted only where all of them are targets.
        """
        return self.fused or (self.name.rpartition(".")[2],)

    def adapter_rank(self, rank: int) -> int:
        """Returns the rank of the adapter over all experts.

        Each layer that was fused brings a rank of its own (peft/utils/transformers_weight_conversion.py).

        Args:
            rank: LoRA's rank of one layer.
        """
        return rank * self.experts * max(1, len(self.fused))

    @property
    def is_stack(self) -> bool:
        """Returns whether it is a stack of experts that was fused from a layer or several of each expert."""
        return self.experts > 1 and bool(self.fused)

    @property
    def of_experts(self) -> "tuple[Linear, ...]":
        """Returns the layers that a stack was fused from: `mlp.experts.0.w1`, ... for `mlp.experts.gate_up_proj`."""
        path, rows = self.name.rpartition(".")[0], self.out_features // len(self.fused)
        names = (f"{path}.{number}.{name}" for number in range(self.experts) for name in self.fused)
        return tuple(Linear(name, self.in_features, rows, False) for name in names)


class ParameterTensor(NamedTuple):
    """Describes one parameter."""

    name: str
    shape: tuple[int, ...]
    layer: Linear | None = None
    """The linear layer that it belongs to; None for embeddings and norms."""
    is_embedding: bool = False
    """Whether it is the weight of an embedding: of tokens, token types, positions or distances."""
    is_table: bool = False
    """Whether it is the weight of the token embedding."""
    is_head: bool = False
    """Whether it belongs to the head, of a language model or of a classifier; an embedding's weight that it is tied to
    does not."""
    in_fp32: bool = False
    """Whether it is stored in fp32 whatever the precision (transformers, `_keep_in_fp32_modules_strict`)."""

    @property
    def num_elements(self) -> int:
        """Returns the number of its elements."""
        return prod(self.shape)

    @property
    def is_bias(self) -> bool:
        """Returns whether its name is that of a bias."""
        return self.name.endswith(".bias")


class Parameters(NamedTuple):
    """Holds the parameters of one part of a model; tied ones belong to the part that uses them first."""

    tensors: tuple[ParameterTensor, ...]
    layers: tuple[Linear, ...]
    """All that PEFT may adapt: layers, stacks and routers."""

    @property
    def linears(self) -> tuple[Linear, ...]:
        """Returns what PEFT adapts where it is a target."""
        return tuple(layer for layer in self.layers if not layer.only_apart)

    @property
    def num_parameters(self) -> int:
        """Returns the number of elements of all tensors."""
        return sum(t.num_elements for t in self.tensors)

    @property
    def stacks(self) -> dict[str, Linear]:
        """Returns the stacks of experts that were fused from layers, by the name of their parameter."""
        return {layer.name: layer for layer in self.layers if layer.is_stack}

    def divided(self, module: str) -> "tuple[Parameters, Parameters]":
        """Returns the parameters of one module, by its name within the part, and the others."""
        of_module = [t.name.startswith(f"{module}.") for t in self.tensors]
        own = tuple(t for t, belongs in zip(self.tensors, of_module, strict=True) if belongs)
        others = tuple(t for t, belongs in zip(self.tensors, of_module, strict=True) if not belongs)
        return Parameters(own, ()), Parameters(others, self.layers)

    def with_head_apart(self) -> "Parameters":
        """Returns the parameters with a classifier's head that trains as a module: no layer of it is adapted."""
        tensors = (t._replace(layer=None) if t.is_head else t for t in self.tensors)
        return Parameters(tuple(tensors), tuple(layer for layer in self.layers if not layer.in_head))

    def with_separate_experts(self) -> "Parameters":
        """Returns the parameters with the layers of each expert in the place of the stacks they were fused to."""
        tensors: list[ParameterTensor] = []
        for t in self.tensors:
            of_experts = self.stacks[t.name].of_experts if t.name in self.stacks else ()
            apart = [ParameterTensor(f"{w.name}.weight", (w.out_features, w.in_features), w) for w in of_experts]
            tensors += apart or [t]
        layers = [w for layer in self.layers for w in (layer.of_experts if layer.is_stack else (layer,))]
        return Parameters(tuple(tensors), tuple(layer._replace(only_apart=False) for layer in layers))


class Heads(NamedTuple):
    """Summarizes attention over all blocks of a model: each field is the most that any block has."""

    grouped: bool = False
    """Whether several query heads share keys and values."""
    width: int = 0
    """Columns of one query head."""
    dropout: float = 0.0
    """Dropout probability of attention."""
    own: bool = False
    """Whether the modeling file writes attention itself (`Forward.own_attention`)."""
