"""Makes up a model for which only the size is known."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import count
from typing import Final

from hardware.errors import PlannerError, shown
from planner.models.families.llama import Llama

_VOCABULARY: Final = 32_000

SMALLEST_SIZE: Final = 10**7
"""Fewest parameters of a stand-in."""
LARGEST_SIZE: Final = 2 * 10**12
"""Most parameters of a stand-in."""


def stand_in(name: str, num_parameters: float) -> tuple[Llama, str]:
    """Returns a model of about this size in the shape of Llama 1 (arXiv 2302.13971), and its description for users.

    It has a vocabulary of 32000, a separate head, no grouped queries, and a feed-forward of 8/3 of the hidden size,
    rounded up to a multiple of 256. Of the shapes within 3% of the size, it is the one that departs least from both the
    size and the width per layer of known models, where 1% of size weighs as much as 20% of width per layer.

    Args:
        name: The size as the user wrote it.
        num_parameters: The size.

    Raises:
        PlannerError: The size is out of range.
    """
    if not SMALLEST_SIZE <= num_parameters <= LARGEST_SIZE:
        raise PlannerError(f"no model of {shown(name)} parameters", "sizes from 10M to 2T are known")
    # TinyLlama 1.1B, Llama 3.2 1B: 64; Llama 3.2 3B and larger: 128
    head_dim = 64 if num_parameters < 2 * 10**9 else 128

    def departure(shape: tuple[int, int]) -> float:
        layers, hidden = shape
        size, aspect = _llama_parameters(layers, hidden) / num_parameters, hidden / layers
        return abs(math.log(aspect / _width_per_layer(num_parameters))) + 20 * abs(math.log(size))

    layers, hidden = min(_shapes_near(num_parameters, head_dim), key=departure)
    heads, feed_forward = hidden // head_dim, _feed_forward(hidden)
    architecture = Llama(
        model_type="llama",
        hidden_size=hidden,
        intermediate_size=feed_forward,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        vocab_size=_VOCABULARY,
        max_position_embeddings=131_072,
    )
    note = (
        f"a Llama-shaped stand-in of {_llama_parameters(layers, hidden):,} parameters: {layers} layers, hidden size "
        f"{hidden}, {heads} heads of {head_dim}, feed-forward {feed_forward}, vocabulary {_VOCABULARY}"
    )
    return architecture, note


def _width_per_layer(num_parameters: float) -> float:
    """Returns the usual hidden_size / num_hidden_layers of a model of this size.

    It is 64 up to 0.76 B parameters and 128 from 6.7 B on, with a power law between them. GPT-3 (arXiv 2005.14165,
    table 2.1) has 64 at 125M and 760M, 85 at 1.3B, 80 at 2.7B, 128 at 6.7B, 13B and 175B; Llama has 128 at 7B and 13B,
    102 at 65B, 130 at 405B.
    """
    share = math.log(num_parameters / 0.76e9) / math.log(6.7e9 / 0.76e9)
    return float(64 * 2 ** min(max(share, 0), 1))


def _feed_forward(hidden: int) -> int:
    return -(-8 * hidden // (3 * 256)) * 256


def _llama_parameters(layers: int, hidden: int) -> int:
    attention, mlp, norms = 4 * hidden**2, 3 * hidden * _feed_forward(hidden), 2 * hidden
    return 2 * _VOCABULARY * hidden + layers * (attention + mlp + norms) + hidden


def _shapes_near(num_parameters: float, head_dim: int) -> Iterator[tuple[int, int]]:
    """Yields (layers, hidden size) of all models whose number of parameters is within 3% of the given one."""
    for hidden in count(head_dim, head_dim):
        fixed = _llama_parameters(0, hidden)
        block = _llama_parameters(1, hidden) - fixed
        if fixed + block > 1.03 * num_parameters:
            return
        fewer = int((num_parameters - fixed) // block)
        for layers in (fewer, fewer + 1):
            if layers > 0 and abs(fixed + layers * block - num_parameters) <= 0.03 * num_parameters:
                yield layers, hidden
