"""Traces stem, blocks, head and loss of a model at one sequence length, each once for each setting."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from functools import partial

from planner.memory.autograd.tape import NO_STEPS
from planner.memory.memoized import memoized
from planner.memory.settings.leaves import keeping_leaves
from planner.memory.settings.parts import Part, joined
from planner.memory.settings.setting import Setting
from planner.memory.settings.trainable import Trainable, trained_in_blocks
from planner.memory.sharding.account import Account, Unit
from planner.memory.sharding.optimizers import rule_of
from planner.memory.sharding.state import Units
from planner.memory.tracing.implementations import TODAY, Implementations
from planner.memory.tracing.part_tracer import HEAD, LOSS, STEM
from planner.memory.tracing.tracer import Tracer
from planner.models import Inventory
from strategies import (
    Checkpointing,
    Checkpoints,
    Lora,
)


class TracedParts:
    """The parts of a model at one sequence length under each setting.

    Args:
        inventory: The model's parameters.
        sequence_length: Tokens per sequence; of an encoder-decoder, those of the source.
        implementations: What computes kernels and losses.
        target_length: Tokens of the decoder's sequence, of an encoder-decoder; None for as many.
    """

    def __init__(
        self,
        inventory: Inventory,
        sequence_length: int,
        implementations: Implementations = TODAY,
        target_length: int | None = None,
    ) -> None:
        self.inventory, self.sequence_length, self.implementations = inventory, sequence_length, implementations
        self.target_asked, self.target_length = target_length, target_length or sequence_length

    @memoized
    def units(self, setting: Setting, ranks: int, account_type: type[Account] = Account) -> Units:
        """Returns the model's units, with parameters divided among `ranks` as a backend's account says."""
        return Units.of(self.inventory, setting.method, setting.dtypes, ranks, account_type)

    @memoized
    def parts(self, setting: Setting, checkpointing: Checkpoints, chunk_tokens: int | None = None) -> list[Part]:
        """Returns stem, blocks, head and loss, traced and joined; equal parts may be the same object.

        Args:
            setting: What the bytes of a part depend on.
            checkpointing: Which blocks are recomputed.
            chunk_tokens: Tokens whose logits exist at once; None: all of them.
        """
        checkpoints, facts = checkpointing.recomputes, checkpointing.choice.facts
        architecture = self.inventory.architecture
        stem = self._stem(setting, checkpointing, checkpoints and self._asks_for_gradients(setting))
        in_blocks = trained_in_blocks(setting.method, len(self.inventory.layer_kinds))
        blocks = self._blocks(setting, checkpointing, in_blocks, stem)
        last = blocks[-1]
        stem, embedded_bytes = _hold_embedded(stem, blocks)
        given = last.output_itemsize, last.output_requires_grad
        head, loss = self._head(setting, *given, embedded_bytes, chunk_tokens)
        parts = joined(
            [stem, *blocks, head, loss],
            checkpointed=checkpoints,
            reentrant=facts.reentrant,
            offloaded=architecture.positional if facts.offloads else frozenset(),
            positional=architecture.positional | architecture.positional_leaves,
            keeps_outputs=setting.outputs.facts.in_step,
        )
        if setting.recomputes_units:
            return keeping_leaves(parts, [not (trained.weights or trained.biases) for trained in in_blocks])
        return parts

    def _blocks(
        self, setting: Setting, checkpointing: Checkpoints, in_blocks: Sequence[Trainable], stem: Part
    ) -> list[Part]:
        """Traces the blocks, each with what the part before it returns.

        Args:
            setting: What the bytes of a part depend on.
            checkpointing: Which blocks are recomputed.
            in_blocks: What trains in each block.
            stem: The part before them.
        """
        blocks, last = [], stem
        end = len(in_blocks) - 1 if self.inventory.architecture.defines_head_first else 0
        for i, (kind, trained) in enumerate(zip(self.inventory.layer_kinds, in_blocks, strict=True)):
            leaves_out = i == end and setting.dtypes.fp8  # a linear layer, the model's first or last
            if checkpointing.cover(i) and self.inventory.architecture.is_block(kind):
                block = partial(self._checkpointed, setting, kind, trained, leaves_out, checkpointing.choice)
            else:
                block = partial(self._block, setting, kind, trained, leaves_out, checkpointing.recomputes)
            given = last.output_itemsize, last.output_requires_grad
            part = block(*given)
            last = block(*given, True) if last.output_saved and part.casts_input else part
            blocks.append(last)
        return blocks

    def _asks_for_gradients(self, setting: Setting) -> bool:
        """Returns whether checkpointing has the embedding's output need a gradient, even of a frozen one.

        So it is of ids, and beside adapters (transformers/modeling_utils.py, `_gradient_checkpointing_enable`; PEFT);
        then every block's input needs one. Images go through frozen blocks without.
        """
        return self.inventory.architecture.tokens_per_sample is None or isinstance(setting.method, Lora)

    @memoized
    def _tracer(self, setting: Setting) -> Tracer:
        return Tracer(self.inventory.architecture, setting, partial(self._steps, setting), self.implementations)

    def _block_tracer(self, setting: Setting, *, leaves_out: bool) -> Tracer:
        tracer = self._tracer(setting)
        return tracer.leaving_out() if leaves_out else tracer

    @memoized
    def _steps(self, setting: Setting, part: Hashable, trained: Trainable) -> Mapping[str, int]:
        """Returns by name the bytes that the update of each parameter of a part in backward allocates."""
        if (setting.updates is None and not setting.marked) or part == LOSS:
            return NO_STEPS
        units, kinds = self.units(setting, 1), self.inventory.layer_kinds
        found: dict[Hashable, Unit] = {STEM: units.stem, HEAD: units.head}
        if part not in found:
            in_blocks = trained_in_blocks(setting.method, len(kinds))
            found = dict(zip(zip(kinds, in_blocks, strict=True), units.blocks, strict=True))
        unit = found.get(part) or found[part, trained]
        if setting.updates is None:  # each gradient leaves the part's account when it is complete
            return dict.fromkeys((tensor.name for tensor in unit.trained), 0)
        rule = rule_of(setting.updates)
        return {tensor.name: rule.temporaries_of(tensor) for tensor in unit.trained}

    @memoized
    def _stem(self, setting: Setting, checkpointing: Checkpoints, output_requires_grad: bool) -> Part:
        return self._tracer(setting).stem(checkpointing, output_requires_grad=output_requires_grad)

    @memoized
    def _block(
        self,
        setting: Setting,
        kind: Hashable,
        trained: Trainable,
        leaves_out: bool,
        checkpoints: bool,
        itemsize: int,
        input_requires_grad: bool,
        is_leaf: bool = False,
        again: bool = False,
        reentrant: bool = False,
    ) -> Part:
        return self._block_tracer(setting, leaves_out=leaves_out).block(
            kind,
            trained,
            itemsize,
            input_requires_grad=input_requires_grad,
            checkpoints=checkpoints,
            is_leaf=is_leaf,
            again=again,
            reentrant=reentrant,
        )

    @memoized
    def _checkpointed(
        self,
        setting: Setting,
        kind: Hashable,
        trained: Trainable,
        leaves_out: bool,
        policy: Checkpointing,
        itemsize: int,
        input_requires_grad: bool,
        is_leaf: bool = False,
    ) -> Part:
        facts, given = policy.facts, (itemsize, input_requires_grad, is_leaf)
        plain = self._block(setting, kind, trained, leaves_out, True, *given, True, facts.reentrant)
        if not plain.output_requires_grad:  # no graph keeps what it would be computed from again
            return self._block(setting, kind, trained, leaves_out, True, *given)
        return self._block_tracer(setting, leaves_out=leaves_out).checkpointed_block(
            kind, trained, itemsize, facts, plain, input_requires_grad=input_requires_grad, is_leaf=is_leaf
        )

    @memoized
    def _head(
        self,
        setting: Setting,
        itemsize: int,
        input_requires_grad: bool,
        embedded_bytes: int,
        chunk_tokens: int | None,
    ) -> tuple[Part, Part]:
        return self._tracer(setting).head(
            itemsize, input_requires_grad=input_requires_grad, embedded_bytes=embedded_bytes, chunk_tokens=chunk_tokens
        )


def _hold_embedded(stem: Part, blocks: list[Part]) -> tuple[Part, int]:
    """Adds the embedding's output to what blocks hold in forward, until the last block ends.

    A variable of the model's forward refers to that output. It is held from the first block on, if it is the stem's
    output and so this block's input, else already from the stem on. Changes `blocks` in place.

    Returns:
        The stem, and the bytes per sample that the head begins with: 0 where the output is saved anyway. As a leaf of
        the autograd graph it is saved to the end of backward.
    """
    size = stem.embedded_bytes
    if stem.holds_output and blocks[0].saves_input:
        return stem, 0
    leaf = stem.output_saved
    for i, change in ((0, size if stem.holds_output else 0), (-1, 0 if leaf else -size)):
        fixed, per_sample = blocks[i].held
        blocks[i] = blocks[i]._replace(held=(fixed, per_sample + change))
    if leaf:
        return stem._replace(saved=(stem.saved[0], stem.saved[1] + size)), 0
    return stem, size
