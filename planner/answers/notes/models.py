"""Writes the notes on the model: its task, its positions, and what its code in transformers does unexpectedly."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from planner.memory.settings.dtypes import FP32, HALF
from planner.models import Model
from planner.problem.problem import Problem
from strategies import Attention, ExpertQuantization, Finetuning, Lora, Strategy, Task

if TYPE_CHECKING:  # imported at run time only where such a model is planned
    from planner.profiles import ProfiledModel

_BEYOND = {"alibi": "ALiBi goes on", "relative": "relative positions go on"}
"""Words for what happens beyond the positions that a model was trained with, by kind of positions."""


def on_task(problem: Problem) -> Iterator[str]:
    """Yields a note on the head of an encoder, where the request does not say which one is meant."""
    task, name = problem.request.task, problem.model.name
    if task is Task.SEQUENCE_CLASSIFICATION and not problem.task_asked:
        yield f"{name} is trained with a classification head: --task {Task.MASKED_LM} plans the head of its vocabulary."
    if problem.model.is_encoder_decoder and problem.request.target_length is None:
        yield (
            f"targets are planned as long as sources, {problem.request.sequence_length} tokens each: --target-length "
            "says how long they are, and shorter ones take less."
        )
    if task is Task.CONTRASTIVE:
        yield (
            f"a sample is a pair of texts of {problem.request.sequence_length} tokens each (sentence-transformers' "
            "MultipleNegativesRankingLoss); its negatives are in its micro-batch: accumulation adds none, and none is "
            "planned unless --max-accumulation asks for it."
        )


def on_positions(problem: Problem) -> Iterator[str]:
    """Yields a note where sequences are longer than those that the model was trained with."""
    request = problem.request
    yield from beyond_positions(problem.model, max(request.sequence_length, request.target_length or 0))


def beyond_positions(model: Model | ProfiledModel, tokens: int) -> Iterator[str]:
    """Yields a note where samples of a number of tokens are longer than those that a model was trained with."""
    context = model.max_positions
    if context is not None and tokens > context:
        positions = model.architecture.positions if isinstance(model, Model) else "rotary"
        goes_on = _BEYOND.get(positions, "rotary positions go on, quality needs RoPE scaling")
        yield f"{tokens} tokens are more than the {context} that {model.name} was trained with: {goes_on}."


def on_modeling(problem: Problem, model: Model, strategies: Sequence[Strategy]) -> Iterator[str]:
    """Yields notes on what a model's code in transformers does unexpectedly."""
    masks = model.architecture.masking == "always" and model.inventory.heads.grouped
    if masks and any(s.attention is Attention.SDPA for s in strategies):
        yield (
            f"sdpa runs the math kernel, which writes scores out: {model.name} passes it a mask, and one head of keys "
            "and values for all queries."
        )
    experts, asked = model.inventory.num_expert_parameters, problem.request
    methods = {s.finetuning.method for s in strategies}
    if asked.objective is not None:  # a search
        methods |= set(asked.finetuning or Finetuning)
    if not experts or Finetuning.QLORA not in methods:
        return
    if asked.expert_quantization != (ExpertQuantization.SAME,):
        apart = any(part.stacks for part in model.inventory.blocks.values())
        way_out = "; --expert-quantization same plans a trainer that takes them apart first" if apart else ""
        yield (
            f"qlora quantizes linear layers alone: the experts of {model.name}, {experts / model.num_parameters:.0%} "
            f"of its parameters, are none. They stay in half precision ({experts * HALF / 2**30:.1f} GiB), or become "
            f"fp32 where PEFT prepares the base ({experts * FP32 / 2**30:.1f} GiB){way_out}."
        )
    if any(isinstance(s.finetuning, Lora) and s.finetuning.separates_experts for s in strategies):
        yield (
            "expert-quantization same is the step of transformers 4, or of a trainer that takes experts apart: they "
            "run one after the other, and tokens are spread evenly over them."
        )
