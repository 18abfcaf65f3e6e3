"""What fused attention kernels have in common: they save what they multiply, the output and a log-sum-exp per row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from planner.libraries.sdpa import Selection
from planner.memory.autograd.ops import FP32, Ops
from planner.memory.autograd.tape import Storage, Tensor, Variable
from strategies import Operation


class Form(NamedTuple):
    """What a model says about its attention. Eager only: `upcast`, the softmax is asked for in fp32 and its result
    cast back, as everywhere but in GPT-2; not `downcast`, what autocast made fp32 stays so until the product; `capped`,
    the scores are soft-capped; `fp32`, q and k are cast to it before they are multiplied. SDPA only: `selection` of its
    kernel."""

    heads: int
    kv_heads: int
    dropout: float
    upcast: bool
    capped: bool
    window: int | None
    fp32: bool
    causal: bool = True
    downcast: bool = True
    bias: Tensor | None = None
    selection: Selection = Selection()
    value_elements: int = 0
    """Per sample, of the values of all heads, which are those of the output."""
    operation: Operation | None = Operation.SDPA
    """What its kernel is to selective checkpointing."""

    def of_values(self, value: Tensor) -> Form:
        return self._replace(value_elements=value.per_sample // self.kv_heads * self.heads)


def fused(
    f: Ops, query: Tensor, key: Tensor, value: Tensor, form: Form, workspace: Sequence[int], *extra: Tensor
) -> Tensor:
    """Saves q, k, v, output, a log-sum-exp per row and head, and what is `extra`. `workspace`: bytes per sample that
    backward allocates beside the gradients."""
    itemsize, rows = query.itemsize, form.heads * f.sequence_length
    elements = form.value_elements or query.per_sample
    flops = (query.per_sample + elements) * f.sequence_length  # two products of 2 n S, half of causal ones masked
    flops *= 1 if form.causal else 2
    results = (0, elements * itemsize, "attention output"), (0, rows * FP32, "attention log-sum-exp")
    made = f.results(form.operation, results, itemsize, flops)
    log_sum_exp = Tensor(made.pop(), 0, rows, form.heads, FP32, None)
    variable = Variable() if any(x.variable is not None for x in (query, key, value)) else None
    out = Tensor(made.pop(), 0, elements, elements // f.sequence_length, itemsize, variable)
    if out.variable is None:
        return out
    sizes = [(x.variable, x.per_sample * itemsize) for x in (query, key, value) if x.variable is not None]
    biases = [(x.variable, x.fixed * itemsize) for x in extra if x.variable is not None]
    saved = [f.tape.save(x) for x in (query, key, value, out, log_sum_exp, *extra)]

    def backward(gradient: Storage) -> None:
        tape = f.tape
        f.multiply(itemsize, flops * 5 // 2)  # five products where forward has two
        gradients = [tape.storage(0, size) for _, size in sizes]
        of_biases = [tape.storage(0, size) for _, size in biases]  # of every sample, then summed
        made = [tape.storage(0, size) for size in workspace]
        del made
        for variable, size in biases:
            total = tape.storage(size, 0)
            of_biases.clear()
            tape.accumulate(variable, total)
            del total
        for variable, _ in sizes:
            tape.accumulate(variable, gradients.pop(0))

    f.tape.record(out.variable, backward, *saved)
    return out
