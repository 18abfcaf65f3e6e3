"""The grouped product over experts, and adapters folded into it: what is kept, what is made."""

from planner.memory.autograd.ops import FP32, HALF, Ops
from planner.memory.autograd.tape import Tape, Tensor, Variable
from planner.memory.layers.mixtures import experts

TOKENS, HIDDEN, WIDTH, EXPERTS, TOP_K = 4, 8, 16, 3, 2
PAIRS = TOKENS * TOP_K
INDICES = (PAIRS * experts.INT64) * 4
"""Of the chosen experts, and of three gathers."""


def ops() -> Ops:
    return Ops(Tape(), autocast=None, sequence_length=TOKENS)


def parameter(elements: int, *, trains: bool = True) -> Tensor:
    return Tensor(None, elements, 0, elements, HALF, Variable(parameter=True) if trains else None)


def saved_by_experts(*, trains: bool) -> tuple[Ops, dict[str, int]]:
    f = ops()
    x = f.input(HIDDEN, HALF, True, "x")
    logits = f.linear(x, parameter(HIDDEN * EXPERTS, trains=trains), None, EXPERTS, "router")
    scores = experts.route(f, logits, TOP_K, normalizes=False, casts=True)
    gate_up, down = (parameter(EXPERTS * n * WIDTH * HIDDEN, trains=trains) for n in (2, 1))
    weights = experts.Weights(lambda: gate_up, lambda: down, WIDTH)
    out = experts.experts(f, x, scores, weights, lambda gate: f.unary(gate, "activation", saves="input"))
    assert (out.per_sample, out.width, out.itemsize) == (TOKENS * HIDDEN, HIDDEN, HALF)
    return f, {s.name: s.per_sample for s in f.tape.saved}


def test_experts_save_by_pair_of_token_and_expert_not_by_expert() -> None:
    f, saved = saved_by_experts(trains=True)
    assert saved["expert input"] == PAIRS * HIDDEN * HALF
    assert saved["experts.gate_up_proj output"] == PAIRS * 2 * WIDTH * HALF
    assert saved["activation"] == PAIRS * WIDTH * HALF
    assert saved["expert product"] == PAIRS * WIDTH * HALF
    assert saved["experts.down_proj output"] == PAIRS * HIDDEN * HALF
    assert saved["softmax"] == TOKENS * EXPERTS * FP32
    assert f.tape.cost.flops_per_sample[2] == 2 * PAIRS * 3 * HIDDEN * WIDTH + 2 * TOKENS * HIDDEN * EXPERTS


def test_frozen_experts_save_no_input_but_what_the_router_needs() -> None:
    _, saved = saved_by_experts(trains=False)
    assert "expert input" not in saved
    assert "expert product" not in saved
    assert saved["experts.down_proj output"] == PAIRS * HIDDEN * HALF
    assert (
        sum(size for name, size in saved.items() if "order" in name or "tokens" in name or "chosen" in name) == INDICES
    )


def test_scores_divided_in_place_keep_what_they_were() -> None:
    f = ops()
    logits = f.input(EXPERTS, FP32, True, "logits")
    experts.route(f, logits, TOP_K, normalizes=True, casts=False)
    saved = {s.name: s.per_sample for s in f.tape.saved}
    assert saved["router scores before division"] == PAIRS * FP32
    assert saved["sum of router scores"] == TOKENS * FP32


def test_an_adapter_is_folded_into_a_whole_stack_in_the_dtype_of_the_weight() -> None:
    f = ops()
    elements, rank = EXPERTS * WIDTH * HIDDEN, 2 * EXPERTS
    up, down = (Tensor(None, n, 0, n, FP32, Variable(parameter=True)) for n in (WIDTH * rank, rank * HIDDEN))
    factors = experts.factors(f, up, down, HALF, "experts")
    folded = experts.fold(f, parameter(elements, trains=False), factors, "experts")
    assert folded.storage is not None
    assert folded.storage.fixed == elements * HALF
    assert folded.variable is not None
    saved = {s.name: s.fixed for s in f.tape.saved}
    assert saved == {"experts lora_B": WIDTH * rank * HALF, "experts lora_A": rank * HIDDEN * HALF}
    f.tape.backward(folded.variable, f.tape.storage(elements * HALF, 0))
    assert f.tape.meter.gradients == (WIDTH + HIDDEN) * rank * FP32
