"""A ranking gives candidates best first, of a chain one after the other, and none is made before it is asked for."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from toy import LORA, RECOMPUTED, Toy, chain_of

from planner.search import Candidate, Ranking, Solver
from planner.search.ranking import Entry
from strategies import PLAIN, Chain, Lora, Strategy, UpTo

SOLVER = Solver(Toy(), 1_000, UpTo(1))


def solved(strategy: Strategy) -> Candidate:
    found = SOLVER.solve(strategy)
    assert found is not None
    return found


def entry(order: int, chain: Chain, last: int) -> Entry:
    candidate = solved(chain.least)
    return Entry(candidate.rank, order, candidate, chain, 0, last)


def ranks_of(candidates: list[Candidate]) -> list[int]:
    methods = [candidate.strategy.finetuning for candidate in candidates]
    return [method.rank for method in methods if isinstance(method, Lora)]


def test_strategies_of_chains_come_in_the_order_of_all() -> None:
    ranking = Ranking([entry(0, chain_of(1, 4, 16, 64), last=2), entry(1, chain_of(2, 8, 32), last=2)], solved)
    assert len(ranking) == 6
    assert ranks_of(ranking.first(99)) == [1, 2, 4, 8, 16, 32]
    assert ranks_of(ranking.first(2)) == [1, 2]
    assert ranking.first(0) == []


def test_what_is_taken_away_is_gone_and_what_is_looked_at_stays() -> None:
    ranking = Ranking([entry(0, chain_of(1, 4), last=1), entry(1, chain_of(2, 8), last=0)], solved)
    assert ranks_of([ranking.take()]) == [1]
    assert ranks_of(ranking.first(9)) == [2, 4]
    assert len(ranking) == 2
    assert ranks_of([ranking.take(), ranking.take()]) == [2, 4]
    assert (len(ranking), ranking.first(5)) == (0, [])


def test_a_strategy_is_solved_when_the_one_before_it_is_taken() -> None:
    asked: list[Strategy] = []

    def solve(strategy: Strategy) -> Candidate:
        asked.append(strategy)
        return solved(strategy)

    chain = chain_of(1, 4, 16)
    ranking = Ranking([entry(0, chain, last=2)], solve)
    assert asked == []
    ranking.take()
    assert asked == [chain.at(1)]


def test_known_candidates_are_ranked_as_they_are() -> None:
    candidates = [solved(LORA._replace(finetuning=Lora(rank))) for rank in (8, 2, 32)]
    ranking = Ranking.of(candidates)
    assert (len(ranking), ranks_of(ranking.first(3))) == (3, [2, 8, 32])
    assert Ranking.of([]).best_by_method() == []


def test_equal_candidates_keep_their_order() -> None:
    candidates = [solved(LORA), solved(LORA), solved(LORA)]
    assert [id(candidate) for candidate in Ranking.of(candidates).first(3)] == list(map(id, candidates))


def test_the_best_of_each_method_comes_best_first() -> None:
    candidates = [solved(strategy) for strategy in (RECOMPUTED, PLAIN, LORA._replace(finetuning=Lora(40)), LORA)]
    assert [c.strategy for c in Ranking.of(candidates).best_by_method()] == [RECOMPUTED, PLAIN]
    assert Ranking.of(candidates[1:3]).best_by_method() == [candidates[1], candidates[2]]


def test_an_empty_ranking_has_nothing_to_take() -> None:
    with pytest.raises(IndexError):
        Ranking.of([]).take()


def test_what_is_recommended_is_decided_anew_until_all_of_it_is() -> None:
    ranking = Ranking([entry(0, chain_of(1, 4, 16, 64), last=2), entry(1, chain_of(2, 8, 32), last=2)], solved)
    asked: list[int] = []
    at_first: list[list[int]] = []

    def decided_as(candidate: Candidate, others: Sequence[Candidate]) -> Candidate | None:
        (rank,) = ranks_of([candidate])
        asked.append(rank)
        at_first.append(sorted(set(ranks_of(list(others)))))
        if rank == 1:
            return None
        return candidate._replace(global_batch_size=0) if rank == 2 else candidate

    assert ranking.decide(2, decided_as) == 1
    assert asked == [1, 2, 4, 8]  # 1 has no other in its place, and 2 comes last now
    assert at_first[0] == [1, 2]
    assert (len(ranking), ranks_of(ranking.first(9))) == (5, [4, 8, 16, 32, 2])


def test_of_a_front_all_candidates_of_a_strategy_are_recommended() -> None:
    sizes = [SOLVER.candidate(LORA, size, 1) for size in (1, 2, 4, 8)]
    found = Ranking.of(sizes).recommended(3)
    assert [candidate.micro_batch_size for candidate in found] == [8, 4, 2]


def test_what_is_nearly_the_same_is_recommended_only_where_there_is_room() -> None:
    def numbers(*found: Candidate) -> list[tuple[int, bool]]:
        return [(c.global_batch_size, c.strategy.checkpointing.recomputes) for c in found]

    def of(strategy: Strategy, size: int) -> Candidate:
        return SOLVER.candidate(strategy, size, 1)

    ranking = Ranking.of([of(LORA, 100), of(LORA, 99), of(LORA, 98), of(RECOMPUTED, 97), of(LORA, 50)])
    assert numbers(*ranking.recommended(2)) == [(100, False), (97, True)]
    assert numbers(*ranking.recommended(3)) == [(100, False), (99, False), (97, True)]
    assert numbers(*ranking.recommended(9)) == numbers(*ranking.first(9))
    fewer_samples = [of(LORA, 4), of(LORA, 2)]  # 1.25 s for a sample, and 1.5 s
    assert numbers(*Ranking.of(fewer_samples).recommended(1)) == [(4, False)]
