"""Writes the notes on what a training framework set where the request says nothing, and what others would."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from planner.problem.problem import Problem
from strategies import (
    AXES,
    AdapterDtype,
    Finetuning,
    Framework,
    Lora,
    Quantization,
    Space,
    Strategy,
    Zero,
    quantization_of,
)


def notes_on_framework(problem: Problem, strategies: Sequence[Strategy]) -> Iterator[str]:
    """Yields what the framework of a request set, and what it does that has no account here.

    Args:
        problem: The resolved request.
        strategies: Strategies of the plans that are shown.
    """
    framework = problem.framework
    if framework is Framework.TRANSFORMERS:
        return
    facts = framework.facts
    found: dict[str, dict[str, None]] = {}
    for strategy in strategies:
        options = strategy.to_options()
        for name in _set_in(problem, strategy):
            found.setdefault(name, {})[str(options[name])] = None
    told = ", ".join(f"{name.replace('_', '-')} {' or '.join(values)}" for name, values in found.items())
    yield f"{framework} ({facts.version}) sets here: {told or 'nothing that is left open'}; {facts.remark}."


def notes_on_casts(strategies: Sequence[Strategy]) -> Iterator[str]:
    """Yields why QLoRA can be faster than LoRA, where plans of both run under autocast.

    PEFT casts the input of an adapter to the adapter's fp32 around plain linear layers (peft/tuners/lora/layer.py,
    `_cast_input_dtype`), and around those of bitsandbytes only without autocast (peft/tuners/lora/bnb.py).

    Args:
        strategies: Strategies of the plans that are shown.
    """
    methods = [s.finetuning for s in strategies if isinstance(s.finetuning, Lora) and s.precision.facts.autocast_bytes]
    plain = any(m.quantization is Quantization.NONE and m.adapter_dtype is AdapterDtype.FP32 for m in methods)
    if plain and any(_is_as_loaded(m) for m in methods):
        yield (
            "QLoRA with the rest in 16 bits can be faster than LoRA: PEFT casts inputs to fp32 around plain linear "
            "layers, and not around those of bitsandbytes. fms-acceleration measured 3,596 tokens/s against 3,324, and "
            "2,904 with the rest in fp32 (Mistral-7B, one A100)."
        )


def notes_on_unquantized(problem: Problem, strategies: Sequence[Strategy]) -> Iterator[str]:
    """Yields that frameworks differ in what a quantized base leaves unquantized, where nothing says which is meant.

    DeepSpeed makes no difference between them.

    Args:
        problem: The resolved request.
        strategies: Strategies of the plans that are shown.
    """
    if any(isinstance(s.sharding, Zero) for s in strategies):
        yield (
            "DeepSpeed casts adapters, embeddings, norms and head to the dtype of the computation, whatever dtype they "
            "were loaded in."
        )
    if problem.framework is not Framework.TRANSFORMERS or problem.request.unquantized_dtype:
        return
    methods = [s.finetuning for s in strategies if isinstance(s.finetuning, Lora) and not isinstance(s.sharding, Zero)]
    prepared = any(method.is_prepared for method in methods)
    as_loaded = {str(m.unquantized_dtype) for m in methods if _is_as_loaded(m)}
    others = ", ".join(framework.facts.version for framework in Framework if not framework.facts.prepares)
    by_peft = "as PEFT's prepare_model_for_kbit_training makes them"
    if as_loaded:
        yield (
            f"rest {' or '.join(sorted(as_loaded))}: embeddings, norms and head stay as they are loaded, as in "
            f"{others}; elsewhere they are fp32, {by_peft}."
        )
    elif prepared:
        yield (
            f"embeddings, norms and head next to the quantized layers are fp32, {by_peft}; {others} leave them as they "
            "are loaded: say --framework, or --unquantized-dtype bf16."
        )


def _is_as_loaded(method: Lora) -> bool:
    quantizes = method.quantization is not Quantization.NONE and not method.quantization.is_gptq
    return quantizes and not method.is_prepared


def _set_in(problem: Problem, strategy: Strategy) -> Iterator[str]:
    """Yields the names of the options of a strategy that the framework decided."""
    facts, request, options = problem.framework.facts, problem.request, strategy.to_options()
    searches = request.objective is not None
    single = {name for name, values in Space.default(problem.cluster)._asdict().items() if len(values) == 1}
    decided = set(facts.options) & (single | set(facts.fixed)) if searches else set(facts.options)
    quantized = strategy.finetuning.method is Finetuning.QLORA
    if facts.trains_as_loaded and strategy.finetuning.method is Finetuning.FULL:
        decided.add("precision")
    if facts.halves_adapters and quantized and options["adapter_dtype"] is AdapterDtype.WEIGHTS:
        decided.add("adapter_dtype")
    if not facts.prepares and quantized and not quantization_of(strategy.finetuning).is_gptq:
        decided.add("unquantized_dtype")
    applying = (o.name for axis in AXES.values() for o in (axis.choices, *axis.refining(options[axis.name])))
    yield from (name for name in applying if name in decided and not getattr(request, name))
