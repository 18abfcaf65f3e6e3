"""Says of a model at one sequence length what follows from its traced parts: settings, work, and where peaks can be."""

from __future__ import annotations

from dataclasses import replace

from planner.libraries.sdpa import Selection
from planner.memory.losses.fused import chunk_tokens
from planner.memory.memoized import counted, memoized
from planner.memory.settings.dtypes import Dtypes
from planner.memory.settings.setting import Setting
from planner.memory.settings.work import Work
from planner.memory.step.step import Position, positions
from planner.memory.step.traced_parts import TracedParts
from planner.memory.tracing.implementations import Implementations
from planner.models.decoder import Decoder
from strategies import (
    AnyOptimizer,
    Attention,
    Checkpoints,
    Kernels,
    Loss,
    Method,
    Outputs,
)


class TracedModel(TracedParts):
    """A model at one sequence length: its parameters and traced parts under each setting, whatever the cluster.

    See `TracedParts` for the arguments.
    """

    def at(self, sequence_length: int) -> TracedModel:
        """Returns the same model at another sequence length, in tokens; a target that is given has its own."""
        return TracedModel(self.inventory, sequence_length, self.implementations, self.target_asked)

    def by(self, implementations: Implementations) -> TracedModel:
        """Returns the same model with kernels and losses that other libraries compute."""
        return TracedModel(self.inventory, self.sequence_length, implementations, self.target_asked)

    @memoized
    def setting(
        self,
        dtypes: Dtypes,
        method: Method,
        attention: Attention,
        loss: Loss,
        kernels: Kernels,
        selection: Selection,
        updates: AnyOptimizer | None = None,
        evaluates: bool = False,
        marked: bool = False,
        by_zero3: bool = False,
        recomputes_units: bool = False,
        outputs: Outputs = Outputs.RELEASED,
    ) -> Setting:
        """Returns the setting with these fields, the same object each time; see `Setting`."""
        source, target = self.sequence_length, self.target_length
        beside = updates, evaluates, marked, by_zero3, recomputes_units, outputs
        return Setting(dtypes, method, attention, loss, kernels, source, target, selection, *beside)

    @memoized
    def logged(self, setting: Setting) -> Setting:
        """Returns the same setting with parts that log everything that they allocate and release."""
        return replace(setting, logs=True)

    @memoized
    def work(self, setting: Setting, checkpointing: Checkpoints) -> Work:
        """Returns the work of forward and backward of one micro-batch: FLOPs and bytes moved, fixed and per sample."""
        total = Work()
        for part, count in counted(self.parts(setting, checkpointing)):
            total = total.plus(part.forward_work.plus(part.backward_work).times(count))
        return total

    @memoized
    def recomputation(self, setting: Setting, checkpointing: Checkpoints) -> Work:
        """Returns the part of `work` that computes forward again."""
        total = Work()
        for part, count in counted(self.parts(setting, checkpointing)):
            total = total.plus(part.again_work.times(count))
        return total

    @memoized
    def without_backward(self, setting: Setting, checkpointing: Checkpoints) -> int:
        """Returns the number of first parts whose output needs no gradient, so that their backward never runs."""
        parts = self.parts(setting, checkpointing)
        return next((i for i, part in enumerate(parts) if part.output_requires_grad), 0)

    @memoized
    def positions(
        self, setting: Setting, checkpointing: Checkpoints, shards: bool, chunk_tokens: int | None
    ) -> list[Position]:
        """Returns the parts at which a step can have a peak.

        Args:
            setting: What the bytes of a part depend on.
            checkpointing: Which blocks are recomputed.
            shards: Whether FSDP2 shards parameters.
            chunk_tokens: Tokens whose logits exist at once; None: all of them.
        """
        parts = self.parts(setting, checkpointing, chunk_tokens)
        return positions(parts, reach=int(shards))  # with FSDP2 a part's bytes include some of its neighbours' units

    def chunk_tokens(self, setting: Setting, micro_batch_size: int) -> int | None:
        """Returns the number of tokens whose logits exist at once; None if those of all tokens do."""
        model = self.inventory.architecture
        tokens = micro_batch_size * self.sequence_length
        vocab_size = model.vocab_size if isinstance(model, Decoder) else 0  # others have no fused loss
        return chunk_tokens(setting.loss, tokens, model.hidden_size, vocab_size)
