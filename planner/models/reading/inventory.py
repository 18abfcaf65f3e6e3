"""Lists all parameters of a model, part by part."""

from __future__ import annotations

from collections.abc import Hashable
from functools import cached_property

from planner.models.architecture import Architecture
from planner.models.reading.parameters import Heads, Parameters, ParameterTensor
from planner.models.reading.reader import Reader


class Inventory:
    """Holds all parameters of an architecture, part by part.

    Attributes:
        architecture: The architecture whose forward pass is read.
        layer_kinds: One kind per layer.
    """

    def __init__(self, architecture: Architecture) -> None:
        self.architecture = architecture
        self.layer_kinds = architecture.layer_kinds()

    @cached_property
    def stem(self) -> Parameters:
        """Returns the parameters of the embeddings."""
        reader = Reader()
        self.architecture.stem(reader)
        return reader.parameters()

    @property
    def token_embedding(self) -> ParameterTensor:
        """Returns the weight of the token embedding."""
        return next(t for t in self.stem.tensors if t.is_table)

    @cached_property
    def blocks(self) -> dict[Hashable, Parameters]:
        """Returns the parameters of one layer of each kind."""
        found = {}
        for kind in dict.fromkeys(self.layer_kinds):
            reader = Reader()
            self.architecture.block(reader, self.architecture.hidden_size, kind)
            found[kind] = reader.parameters()
        return found

    @cached_property
    def heads(self) -> Heads:
        """Returns a summary of attention over all kinds of layers."""
        reader = Reader()
        for kind in dict.fromkeys(self.layer_kinds):
            self.architecture.block(reader, self.architecture.hidden_size, kind)
        return reader.heads

    @property
    def keeps_fp32(self) -> bool:
        """Returns whether any parameter stays in fp32 whatever the precision."""
        return any(t.in_fp32 for block in self.blocks.values() for t in block.tensors)

    @cached_property
    def head(self) -> Parameters:
        """Returns the parameters of the final norm and the head."""
        reader = Reader()
        self.architecture.head(reader, self.architecture.hidden_size)
        return reader.parameters()

    @property
    def parts(self) -> tuple[Parameters, ...]:
        """Returns the parameters of the stem, of one layer of each kind, and of the head."""
        return (self.stem, *self.blocks.values(), self.head)

    @cached_property
    def num_parameters(self) -> int:
        """Returns the exact number of parameters, with tied weights counted once."""
        blocks = sum(self.blocks[kind].num_parameters for kind in self.layer_kinds)
        return self.stem.num_parameters + blocks + self.head.num_parameters

    @cached_property
    def num_expert_parameters(self) -> int:
        """Returns the number of parameters in stacks of expert weights.

        These are parameters of three dimensions, which are no linear layers.
        """
        return sum(t.num_elements for kind in self.layer_kinds for t in self.blocks[kind].tensors if len(t.shape) == 3)

    @cached_property
    def target_names(self) -> tuple[str, ...]:
        """Returns the names that LoRA can target.

        They are those of every linear layer but the language-model head, as in PEFT's `all-linear`, and but the head
        of a classifier where PEFT trains that as a module.
        """
        apart = self.architecture.task.facts.peft is not None
        adapted = (w for part in self.parts for w in part.linears if not (w.in_head and apart))
        return tuple(dict.fromkeys(n for w in adapted for n in w.target_names))
