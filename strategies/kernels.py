"""The axis of kernels for norms, rotary embeddings and gated MLPs."""

from __future__ import annotations

from strategies.axis import Choice, axis_of


class Kernels(Choice):
    EAGER = "eager", "transformers' own modules, operation by operation"


AXIS = axis_of(Kernels, phrase="{} kernels")
