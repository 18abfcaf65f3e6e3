"""Defines which ranks of a node have the whole model in the host's memory while it is loaded."""

from __future__ import annotations

from strategies.choice import Choice


class Loading(Choice):
    """Says which ranks of a node read, cast and quantize all weights before each has its share of them."""

    AUTO = "auto", "every rank does, or rank 0 alone where a node cannot hold that and FSDP can send the others theirs"
    EVERY_RANK = "every-rank", "every rank does, as in transformers 5.24 with accelerate 1.15"
    RANK_0 = "rank-0", "one does and sends the others theirs, as in transformers 4 with cpu_ram_efficient_loading"
