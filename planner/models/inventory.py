"""All parameters of a model, part by part."""

from __future__ import annotations

from collections.abc import Hashable
from functools import cached_property

from planner.models.architecture import Architecture
from planner.models.parameters import Heads, Parameters, ParameterTensor
from planner.models.reader import Reader


class Inventory:
    """All parameters of an architecture, part by part."""

    def __init__(self, architecture: Architecture) -> None:
        self.architecture = architecture
        self.layer_kinds = architecture.layer_kinds()

    @cached_property
    def stem(self) -> Parameters:
        reader = Reader()
        self.architecture.stem(reader)
        return reader.parameters()

    @property
    def token_embedding(self) -> ParameterTensor:
        return next(t for t in self.stem.tensors if t.is_table)

    @cached_property
    def blocks(self) -> dict[Hashable, Parameters]:
        found = {}
        for kind in dict.fromkeys(self.layer_kinds):
            reader = Reader()
            self.architecture.block(reader, self.architecture.hidden_size, kind)
            found[kind] = reader.parameters()
        return found

    @cached_property
    def heads(self) -> Heads:
        reader = Reader()
        for kind in dict.fromkeys(self.layer_kinds):
            self.architecture.block(reader, self.architecture.hidden_size, kind)
        return reader.heads

    @property
    def keeps_fp32(self) -> bool:
        """Whether any parameter stays in fp32 whatever the precision."""
        return any(t.in_fp32 for block in self.blocks.values() for t in block.tensors)

    @cached_property
    def head(self) -> Parameters:
        reader = Reader()
        self.architecture.head(reader, self.architecture.hidden_size)
        return reader.parameters()

    @cached_property
    def num_parameters(self) -> int:
        """Exact, tied weights counted once."""
        blocks = sum(self.blocks[kind].num_parameters for kind in self.layer_kinds)
        return self.stem.num_parameters + blocks + self.head.num_parameters

    @cached_property
    def num_expert_parameters(self) -> int:
        """In stacks of experts' weights: parameters of three dimensions, which are no linear layers."""
        return sum(t.num_elements for kind in self.layer_kinds for t in self.blocks[kind].tensors if len(t.shape) == 3)

    @cached_property
    def target_names(self) -> tuple[str, ...]:
        """Names that LoRA can target: every linear layer but the language-model head, as PEFT's `all-linear`."""
        parts = (self.stem, *self.blocks.values(), self.head)
        return tuple(dict.fromkeys(n for part in parts for w in part.linears for n in w.target_names))
