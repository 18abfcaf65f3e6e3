"""Liveness of bytes as autograd has it, and one comparison with the real engine."""

import torch
from torch.profiler import ProfilerActivity, profile

from planner.memory.autograd.ops import FP32, Ops
from planner.memory.autograd.tape import Tape, Tensor, Variable


def ops(*, autocast: int | None = None) -> Ops:
    return Ops(Tape(), autocast=autocast, sequence_length=4)


def test_a_storage_lives_as_long_as_something_refers_to_it() -> None:
    tape = Tape()
    first = tape.storage(10, 3)
    second = first
    del first
    assert (tape.meter.fixed, tape.meter.per_sample) == (10, 3)
    del second
    assert (tape.meter.fixed, tape.meter.per_sample) == (0, 0)


def test_a_product_keeps_both_factors_for_backward_and_frees_them_after_it() -> None:
    f = ops()
    a, b = f.input(8, FP32, True, "a"), f.input(8, FP32, True, "b")
    out = f.mul(a, b, "product")
    variable, size = out.variable, out.storage.per_sample
    del a, b, out
    assert f.tape.meter.per_sample == 2 * 4 * 8 * FP32
    f.tape.backward(variable, f.tape.storage(0, size))
    assert f.tape.meter.saved_per_sample == 0


def test_what_is_computed_once_is_there_once_in_forward_and_in_backward() -> None:
    f, elements = ops(), 4 * 8
    with f.tape.once():
        x = f.input(8, FP32, True, "x")
        out = f.unary(x, "function", saves="input")
    variable, meter = out.variable, f.tape.meter
    assert (meter.fixed, meter.per_sample) == (2 * elements * FP32, 0)
    del x, out
    meter.mark()
    f.tape.backward(variable, f.tape.storage(elements * FP32, 0))
    assert max(snapshot[0] for snapshot in meter.mark()) == 3 * elements * FP32  # x and two gradients
    assert all(snapshot[1] == 0 for snapshot in meter.snapshots)


def test_a_frozen_weight_saves_no_input() -> None:
    f = ops()
    x = f.input(8, FP32, True, "x")
    weight = Tensor(None, 64, 0, 64, FP32, None)
    f.linear(x, weight, None, 8, "frozen")
    assert f.tape.meter.saved_per_sample == 0


def test_autocast_keeps_the_copy_of_a_trained_weight_until_it_ends() -> None:
    f = ops(autocast=2)
    weight = Tensor(None, 64, 0, 64, FP32, Variable(parameter=True))
    f.autocast_weight(weight, "weight")
    assert f.tape.meter.fixed == 64 * 2
    f.leave_autocast()
    assert f.tape.meter.fixed == 0


def test_a_gradient_is_added_in_place_into_a_buffer_of_its_own() -> None:
    tape, variable = Tape(), Variable()
    variable.gradient = buffer = tape.storage(0, 100)
    del buffer
    before = id(variable.gradient)
    tape.accumulate(variable, tape.storage(0, 100))
    assert id(variable.gradient) == before


def test_a_gradient_that_someone_else_holds_is_not_added_in_place() -> None:
    tape, variable = Tape(), Variable()
    variable.gradient = held = tape.storage(0, 100)
    tape.accumulate(variable, tape.storage(0, 100))
    assert variable.gradient is not held


def test_a_gradient_that_is_a_view_is_not_added_in_place() -> None:
    tape, variable = Tape(), Variable()
    variable.gradient = tape.storage(0, 100)
    variable.gradient.viewed = True
    before = id(variable.gradient)
    tape.accumulate(variable, tape.storage(0, 100))
    assert id(variable.gradient) != before


def copies_made_for_a_tied_weight(*, autocast: bool) -> float:
    """How many embeddings a real backward allocates beside the two gradients, as torch's profiler sees it."""
    rows, width = 4096, 512
    embedding = torch.nn.Embedding(rows, width)
    head = torch.nn.Linear(width, rows, bias=False)
    head.weight = embedding.weight
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        loss = head(torch.nn.functional.gelu(embedding(torch.zeros(1, 8, dtype=torch.long)))).sum()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        loss.backward()
    adds = [e for e in profiled.events() if e.name == "aten::add"]
    return sum(e.self_cpu_memory_usage for e in adds) / (rows * width * 4)


def test_torch_adds_a_tied_weights_gradients_in_place_only_behind_a_cast() -> None:
    # What `Tracer.stem` relies on: a transposed product is a view, a cast one is not.
    assert copies_made_for_a_tied_weight(autocast=False) == 1.0
    assert copies_made_for_a_tied_weight(autocast=True) == 0.0
