"""What each kind of optimizer keeps of a tensor and allocates in its step, byte by byte."""

from __future__ import annotations

import pytest

from planner.libraries.allocator import allocated
from planner.memory.sharding.account import TrainedTensor
from planner.memory.sharding.optimizers import Groups, rule_of
from planner.memory.sharding.optimizers.locals import Locals
from planner.memory.sharding.optimizers.rule import OptimizerRule
from strategies import AnyOptimizer, Optimizer, Ranked, Whole

FP32, HALF, KIB = 4, 2, 1024


def tensor(*shape: int, itemsize: int = FP32, name: str = "q_proj.weight", block: bool = True) -> TrainedTensor:
    """A linear layer's weight, or a vector, of a block."""
    elements = 1
    for size in shape:
        elements *= size
    is_matrix = block and len(shape) == 2
    return TrainedTensor(shape, elements, itemsize, not block and len(shape) == 2, itemsize, name, is_matrix, is_matrix)


MATRIX = tensor(256, 1024)
IN_HALF = tensor(256, 1024, itemsize=HALF)
NORM, BIAS = tensor(1024, name="norm.weight"), tensor(1024, name="q_proj.bias")
TABLE = tensor(1000, 64, name="embed.weight", block=False)
SMALL = tensor(15, 273)  # 4,095 elements


def kept(optimizer: AnyOptimizer, of: TrainedTensor) -> tuple[int, int]:
    """Bytes of states, and of what every rank counts."""
    rule = rule_of(optimizer)
    return rule.states(of), rule.counts(of)


def test_sizes_are_rounded_up_to_512_bytes() -> None:
    assert [allocated(size) for size in (0, 1, 512, 513, 1024)] == [0, 512, 512, 1024, 1024]


def test_a_rule_keeps_and_allocates_nothing_unless_it_says_so() -> None:
    rule: OptimizerRule[Whole] = OptimizerRule(Whole())
    groups: Groups = [((MATRIX, NORM), 3)]
    assert (rule.states(MATRIX), rule.counts(MATRIX), rule.tables([MATRIX])) == (0, 0, 0)
    assert (rule.host(MATRIX), rule.flops(MATRIX), rule.temporaries(groups, 1)) == (0, 0, 0)
    assert (rule.resident(groups, 1), rule.resident(groups, 1, apart=True), rule.moved(groups, 1)) == (0, 0, (0, 0))


# --- what is kept ---


@pytest.mark.parametrize(
    ("optimizer", "of", "states", "counts"),
    [
        (Optimizer.SGD, MATRIX, 0, 0),
        (Optimizer.SGD_MOMENTUM, MATRIX, 1024 * KIB, 0),
        (Optimizer.ADAMW, MATRIX, 2048 * KIB, 512),
        (Optimizer.ADAMW, IN_HALF, 1024 * KIB, 512),
        (Optimizer.ADAMW, tensor(3), 2 * 512, 512),
        (Optimizer.ADAMW_FOREACH, MATRIX, 2048 * KIB, 0),
        (Optimizer.ADAMW_FP32_MASTER, IN_HALF, 3072 * KIB, 0),
        # a byte an element and fp32 for each 256 of them
        (Optimizer.ADAMW_8BIT, MATRIX, 2 * (256 * KIB + 4 * KIB), 0),
        (Optimizer.LION_8BIT, MATRIX, 256 * KIB + 4 * KIB, 0),
        (Optimizer.LION_8BIT, tensor(16, 257), allocated(4112) + 512, 0),  # 17 blocks, the last of 16 elements
        (Optimizer.LION_8BIT, tensor(64, 64), 4096 + 512, 0),
        (Optimizer.LION_8BIT, SMALL, 4 * 4096, 0),
        (Optimizer.LION_8BIT, TABLE, 4 * 64_000, 0),
        (Optimizer.LION, MATRIX, 1024 * KIB, 0),
        (Optimizer.LION, IN_HALF, 1024 * KIB, 0),
        (Optimizer.PAGED_ADAMW_8BIT, MATRIX, 2 * 4 * KIB, 0),  # states of 100,000 elements are managed memory
        (Optimizer.PAGED_ADAMW_8BIT, tensor(100, 1000), 2 * 2048, 0),
        (Optimizer.PAGED_ADAMW_8BIT, tensor(99_999), 2 * (allocated(99_999) + 2048), 0),
        (Optimizer.PAGED_ADAMW_32BIT, MATRIX, 0, 0),
        (Optimizer.PAGED_ADAMW_32BIT, tensor(99_999), 2 * allocated(4 * 99_999), 0),
        # codes, a scale for each 256 elements, and a table of values
        (Optimizer.ADAMW_8BIT_TORCHAO, MATRIX, 2 * (256 * KIB + 4 * KIB), 2 * 1024),
        (Optimizer.ADAMW_4BIT, MATRIX, 2 * (128 * KIB + 4 * KIB), 2 * 512),
        (Optimizer.ADAMW_4BIT, tensor(16, 256), 2 * (2048 + 512), 2 * 512),
        (Optimizer.ADAMW_4BIT, SMALL, 2 * 4 * 4096, 0),
        (Optimizer.ADAMW_4BIT, tensor(5000, itemsize=HALF), 2 * allocated(10_000), 0),  # 256 does not divide it
        (Optimizer.ADAMW_OFFLOAD, MATRIX, 0, 0),
        (Optimizer.ADAMW_OFFLOAD, tensor(64, 64), 0, 0),
        (Optimizer.ADAMW_OFFLOAD, SMALL, 2 * allocated(4095 * 4), 512),
        # sums of rows and of columns
        (Optimizer.ADAFACTOR, MATRIX, 1024 + 4096, 0),
        (Optimizer.ADAFACTOR, IN_HALF, 1024 + 4096, 0),
        (Optimizer.ADAFACTOR, tensor(8, 256, 1024), 8 * 1024 + 8 * 4096, 0),
        (Optimizer.ADAFACTOR, NORM, 4096, 0),
        (Optimizer.MUON, MATRIX, 1024 * KIB, 0),
        (Optimizer.MUON, NORM, 2 * 4096, 512),
        (Optimizer.MUON, TABLE, 2 * 256_000, 512),
        (Optimizer.ADAM_MINI, MATRIX, 1024 * KIB + 1024, 0),
        (Optimizer.ADAM_MINI, IN_HALF, 512 * KIB + 512, 0),
        (Optimizer.ADAM_MINI, NORM, 4096, 512),
        (Optimizer.ADAM_MINI, BIAS, 2 * 4096, 0),
        # two moments of rank x 1024, and the projection of 256 x rank; in fp32 the whole decomposition of 256 x 256
        (Ranked(Optimizer.GALORE, 8), IN_HALF, 2 * 16 * KIB + 4 * KIB, 0),
        (Ranked(Optimizer.GALORE, 8), MATRIX, 2 * 32 * KIB + 256 * KIB, 0),
        (Ranked(Optimizer.GALORE, 999), IN_HALF, 2 * 512 * KIB + 128 * KIB, 0),
        (Ranked(Optimizer.APOLLO, 8), MATRIX, 2 * 32 * KIB + 8 * KIB, 512),
        (Ranked(Optimizer.APOLLO, 8), tensor(1024, 256), 2 * 32 * KIB + 8 * KIB, 512),
        (Ranked(Optimizer.APOLLO, 512), MATRIX, 2 * 2048 * KIB + 512 * KIB, 512),  # more than the shorter side
        (Optimizer.APOLLO_MINI, MATRIX, 2 * 4 * KIB + 1 * KIB, 512),
        (Optimizer.GALORE, TABLE, 2 * 256_000, 0),
        (Optimizer.APOLLO, NORM, 2 * 4096, 0),
    ],
    ids=lambda x: str(x.shape) if isinstance(x, TrainedTensor) else str(x),
)
def test_an_optimizer_keeps_of_a_tensor_what_its_library_makes(
    optimizer: AnyOptimizer, of: TrainedTensor, states: int, counts: int
) -> None:
    assert kept(optimizer, of) == (states, counts)


@pytest.mark.parametrize(
    ("optimizer", "tensors", "bytes_"),
    [
        (Optimizer.ADAMW_8BIT, [MATRIX], 2 * 1024),
        (Optimizer.LION_8BIT, [SMALL, MATRIX], 1024),
        (Optimizer.LION_8BIT, [SMALL, TABLE], 0),
        (Optimizer.LION_8BIT, [], 0),
        (Optimizer.LION, [MATRIX], 0),
        (Optimizer.ADAMW, [MATRIX], 0),
    ],
)
def test_values_of_8_bits_are_a_table_of_the_whole_optimizer(
    optimizer: Optimizer, tensors: list[TrainedTensor], bytes_: int
) -> None:
    assert rule_of(optimizer).tables(tensors) == bytes_


def test_ranks_share_states_and_each_counts_for_itself() -> None:
    adamw = rule_of(Optimizer.ADAMW)
    groups: Groups = [((MATRIX, tensor(3)), 2), ((NORM,), 1)]
    states = 2 * (2048 * KIB + 1024) + 8 * KIB
    assert adamw.resident(groups, 1) == states + 5 * 512
    assert adamw.resident(groups, 3) == -(-states // 3) + 5 * 512


def test_an_optimizer_has_one_table_and_optimizers_of_single_tensors_have_one_each() -> None:
    lion = rule_of(Optimizer.LION_8BIT)
    groups: Groups = [((MATRIX, SMALL), 3), ((MATRIX,), 1)]
    states = 4 * 260 * KIB + 3 * 4 * 4096
    assert lion.resident(groups, 1) == states + 1024
    assert lion.resident(groups, 1, apart=True) == states + 4 * 1024


# --- what moves ---


@pytest.mark.parametrize(
    ("optimizer", "of", "host"),
    [
        (Optimizer.ADAMW, MATRIX, 0),
        (Optimizer.ADAMW_OFFLOAD, MATRIX, 2 * 1024 * KIB),  # the gradient goes, the parameter comes
        (Optimizer.ADAMW_OFFLOAD, IN_HALF, 2 * 512 * KIB),
        (Optimizer.ADAMW_OFFLOAD, SMALL, 0),
        (Optimizer.ADAMW_8BIT, MATRIX, 0),
        (Optimizer.PAGED_ADAMW_8BIT, MATRIX, 2 * 2 * 256 * KIB),  # both states come and go
        (Optimizer.PAGED_ADAMW_8BIT, tensor(100, 1000, block=False), 2 * 2 * 400_000),
        (Optimizer.PAGED_ADAMW_8BIT, tensor(99_999), 0),
        (Optimizer.PAGED_ADAMW_32BIT, MATRIX, 2 * 2 * 1024 * KIB),
    ],
    ids=lambda x: str(x.shape) if isinstance(x, TrainedTensor) else str(x),
)
def test_states_on_the_host_move_in_every_step(optimizer: Optimizer, of: TrainedTensor, host: int) -> None:
    rule = rule_of(optimizer)
    assert rule.host(of) == host
    assert rule.moved([((of,), 3)], 2) == (3 * host // 2, 0)


def test_muon_orthogonalizes_matrices_in_five_steps() -> None:
    muon = rule_of(Optimizer.MUON)
    flops = 5 * (4 * 256 * 256 * 1024 + 2 * 256**3)  # A = XX', B = bA + cA A, X = aX + BX
    assert (muon.flops(MATRIX), muon.flops(tensor(1024, 256)), muon.flops(TABLE), muon.flops(NORM)) == (
        flops,
        flops,
        0,
        0,
    )
    assert muon.moved([((MATRIX, NORM), 2)], 4) == (0, 2 * flops // 4)


# --- what the step allocates ---


def test_foreach_copies_one_state_of_all_tensors() -> None:
    foreach, groups = rule_of(Optimizer.ADAMW_FOREACH), [((MATRIX, NORM), 3)]
    assert foreach.temporaries(groups, 1) == 3 * (1024 * KIB + 4 * KIB)
    assert foreach.temporaries([((tensor(3),), 1)], 3) == 171  # a third of 512, rounded up
    assert foreach.temporaries_of(NORM) == 4 * KIB
    assert foreach.temporaries_of(tensor(3), 3) == 171
    assert rule_of(Optimizer.ADAMW).temporaries(groups, 1) == rule_of(Optimizer.ADAMW).temporaries_of(MATRIX) == 0


WHOLE = 1024 * KIB
"""The matrix in fp32."""


@pytest.mark.parametrize(
    ("optimizer", "of", "peak"),
    [
        (Optimizer.ADAMW_8BIT, MATRIX, 0),
        (Optimizer.ADAMW_OFFLOAD, MATRIX, 0),
        # a squared gradient, its mean, the update and its negative
        (Optimizer.ADAFACTOR, MATRIX, 2 * WHOLE),
        (Optimizer.ADAFACTOR, IN_HALF, 4 * WHOLE),  # beside gradient and parameter in fp32
        (Optimizer.ADAFACTOR, NORM, 2 * 4096),
        (Optimizer.ADAM_MINI, MATRIX, 2 * WHOLE),
        (Optimizer.ADAM_MINI, BIAS, 2 * 4096),
        # both states divided by their scales; of 4 bits with codes in bytes, and new ones in int64
        (Optimizer.ADAMW_8BIT_TORCHAO, MATRIX, 2 * (WHOLE + 4 * KIB)),
        (Optimizer.ADAMW_4BIT, MATRIX, 2 * (WHOLE + 4 * KIB + 256 * KIB + 2048 * KIB)),
        (Optimizer.ADAMW_4BIT, SMALL, 0),
        # the update, in half beside two squares of 256 x 256 and the next one
        (Optimizer.MUON, MATRIX, WHOLE + 2 * 128 * KIB + 2 * 512 * KIB),
        (Optimizer.MUON, IN_HALF, 512 * KIB + 2 * 128 * KIB + 2 * 512 * KIB),
        (Optimizer.MUON, NORM, 0),
        # denominator and normed gradient of rank x 1024, and the scaled gradient twice
        (Ranked(Optimizer.APOLLO, 8), MATRIX, 3 * 32 * KIB + 2 * WHOLE),
        (Ranked(Optimizer.APOLLO, 8), NORM, 2 * 4096),
    ],
    ids=lambda x: str(x.shape) if isinstance(x, TrainedTensor) else str(x),
)
def test_a_step_of_one_tensor_allocates_what_its_lines_make(
    optimizer: AnyOptimizer, of: TrainedTensor, peak: int
) -> None:
    assert rule_of(optimizer).temporaries_of(of) == peak


def test_galore_decomposes_a_copy_in_fp32() -> None:
    rule, square = rule_of(Ranked(Optimizer.GALORE, 8)), 256 * KIB
    decomposed = (
        WHOLE + WHOLE + square + 1024
    )  # the copy, U or Vh of the matrix's shape, the other, the singular values
    assert rule.temporaries_of(MATRIX) == max(decomposed, WHOLE + square + 1024 + 32 * KIB, 2 * WHOLE + 3 * 32 * KIB)
    assert rule.temporaries_of(IN_HALF) == WHOLE + decomposed


def test_local_variables_live_on_from_one_tensor_to_the_next() -> None:
    adafactor = rule_of(Optimizer.ADAFACTOR)
    alone = adafactor.temporaries_of(MATRIX)
    assert adafactor.temporaries([((MATRIX,), 1)], 1) == alone == 2 * WHOLE
    assert adafactor.temporaries([((MATRIX, MATRIX), 1)], 1) == 3 * WHOLE  # the update of the first is still there
    assert adafactor.temporaries([((MATRIX,), 5)], 1) == 3 * WHOLE
    assert adafactor.temporaries([((MATRIX,), 5)], 4) == 3 * WHOLE // 4


def test_groups_are_stepped_one_after_the_other() -> None:
    galore = rule_of(Ranked(Optimizer.GALORE, 8))
    assert [[is_stepped(t) for t in (TABLE, MATRIX)] for is_stepped in galore.passes] == [[True, False], [False, True]]
    muon = rule_of(Optimizer.MUON)
    assert [[is_stepped(t) for t in (TABLE, MATRIX)] for is_stepped in muon.passes] == [[False, True]]


def test_names_keep_their_tensors_until_they_get_others() -> None:
    names = Locals()
    names.let("x", 1024)
    names.let("y", 512)
    names.let("x", 1024)
    assert names.peak == 2560  # the new x beside the old one
    names.let("x", 0)
    names.let("z", 2048)
    assert names.peak == 2560
    names.passing(1, 1)
    assert names.peak == 3584


def test_a_name_takes_over_the_tensor_of_another() -> None:
    names = Locals()
    names.let("x", 1024)
    names.let("y", 512)
    names.rename("x", to="y")
    names.let("z", 1024)
    assert names.peak == 2048
    names.rename("absent", to="y")
    names.let("u", 1024)
    assert names.peak == 2048


def test_ranks_share_tensors_unless_they_are_whole() -> None:
    names = Locals(4)
    names.let("x", 8192)
    assert names.peak == 2048
    names.let("square", 8192, whole=True)
    assert names.peak == 2048 + 8192
    names.passing(8192, 4097)
    assert names.peak == 2048 + 8192 + 2048 + 1536
