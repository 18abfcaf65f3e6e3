"""What users say of a strategy and the strategy itself are the same thing in two forms."""

from __future__ import annotations

from hardware import Cluster, load_catalog
from strategies import (
    AXES,
    OPTIONS,
    PLAIN,
    Allocator,
    Attention,
    Checkpointing,
    Checkpoints,
    Finetuning,
    Framework,
    Full,
    Kernels,
    Loss,
    Optimizer,
    Precision,
    Replicated,
    Sharding,
    Space,
    Strategy,
    Update,
    violation,
)

A100 = load_catalog().get("A100-40GB")


def test_a_strategy_has_a_field_for_every_axis_and_every_option_is_of_one() -> None:
    assert tuple(AXES) == Strategy._fields
    assert list(OPTIONS) == [
        "precision",
        "optimizer",
        "optimizer_rank",
        "finetuning",
        "lora_rank",
        "lora_targets",
        "quantization",
        "lora_variant",
        "lora_dropout",
        "adapter_dtype",
        "unquantized_dtype",
        "expert_quantization",
        "trained_blocks",
        "trained_modules",
        "checkpointing",
        "checkpoint_every",
        "sharding",
        "sharding_backend",
        "gradient_buckets",
        "reshard_size",
        "shard_size",
        "offload",
        "gradient_sync",
        "wrapping",
        "reduce_bucket",
        "overlap_comm",
        "prefetch_bucket",
        "persistence_threshold",
        "max_live_parameters",
        "max_reuse_distance",
        "sub_group_size",
        "attention",
        "loss",
        "kernels",
        "framework",
        "allocator",
        "update",
    ]


def test_the_plain_strategy_is_the_least_of_every_axis_and_runs_everywhere() -> None:
    assert tuple(PLAIN) == (
        Precision.FP32,
        Optimizer.SGD,
        Full(),
        Checkpoints(),
        Replicated(),
        Attention.SDPA,
        Loss.FULL,
        Kernels.EAGER,
        Framework.TRANSFORMERS,
        Allocator.NATIVE,
        Update.AFTER_BACKWARD,
    )
    assert {violation(PLAIN, Cluster(gpu, ranks)) for gpu in load_catalog().gpus for ranks in (1, 8)} == {None}


def test_every_strategy_is_what_its_options_make() -> None:
    space = Space.default(Cluster(A100, 8, 2))._replace(
        finetuning=tuple(Finetuning),
        optimizer=(Optimizer.ADAMW, Optimizer.GALORE),
        checkpointing=tuple(Checkpointing),
        sharding=tuple(Sharding),
        update=tuple(Update),
    )
    strategies = list(space.strategies(A100))
    # Full fine-tuning in 3 precisions, QLoRA with 2 quantizations x 2 dtypes of the rest, 3 other methods; of the other
    # axes 2 x 6 x 8 x 2: gradients of shards are reduced in two ways.
    assert len(strategies) == (3 + 4 + 3) * 192
    for strategy in strategies:
        again = Strategy.of(strategy.to_options())
        assert again == strategy
        assert list(map(type, again)) == list(map(type, strategy))


def test_options_are_those_that_belong_to_the_choices() -> None:
    assert PLAIN.to_options() == {
        "precision": Precision.FP32,
        "optimizer": Optimizer.SGD,
        "finetuning": Finetuning.FULL,
        "checkpointing": Checkpointing.NONE,
        "sharding": Sharding.NO_SHARD,
        "gradient_buckets": Replicated().gradient_buckets,
        "attention": Attention.SDPA,
        "loss": Loss.FULL,
        "kernels": Kernels.EAGER,
        "framework": Framework.TRANSFORMERS,
        "allocator": Allocator.NATIVE,
        "update": Update.AFTER_BACKWARD,
    }
