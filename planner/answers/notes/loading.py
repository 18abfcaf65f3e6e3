"""Writes the notes on where the weights have to go while a model is loaded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from hardware import GIB
from planner.memory.settings.dtypes import HALF
from planner.models import Model
from planner.problem.problem import Problem
from strategies import Sharding, Strategy, Zero, quantization_of


def on_loading(problem: Problem, strategies: Sequence[Strategy]) -> Iterator[str]:
    """Yields notes on where the weights have to go while the model is loaded."""
    footprints = [problem.memory.footprint(s, 1) for s in strategies]
    whole = [f.loading.instead_bytes for f in footprints if f.loaded_within(problem.budget_bytes).host != f.host]
    if whole:
        yield (
            "loading: pass device_map={'': 'cpu'} to from_pretrained. Without it, transformers 5 puts the whole "
            f"quantized base ({max(whole) / GIB:.1f} GiB) on each GPU before it is divided."
        )
    spared = max((f.loading.spared_bytes for f in footprints), default=0)
    if spared:
        # accelerate/utils/fsdp_utils.py, `fsdp2_load_full_state_dict`: rank 0 broadcasts its state dict to all others
        yield (
            f"loading: rank 0 alone may load the weights, since on every rank they take {spared / GIB:,.0f} GiB of a "
            "node's host memory: with cpu_ram_efficient_loading, other ranks build the model by from_config within "
            "accelerate's init_empty_weights()."
        )
    model, divides = problem.model, any(s.sharding.shards for s in strategies)
    if isinstance(model, Model) and model.architecture.packs_experts and divides and not spared:
        unpacked = model.inventory.num_expert_parameters * HALF
        yield (
            f"loading: every rank unpacks all experts ({unpacked / GIB:.1f} GiB), in the host's memory as long as no "
            "device_map puts them on its GPU."
        )
    yield from _before_zero_init(problem, strategies)


def _before_zero_init(problem: Problem, strategies: Sequence[Strategy]) -> Iterator[str]:
    """Yields a note where ZeRO-3 divides a model that no GPU holds, and would have to without `zero.Init`.

    transformers loads through it once TrainingArguments or accelerate's plugin have read DeepSpeed's file (5.24,
    modeling_utils.py, `get_init_context`; integrations/deepspeed.py, `HfDeepSpeedConfig`). Otherwise the engine casts
    all of the model and moves it to the GPU (DeepSpeed 0.19, runtime/engine.py, `_configure_distributed_model`).
    """
    divided = [
        s.precision.facts
        for s in strategies
        if isinstance(s.sharding, Zero)
        and s.sharding.choice is Sharding.FULL_SHARD
        and not quantization_of(s.finetuning).by_bitsandbytes
    ]
    sizes = {facts.autocast_bytes or facts.trained_bytes for facts in divided}
    whole = problem.model.num_parameters * max(sizes, default=0)
    if whole > problem.budget_bytes:
        yield (
            "loading: TrainingArguments have to exist before from_pretrained, so that zero.Init divides the weights: "
            f"a model that was there before goes whole onto each GPU first, {whole / GIB:.1f} GiB, and does not fit."
        )
