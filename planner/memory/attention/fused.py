"""Traces fused attention kernels, which save q, k, v, the output and a log-sum-exp per row and head."""

from collections.abc import Sequence
from typing import NamedTuple

from planner.libraries.sdpa import Selection
from planner.memory.autograd.ops import FP32, Ops
from planner.memory.autograd.tape import Storage, Tensor, Variable
from strategies import Operation


class Form(NamedTuple):
    """Describes a model's attention to any implementation of it."""

    heads: int
    """Query heads."""
    kv_heads: int
    """Heads of keys and values; fewer than `heads` if they are grouped."""
    dropout: float
    """Probability with which attention weights are dropped."""
    upcast: bool
    """Whether eager attention computes the softmax in fp32 and casts it back, as all models but GPT-2 do."""
    capped: bool
    """Whether eager attention soft-caps the scores."""
    window: int | None
    """Tokens of the sliding window, or None."""
    fp32: bool
    """Whether eager attention casts q and k to fp32 before it multiplies them."""
    causal: bool = True
    """Whether there is a causal mask."""
    downcast: bool = True
    """Whether eager attention casts the softmax back; otherwise autocast's fp32 remains until the product with v."""
    bias: Tensor | None = None
    """Position bias that is added to the scores of all samples."""
    selection: Selection = Selection()
    """How SDPA selects its kernel."""
    value_elements: int = 0
    """Elements per sample of the values with their heads repeated, which in self-attention is also the size of the
    output."""
    operation: Operation | None = Operation.SDPA
    """Kind of the kernel for selective checkpointing; None if no policy knows it."""
    keys: int = 0
    """Tokens per sample of the keys, which in cross-attention are those of another sequence; 0 for those of queries."""

    def of_values(self, value: Tensor) -> "Form":
        """Returns this form with `value_elements` set for the given values."""
        return self._replace(value_elements=value.per_sample // self.kv_heads * self.heads)


def key_tokens(f: Ops, query: Tensor, key: Tensor, group: int = 1) -> int:
    """Returns the tokens per sample of keys, of which each head serves a `group` of heads of the queries."""
    return key.per_sample * group * f.sequence_length // query.per_sample


def fused(
    f: Ops, query: Tensor, key: Tensor, value: Tensor, form: Form, workspace: Sequence[int], *extra: Tensor
) -> Tensor:
    """Runs a fused kernel, which saves q, k, v, the output, a log-sum-exp per row and head, and `extra`.

    Args:
        f: Operations on the tape.
        query: Queries, `[batch, heads, tokens, head_dim]`.
        key: Keys, `[batch, kv_heads, tokens, head_dim]`.
        value: Values, in the layout of keys.
        form: What the model says about its attention.
        workspace: Bytes per sample of each tensor that backward allocates in addition to the gradients.
        *extra: Further tensors that the kernel saves, such as a bias; one that exists once for all samples may train.

    Returns:
        The output, in the dtype of the queries.
    """
    itemsize, rows, keys = query.itemsize, form.heads * f.sequence_length, form.keys or f.sequence_length
    elements = form.value_elements * f.sequence_length // keys or query.per_sample
    flops = (query.per_sample + elements) * keys  # two products of 2 n S; causal ones do half
    flops *= 1 if form.causal else 2
    results = (0, elements * itemsize, "attention output"), (0, rows * FP32, "attention log-sum-exp")
    made = f.attended(form.operation, results, itemsize, flops)
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
        if itemsize == FP32:
            tape.cost.attention_fp32 += flops * 5 // 2  # five products, where forward has two
        else:
            tape.cost.attention_backward += flops * 5 // 2
        gradients = [tape.storage(0, size) for _, size in sizes]
        of_biases = [tape.storage(0, size) for _, size in biases]  # one for each sample, summed below
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
