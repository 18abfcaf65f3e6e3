"""The axis of kernels for norms, rotary embeddings and gated MLPs."""

from __future__ import annotations

from strategies.axis import Choice


class Kernels(Choice):
    EAGER = "eager", "transformers' own modules, operation by operation"
