"""A strategy is solved for the micro-batch and the accumulation that make its best step."""

from __future__ import annotations

import pytest
from toy import A100, LORA, RECOMPUTED, Toy

from hardware import Cluster
from planner.memory import Footprint
from planner.search import Solver
from strategies import Exactly, Strategy, Update, UpTo

IN_BACKWARD = LORA._replace(update=Update.IN_BACKWARD)


def test_as_many_steps_as_allowed_with_the_largest_micro_batch_that_fits() -> None:
    best = Solver(Toy(), 100, UpTo(4)).solve(LORA)
    assert best is not None
    # 10 + 5 bytes of gradients that stay, and 10 bytes a sample: 8 samples are 95 bytes.
    assert (best.micro_batch_size, best.gradient_accumulation_steps, best.global_batch_size) == (8, 4, 32)
    assert (best.process_bytes, best.seconds, best.strategy) == (95, 36.0, LORA)


def test_one_step_is_better_where_accumulating_leaves_no_room() -> None:
    solver = Solver(Toy(), 22, UpTo(4))
    best = solver.solve(LORA)
    assert best is not None
    assert (best.micro_batch_size, best.gradient_accumulation_steps, best.process_bytes) == (1, 1, 20)
    assert Solver(Toy(), 19, UpTo(4)).solve(LORA) is None
    assert (solver.fits(LORA), Solver(Toy(), 19, UpTo(4)).fits(LORA)) == (True, False)


def test_what_cannot_accumulate_takes_one_step() -> None:
    best = Solver(Toy(), 100, UpTo(4)).solve(IN_BACKWARD)
    assert best is not None
    assert (best.micro_batch_size, best.gradient_accumulation_steps) == (9, 1)


def test_what_is_over_the_budget_at_any_micro_batch_is_not_asked_for_its_footprint() -> None:
    asked = []

    class Counted(Toy):
        def footprint(self, strategy: Strategy, micro_batches: int) -> Footprint:
            asked.append(micro_batches)
            return super().footprint(strategy, micro_batches)

    solver = Solver(Counted(), 14, UpTo(2))  # 10 bytes and 5 of gradients that stay, or 10 without them
    assert solver.solve(LORA) is None
    assert set(asked) == {1}
    asked.clear()
    solver = Solver(Counted(), 9, UpTo(2))
    assert solver.solve(LORA) is None
    assert not solver.lacks_host_memory(LORA)
    assert not asked


def test_every_rank_has_a_micro_batch() -> None:
    best = Solver(Toy(Cluster(A100, 2, 3)), 100, UpTo(1)).solve(LORA)
    assert best is not None
    assert (best.micro_batch_size, best.global_batch_size) == (9, 9 * 6)


@pytest.mark.parametrize(("budget", "size"), [(175, 16), (55, 4), (49, 2), (30, 2), (29, None)])
def test_of_allowed_micro_batches_the_largest_that_fits_is_taken(budget: int, size: int | None) -> None:
    solver = Solver(Toy(), budget, UpTo(2), (2, 16, 4))
    best = solver.solve(LORA)
    assert (best and best.micro_batch_size) == size
    assert solver.allowed == (16, 4, 2)


def test_the_smallest_micro_batch_is_one_unless_others_are_allowed() -> None:
    assert Solver(Toy(), 100, UpTo(1)).smallest_micro_batch == 1
    assert Solver(Toy(), 100, UpTo(1), (8, 3, 5)).smallest_micro_batch == 3


@pytest.mark.parametrize(
    ("budget", "wanted", "allowed", "found"),
    [
        (100, 12, (), (6, 2)),
        (75, 12, (), (6, 2)),
        (74, 12, (), (4, 3)),
        (130, 12, (), (12, 1)),  # 10 + 12 x 10 bytes, without gradients that stay
        (129, 12, (), (6, 2)),
        (130, 12, (4, 3), (4, 3)),
        (130, 13, (), (1, 13)),
        (24, 13, (), None),
        (130, 12, (5,), None),
    ],
)
def test_a_wanted_batch_is_made_in_the_fastest_way_that_fits(
    budget: int, wanted: int, allowed: tuple[int, ...], found: tuple[int, int] | None
) -> None:
    best = Solver(Toy(), budget, Exactly(wanted), allowed).solve(LORA)
    assert (best and (best.micro_batch_size, best.gradient_accumulation_steps)) == found


def test_all_ways_to_a_wanted_batch_are_candidates_if_they_fit() -> None:
    def ways(budget: int, *allowed: int) -> list[tuple[int, int]]:
        found = Solver(Toy(), budget, Exactly(12), allowed)._exact(LORA)
        return [(c.micro_batch_size, c.gradient_accumulation_steps) for c in found]

    assert ways(130) == [(12, 1), (6, 2), (4, 3), (3, 4), (2, 6), (1, 12)]
    assert ways(129) == ways(75) == [(6, 2), (4, 3), (3, 4), (2, 6), (1, 12)]
    assert ways(74) == [(4, 3), (3, 4), (2, 6), (1, 12)]
    assert ways(130, 4, 3, 5) == [(4, 3), (3, 4)]


def test_what_cannot_accumulate_makes_a_wanted_batch_at_once_or_not_at_all() -> None:
    best = Solver(Toy(), 130, Exactly(12)).solve(IN_BACKWARD)
    assert best is not None
    assert (best.micro_batch_size, best.gradient_accumulation_steps) == (12, 1)
    assert Solver(Toy(), 129, Exactly(12)).solve(IN_BACKWARD) is None


def test_candidates_sort_by_batch_then_speed_then_recomputation_then_headroom() -> None:
    solver = Solver(Toy(), 100, UpTo(1))
    plain, recomputed = solver.candidate(LORA, 4, 1), solver.candidate(RECOMPUTED, 4, 1)
    assert plain.rank == (0, -4, 5.0, 0, 0, 50)
    assert recomputed.rank == (0, -4, 9.0, 1, 0, 30)
    assert solver.candidate(LORA, 4, 2).rank == (0, -8, 10.0, 0, 0, 55)
    assert solver.candidate(LORA, 400, 1).process_bytes == 4010  # whether it fits or not
