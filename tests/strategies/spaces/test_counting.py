"""Strategies that are counted are as many as those that are made one by one."""

from __future__ import annotations

import random
from collections import Counter
from itertools import islice
from typing import Any

import pytest

from hardware import Cluster, load_catalog
from strategies import (
    OPTIONS,
    Checkpointing,
    Finetuning,
    Freeze,
    Kernels,
    Lora,
    LoraVariant,
    Optimizer,
    Precision,
    Sharding,
    Shares,
    Space,
    Strategy,
    WholeNumbers,
)
from strategies.rules import RULES, Rule, violation
from strategies.spaces.undecided import Undecided, UndecidedError, watched

CATALOG = load_catalog()
CLUSTERS = [
    Cluster(CATALOG.get(name), gpus, nodes)
    for name, gpus, nodes in [
        ("T4", 1, 1),
        ("A100-40GB", 1, 1),
        ("A100-40GB", 8, 1),
        ("H100", 8, 2),
        ("MI300X", 8, 1),
        ("Gaudi2", 8, 1),
    ]
]
H100S = Cluster(CATALOG.get("H100"), 8)
NUMBERS = (0, 1, 2, 3, 4, 6, 8, 16)
"""Some of which divide the GPUs of a cluster, and some do not."""
MOST_MADE = 2_000


def made(space: Space, cluster: Cluster) -> tuple[int, Counter[str]]:
    """The same by asking each strategy."""
    reasons = Counter(violation(strategy, cluster) for strategy in space.strategies(cluster.gpu))
    return reasons.pop(None, 0), Counter({str(reason): number for reason, number in reasons.items()})


def drawn(source: random.Random, cluster: Cluster) -> Space:
    """A small space of any choices and numbers: of half of the options one value or several, as usual of the others."""
    space = Space.default(cluster)
    for option in source.sample(list(OPTIONS.values()), len(OPTIONS) // 2):
        some: list[Any]
        if isinstance(option.kind, WholeNumbers):
            some = [number for number in NUMBERS if number >= option.kind.low]
        elif isinstance(option.kind, Shares):
            some = [0.0, 0.05, 0.1]
        else:
            some = list(option.kind) if isinstance(option.kind, type) else ["all-linear", ("q_proj",)]
        several = space._replace(**{option.name: tuple(source.sample(some, min(len(some), source.randint(1, 4))))})
        is_small = len(list(islice(several.strategies(cluster.gpu), MOST_MADE + 1))) <= MOST_MADE
        space = several if is_small else space._replace(**{option.name: (source.choice(some),)})
    return space


@pytest.mark.parametrize("cluster", CLUSTERS, ids=lambda c: f"{c.world_size}x{c.gpu.name}")
@pytest.mark.parametrize("seed", range(25))
def test_counting_finds_what_asking_each_strategy_finds(cluster: Cluster, seed: int) -> None:
    space = drawn(random.Random(seed), cluster)
    chains, rejected = space.valid(cluster)
    assert space.counted(cluster) == made(space, cluster) == (sum(chain.length for chain in chains), rejected)
    assert space.least.counted(cluster)[0] == len(chains)


@pytest.mark.parametrize("cluster", CLUSTERS, ids=lambda c: f"{c.world_size}x{c.gpu.name}")
def test_the_default_space_is_counted_as_it_is_made(cluster: Cluster) -> None:
    assert Space.default(cluster).counted(cluster) == made(Space.default(cluster), cluster)


def ranges(*names: str) -> dict[str, Any]:
    """All numbers that some options take."""
    kinds = {name: OPTIONS[name].kind for name in names}
    return {name: tuple(range(k.low, k.high + 1)) for name, k in kinds.items() if isinstance(k, WholeNumbers)}


def test_strategies_of_two_long_ranges_are_counted() -> None:
    space = Space.default(H100S)._replace(
        precision=(Precision.BF16_MIXED,),
        optimizer=(Optimizer.ADAMW,),
        finetuning=(Finetuning.FULL,),
        checkpointing=(Checkpointing.FULL,),
        sharding=(Sharding.FULL_SHARD,),
        **ranges("checkpoint_every", "reshard_size"),
    )
    # 1,024 numbers of blocks, 65,537 of ranks and 2 ways to reduce are 134,219,776 strategies. Of 8 ranks, parameters
    # can be resharded to 1, 2 and 4, or stay sharded over all, which is 0: 2 x 4 x 1,024 strategies; 2 x 65,533 x 1,024
    # are left.
    reason = "parameters of 8 shards are resharded to a smaller number that divides 8"
    assert space.counted(H100S) == (8_192, Counter({reason: 134_211_584}))


def test_ranges_that_refine_one_choice_are_multiplied() -> None:
    space = Space.default(H100S)._replace(
        precision=(Precision.BF16_MIXED,),
        optimizer=(Optimizer.ADAMW, Optimizer.GALORE, Optimizer.APOLLO),
        finetuning=(Finetuning.LORA, Finetuning.FREEZE),
        lora_dropout=tuple(i / 1000 for i in range(1000)),
        checkpointing=(Checkpointing.FULL,),
        sharding=(Sharding.NO_SHARD,),
        kernels=(Kernels.EAGER, Kernels.COMPILE),
        **ranges("lora_rank", "trained_blocks", "checkpoint_every", "optimizer_rank"),
    )
    # LoRA has 16,384 ranks x 1,000 dropouts, freezing 1,024 numbers of blocks, both 1,024 numbers of checkpointed ones.
    # GaLore and APOLLO have 16,384 ranks each, which freezing takes and LoRA does not. Compiled blocks are checkpointed
    # each, and train whole or by LoRA without dropout: eager 16,384,000 x 1,024 with AdamW, compiled 16,384 with it;
    # frozen 1,024 x 1,024 x (1 + 2 x 16,384), eager alone.
    lora, frozen = 16_384_000, 1_024
    optimizers = 1 + 2 * 16_384
    assert space.counted(H100S) == (
        lora * 1_024 + 16_384 + frozen * 1_024 * optimizers,
        Counter(
            {
                "galore is made for whole weights, not for adapters": 16_384 * (lora * 1_024 + 16_384),
                "apollo is made for whole weights, not for adapters": 16_384 * (lora * 1_024 + 16_384),
                "compiled blocks have an account for checkpointing of all blocks as a whole, or of none": 1_023
                * optimizers
                * (lora + frozen),
                "compiled blocks have an account for plain LoRA without dropout": 16_384 * 999 * optimizers,
                "compiled blocks have no account of freeze, where parts of a block train": frozen * optimizers,
            }
        ),
    )


def test_a_rule_that_reads_a_number_is_counted_without_being_declared(monkeypatch: pytest.MonkeyPatch) -> None:
    def large(s: Strategy, _: Cluster) -> str | None:
        method = s.finetuning
        if isinstance(method, Lora) and method.rank * (1 + method.dropout) > 8:
            return f"rank {method.rank}" if s.checkpointing.every == 2 else "large"
        return "one block" if isinstance(method, Freeze) and method.trained_blocks == s.checkpointing.every else None

    def of_targets(s: Strategy, _: Cluster) -> str | None:
        return "no targets" if isinstance(s.finetuning, Lora) and "q_proj" not in s.finetuning.targets else None

    rules: tuple[Rule, ...] = (of_targets, *RULES, large)
    monkeypatch.setattr("strategies.rules.RULES", rules)
    monkeypatch.setattr("strategies.spaces.counting.RULES", rules)
    space = Space.default(H100S)._replace(
        finetuning=(Finetuning.LORA, Finetuning.FREEZE, Finetuning.QLORA),
        lora_rank=(4, 8, 16, 32),
        lora_dropout=(0.0, 0.1),
        lora_targets=("all-linear", ("q_proj",), ("q_proj", "v_proj")),
        trained_blocks=(1, 2, 3),
        checkpoint_every=(1, 2, 3),
    )
    found, rejected = space.counted(H100S)
    assert (found, rejected) == made(space, H100S)
    assert {"large", "rank 16", "one block", "no targets"} < set(rejected)


def test_what_is_not_decided_cannot_be_read() -> None:
    method = watched(Lora(16, variant=LoraVariant.DORA, dropout=Undecided("lora_dropout")))  # type: ignore[arg-type]
    assert isinstance(method, Lora)
    assert (method.rank, method.variant, method.method) == (16, LoraVariant.DORA, Finetuning.LORA)
    for reads in (
        lambda: method.dropout,
        lambda: method[4],
        lambda: [*method],
        lambda: method == Lora(16, variant=LoraVariant.DORA),
        lambda: hash(method),
        lambda: method._replace(rank=8),
    ):
        with pytest.raises(UndecidedError, match="lora_dropout"):
            reads()


def test_what_is_decided_is_left_as_it_is() -> None:
    assert type(watched(Lora())) is Lora
    assert watched(Optimizer.ADAMW) is Optimizer.ADAMW
