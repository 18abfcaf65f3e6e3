"""Reads step times that others published: each is a request, as `planner estimate` takes it, and a measured speed."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, NamedTuple

import yaml
from published.data_files import DATA
from published.libraries.kernels import MEGATRON

from planner.models import Model
from planner.models.families import family

UNNAMED = {
    "aotriton": ("sdpa", "aotriton"),
    "flash-attention-1": ("flash-attention-2", "flash-1"),
    MEGATRON: ("eager", MEGATRON),
}
"""Choice of the planner's, and kernel, of each attention that the planner has no choice for."""

FILE = DATA / "step_times.yaml"


class Timed(NamedTuple):
    """A measured step time.

    Attributes:
        source: Name of the source.
        name: Name of the run within the source.
        model: The model, or the planner's name for it.
        request: Arguments of `planner.estimate`.
        tokens_per_second: Measured tokens per second of one GPU.
        machine: What pairs are compared within: model, GPU and their number.
        kernel: Kernel of attention that the planner has no choice for; "" where the request says it.
        network: Bytes per second of a node's network where it is not the catalog's, or None.
        rdma: Whether nodes exchange by RDMA; otherwise by sockets.
        link: Bytes per second of a GPU's PCIe slot where it is not the catalog's, or None.
        launched: Kernels of a micro-batch that the run's library launched and today's does not.
        waits: Whether experts of the run's library are a loop, in which the host waits for the GPU.
        slow_host: Whether the host launches kernels as slowly as `published.throughput.speed.SLOW_LAUNCH` says.
        fp16: Whether the run trains fp16 weights with fp32 copies (apex's O2), which is asked as bf16-true.
        idle: Seconds of each step in which the run's loop lets the GPU wait for the host.
        replicated_adapters: Whether FSDP1 leaves adapters alone, which then are no units.
        hooked: Whether DeepSpeed's ZeRO-3 has hooks around the modules of a run on one GPU, which shards nothing.
    """

    source: str
    name: str
    model: str | Model
    request: Mapping[str, Any]
    tokens_per_second: float
    machine: tuple[str, str, int]
    kernel: str = ""
    network: int | None = None
    rdma: bool = True
    link: int | None = None
    hooked: bool = False
    launched: int = 0
    waits: bool = False
    slow_host: bool = False
    fp16: bool = False
    idle: float = 0.0
    replicated_adapters: bool = False

    @property
    def tokens(self) -> int:
        """Tokens of one GPU in an optimizer step."""
        of = self.request
        return int(of["sequence_length"] * of["micro_batch_size"] * of["gradient_accumulation_steps"])


def timed() -> list[Timed]:
    """Returns all step times, in the file's order."""
    found = []
    for source, described in yaml.load(FILE.read_text(), Loader=yaml.CSafeLoader).items():
        for group in described["sets"]:
            found += [_timed(source, group, row) for row in group["rows"]]
    return found


def _timed(source: str, group: dict[str, Any], row: list[Any]) -> Timed:
    name, model, gpu, gpus, nodes, length, size, steps, value = row
    request = {
        "gpu": gpu,
        "gpus": gpus,
        "nodes": nodes,
        "sequence_length": length,
        "micro_batch_size": size,
        "gradient_accumulation_steps": steps,
        "allocator": "native",
        **group["options"],
    }
    request["attention"], kernel = UNNAMED.get(request["attention"], (request["attention"], ""))
    tokens = length * size * steps
    per_second = {
        "tokens_per_second_per_gpu": value,
        "step_seconds": tokens / value,
        "samples_per_second": value * length / gpus / nodes,
    }[group["metric"]]
    machine = (model, gpu, gpus * nodes)
    return Timed(
        source,
        name,
        _model(model, length),
        request,
        per_second,
        machine,
        kernel,
        network=group.get("network"),
        link=group.get("links", {}).get(gpu),
        hooked=group.get("hooked", False),
        fp16=group.get("fp16", False),
        idle=group.get("idle", 0.0),
    )


@cache
def _model(text: str, length: int) -> str | Model:
    """Returns the model of a row: a name of the planner's, or the nearest architecture with the row's sizes."""
    kind, *sizes = text.split()
    if not sizes:
        return text
    layers, hidden, heads, intermediate, vocabulary = map(int, sizes)
    config: dict[str, Any] = {
        "num_hidden_layers": layers,
        "hidden_size": hidden,
        "num_attention_heads": heads,
        "vocab_size": vocabulary,
        "max_position_embeddings": length,
    }
    if kind == "qwen":
        model_type, beside = "qwen2", {"num_key_value_heads": heads, "intermediate_size": intermediate}
        config["tie_word_embeddings"] = False
    else:  # GPT's operations; GPT-2 of transformers itself computes its GELU in eight operations
        model_type, beside = "opt", {"ffn_dim": intermediate, "word_embed_proj_dim": hidden, "dropout": 0.0}
        config["activation_function"] = "gelu"
    return Model(text, family(model_type).model_validate({"model_type": model_type, **config, **beside}))
