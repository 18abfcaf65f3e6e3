"""Writes requests, strategies and moments in words."""

from __future__ import annotations

from collections.abc import Sequence

from planner.records.asked.request import Request
from planner.records.plan import Plan, StrategyChoice
from planner.report.parts.format import count, gib, grouped, plural, short_percent
from strategies import AXES, Names, Quantization, Shares, WholeNumbers


def moment(name: str) -> str:
    """Returns the name of a moment of a step in words."""
    return name.replace("_", " ")


def method(choice: StrategyChoice) -> str:
    """Returns the fine-tuning method: `lora`, `qlora nf4`, `freeze all but the last 2`.

    `adapters` returns what refines adapters.
    """
    if has_adapters(choice):
        return f"{choice.finetuning} {quantization(choice)}".rstrip()
    return axis(choice, "finetuning")


def has_adapters(choice: StrategyChoice) -> bool:
    """Returns whether the method trains adapters."""
    return choice.lora_rank is not None


_OF_THE_REST = ("unquantized_dtype", "expert_quantization")
"""Options that say how what is no linear layer of a quantized base is stored."""


def quantization(choice: StrategyChoice) -> str:
    """Returns the quantization of the base, and what is said of the rest if that is not usual; empty without QLoRA."""
    if choice.quantization is Quantization.NONE:
        return ""
    but = [option.name for option in AXES["finetuning"].refinements if option.name not in _OF_THE_REST]
    return ", ".join([str(choice.quantization), *_refinements(choice, "finetuning", but=but)])


def adapters(choice: StrategyChoice) -> str:
    """Returns what refines adapters, such as `rank 16 on all-linear`; empty without LoRA."""
    return (
        " ".join(_refinements(choice, "finetuning", but=("quantization", *_OF_THE_REST)))
        if has_adapters(choice)
        else ""
    )


def axis(choice: StrategyChoice, name: str) -> str:
    """Returns the choice of an axis and what refines it."""
    return " ".join([str(getattr(choice, name)), *_refinements(choice, name)])


def _refinements(choice: StrategyChoice, name: str, but: Sequence[str] = ()) -> list[str]:
    """Returns phrases for the values that refine an axis, without defaults that are not shown."""
    values = ((option, getattr(choice, option.name)) for option in AXES[name].refinements if option.name not in but)
    return [
        option.phrase.format(_spelled(value)) for option, value in values if value not in (None, option.hidden_default)
    ]


def _spelled(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def sharding(choice: StrategyChoice, ranks: int) -> str:
    """Returns the sharding; empty on one GPU, where there is nothing to choose.

    Args:
        choice: The strategy.
        ranks: Number of GPUs.
    """
    return axis(choice, "sharding") if ranks > 1 else ""


_MAIN = ("precision", "optimizer", "finetuning", "sharding")
SURROUNDINGS = tuple(name for name in AXES if name not in (*_MAIN, "checkpointing"))
"""Axes that are named last: all but the main ones and checkpointing."""


_UNSAID = {
    "attention": "sdpa",
    "loss": "full",
    "kernels": "eager",
    "framework": "transformers",
    "allocator": "expandable",
}
"""Choices of these axes that few words about a plan leave out: what a program runs by itself, or an export sets."""


def strategy(choice: StrategyChoice, ranks: int, *, brief: bool = False) -> str:
    """Returns every axis in one line.

    Args:
        choice: The strategy.
        ranks: Number of GPUs.
        brief: Whether usual choices of the last axes are left out.
    """
    last = [name for name in SURROUNDINGS if not brief or axis(choice, name) != _UNSAID.get(name)]
    parts = [
        method(choice),
        adapters(choice),
        axis(choice, "precision"),
        axis(choice, "optimizer"),
        _phrase(choice, "checkpointing"),
        sharding(choice, ranks),
        *(_phrase(choice, name) for name in last),
    ]
    return ", ".join(part for part in parts if part)


def _phrase(choice: StrategyChoice, name: str) -> str:
    """Returns the axis's phrase for the choice; empty for a default that is not shown."""
    said = AXES[name].choices
    return "" if getattr(choice, name) == said.hidden_default else said.phrase.format(axis(choice, name))


def batch_numbers(plan: Plan) -> list[str]:
    """Returns the micro-batch size, accumulation steps, ranks, and their product."""
    factors = (plan.micro_batch_size, plan.gradient_accumulation_steps, plan.data_parallel_size)
    return [grouped(number) for number in (*factors, plan.global_batch_size)]


def spelled_batch(numbers: Sequence[str]) -> str:
    """Returns the numbers as a product: `4 x 16 x 2 = 128`."""
    return f"{' x '.join(numbers[:-1])} = {numbers[-1]}"


def subject(request: Request) -> str:
    """Returns the model and the machine."""
    nodes = f"{plural(request.nodes, 'node')} of " if request.nodes > 1 else ""
    rented = f"{request.machine}: " if request.machine else ""
    machine = f"{nodes}{rented}{grouped(request.gpus)} x {request.gpu}"
    text = f"{request.model}, {count(request.num_parameters)} parameters, on {machine}"
    return f"{text} ({gib(request.gpu_memory_bytes)} GiB usable)"


def lengths(request: Request) -> str:
    """Returns how long a sequence is, and its target where that has a length of its own."""
    source, target = plural(request.sequence_length, "token"), request.target_length
    return source if target is None else f"{source} with targets of {grouped(target)}"


def workload(request: Request, budget_bytes: int | None) -> str:
    """Returns the sequence length, the bounds of the effective batch, and the memory that may be filled."""
    parts = [lengths(request)]
    if request.micro_batch_size:
        parts.append(f"micro-batch of {' or '.join(map(grouped, request.micro_batch_size))}")
    if request.global_batch_size is not None:
        parts.append(f"effective batch of {grouped(request.global_batch_size)}")
    elif request.tokens_per_step is not None:
        parts.append(f"next to {plural(request.tokens_per_step, 'token')} a step")
    if request.gradient_accumulation_steps is not None:
        parts.append(plural(request.gradient_accumulation_steps, "accumulation step"))
    elif request.max_accumulation is not None:
        most = request.max_accumulation
        parts.append(f"up to {grouped(most)} accumulation steps" if most > 1 else "no accumulation")
    if request.headroom and budget_bytes is not None:
        parts.append(f"{short_percent(request.headroom)} headroom leaves {gib(budget_bytes)} GiB")
    return ", ".join(parts)


def values_of(kind: WholeNumbers | Shares | Names) -> str:
    """Says which values an option without named choices takes."""
    if isinstance(kind, WholeNumbers):
        return f"a whole number from {grouped(kind.low)} to {grouped(kind.high)}, such as {grouped(kind.usual)}"
    if isinstance(kind, Shares):
        return f"a number from {kind.low:g} to below {kind.high:g}, such as {kind.usual:g}"
    return f"{kind.keyword}, or names with commas between them, such as {kind.example}"
