"""Holds everything except the model that the bytes of a part depend on."""

from __future__ import annotations

from dataclasses import dataclass

from planner.libraries.sdpa import Selection
from planner.memory.settings.dtypes import Dtypes
from strategies import AnyOptimizer, Attention, Kernels, Loss, Method, Outputs


@dataclass(frozen=True, slots=True, eq=False)
class Setting:
    """Holds everything except the model that the bytes of a part depend on.

    Settings are compared by identity, since `TracedModel` makes each only once.
    """

    dtypes: Dtypes
    """Bytes per element of each kind of parameter."""
    method: Method
    """The fine-tuning method."""
    attention: Attention
    loss: Loss
    kernels: Kernels
    """The implementation of norms, rotary embeddings and MLP."""
    sequence_length: int
    """Tokens per sample; of an encoder-decoder, those of the source."""
    target_length: int
    """Tokens per sample of the sequence that is predicted: the same, but for an encoder-decoder."""
    selection: Selection
    """How SDPA chooses its kernel."""
    updates: AnyOptimizer | None = None
    """The optimizer that updates each parameter in backward; None if updates wait for its end."""
    evaluates: bool = False
    """Whether forward passes save nothing for backward."""
    marked: bool = False
    """Whether parts tell when each parameter is used, and when its gradient is complete; no gradient stays then."""
    by_zero3: bool = False
    """Whether linear layers run in DeepSpeed's function for ZeRO-3."""
    recomputes_units: bool = False
    """Whether units of FSDP1 run within reentrant checkpoints, which compute them again with their hooks."""
    outputs: Outputs = Outputs.RELEASED
    """How long the training loop keeps what the model returned."""
    logs: bool = False
    """Whether parts log everything that they allocate and release."""
