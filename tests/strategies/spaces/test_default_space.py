"""The default space is what practitioners run on a cluster, and a space is the product of its choices."""

from __future__ import annotations

import pytest

from hardware import Cluster, load_catalog
from strategies import (
    ALL_LINEAR,
    AdapterDtype,
    Allocator,
    Attention,
    Chain,
    Checkpointing,
    Checkpoints,
    Finetuning,
    Framework,
    Freeze,
    GradientBuckets,
    Kernels,
    Lora,
    LoraVariant,
    Loss,
    Offload,
    Optimizer,
    Precision,
    Quantization,
    Ranked,
    Sharding,
    Space,
    TrainedModules,
    Update,
    usual_precisions,
)
from strategies.spaces.usual import USUAL_OPTIMIZERS

CATALOG = load_catalog()
A100 = CATALOG.get("A100-40GB")
ONE = Cluster(A100)
EIGHT = Cluster(A100, 8)


def test_what_is_searched_by_default_is_what_practitioners_run() -> None:
    assert Space() == Space(
        precision=(),
        optimizer=(),
        optimizer_rank=(128,),
        finetuning=(Finetuning.FULL, Finetuning.LORA, Finetuning.QLORA),
        lora_rank=(16,),
        lora_targets=(ALL_LINEAR,),
        quantization=(Quantization.NF4, Quantization.NF4_DOUBLE),
        lora_variant=(LoraVariant.LORA,),
        lora_dropout=(0.0,),
        adapter_dtype=(AdapterDtype.FP32,),
        trained_modules=(TrainedModules.NONE,),
        trained_blocks=(2,),
        checkpointing=(Checkpointing.NONE, Checkpointing.FULL),
        checkpoint_every=(1,),
        sharding=(Sharding.NO_SHARD, Sharding.SHARD_GRAD_OP, Sharding.FULL_SHARD),
        gradient_buckets=(GradientBuckets.COPIES,),
        reshard_size=(0,),
        shard_size=(0,),
        offload=(Offload.NONE,),
        attention=(Attention.SDPA,),
        loss=(Loss.FULL,),
        kernels=(Kernels.EAGER,),
        framework=(Framework.TRANSFORMERS,),
        allocator=(Allocator.NATIVE,),
        update=(Update.AFTER_BACKWARD,),
    )


@pytest.mark.parametrize(
    ("gpus", "nodes", "hybrid", "shardings"),
    [
        (1, 1, False, 1),
        (8, 1, False, 3),
        (2, 1, False, 3),
        (8, 2, True, 4),
        (1, 2, False, 3),  # replicas of shards need several GPUs in a node
        (2, 2, True, 4),
    ],
)
def test_a_cluster_is_sharded_where_it_has_several_gpus_and_by_node_where_it_has_several_nodes(
    gpus: int, nodes: int, hybrid: bool, shardings: int
) -> None:
    space = Space.default(Cluster(A100, gpus, nodes))
    assert space.sharding[0] is Sharding.NO_SHARD
    assert (Sharding.HYBRID_SHARD in space.sharding, len(space.sharding)) == (hybrid, shardings)
    assert space.shard_size == (gpus,)


def test_the_default_allocator_is_the_one_that_does_not_fragment_where_the_gpu_has_it() -> None:
    assert {name: Space.default(Cluster(CATALOG.get(name))).allocator for name in ("T4", "MI300X", "Gaudi2")} == {
        "T4": (Allocator.EXPANDABLE,),
        "MI300X": (Allocator.NATIVE,),
        "Gaudi2": (Allocator.NATIVE,),
    }


@pytest.mark.parametrize(
    ("gpu", "full", "adapters"),
    [
        ("T4", (Precision.FP16_MIXED, Precision.FP32), Precision.FP16_MIXED),
        ("P100", (Precision.FP16_MIXED, Precision.FP32), Precision.FP16_MIXED),
        ("A100", (Precision.BF16_MIXED, Precision.BF16_TRUE, Precision.TF32), Precision.BF16_MIXED),
        ("H100", (Precision.BF16_MIXED, Precision.BF16_TRUE, Precision.TF32), Precision.BF16_MIXED),
        ("MI100", (Precision.BF16_MIXED, Precision.BF16_TRUE, Precision.FP32), Precision.BF16_MIXED),
        ("Gaudi2", (Precision.BF16_MIXED, Precision.BF16_TRUE, Precision.FP32), Precision.BF16_MIXED),
    ],
)
def test_weights_train_in_mixed_and_whole_precision_and_adapters_in_mixed_alone(
    gpu: str, full: tuple[Precision, ...], adapters: Precision
) -> None:
    assert usual_precisions(CATALOG.get(gpu), Finetuning.FULL) == full
    for method in (Finetuning.LORA, Finetuning.QLORA, Finetuning.FREEZE, Finetuning.BITFIT):
        assert usual_precisions(CATALOG.get(gpu), method) == (adapters,)


def test_a_gpu_without_half_precision_trains_in_fp32() -> None:
    peaks = A100.peak_flops.model_copy(update={"fp16": None, "bf16": None})
    old = A100.model_copy(update={"compute_capability": "6.1", "peak_flops": peaks})
    assert {usual_precisions(old, method) for method in Finetuning} == {(Precision.FP32,)}


def test_only_what_trains_whole_weights_is_searched_with_optimizers_that_save_states() -> None:
    saving = (Optimizer.ADAMW, Optimizer.ADAMW_8BIT, Optimizer.ADAFACTOR)
    assert dict(USUAL_OPTIMIZERS) == {
        Finetuning.FULL: saving,
        Finetuning.LORA: (Optimizer.ADAMW,),
        Finetuning.QLORA: (Optimizer.ADAMW,),
        Finetuning.FREEZE: saving,
        Finetuning.BITFIT: (Optimizer.ADAMW,),
    }


def test_the_default_space_has_as_many_strategies_as_its_choices_make() -> None:
    strategies = list(Space.default(ONE).strategies(A100))
    # Full fine-tuning: 3 precisions x 3 optimizers, LoRA: one of each, QLoRA: one of each x 2 quantizations x 2 dtypes
    # of what is not quantized; each with checkpointing and without.
    assert len(strategies) == len(set(strategies)) == (9 + 1 + 4) * 2
    assert Space.default(ONE).num_divisible(ONE) == 28
    assert Space.default(EIGHT).num_divisible(EIGHT) == (1 + 2 * 2) * 28  # shards reduce in two ways


def test_what_is_given_is_searched_for_every_method_and_what_is_not_by_method() -> None:
    space = Space.default(ONE)
    assert space.searched("checkpointing", A100) == {"": (Checkpointing.NONE, Checkpointing.FULL)}
    assert space.searched("precision", A100) == {
        "full": usual_precisions(A100, Finetuning.FULL),
        "lora": (Precision.BF16_MIXED,),
        "qlora": (Precision.BF16_MIXED,),
    }
    assert space.searched("optimizer", A100)["lora"] == (Optimizer.ADAMW,)
    given = space._replace(precision=(Precision.FP32,), optimizer=(Optimizer.SGD, Optimizer.MUON))
    assert given.searched("precision", A100) == {"": (Precision.FP32,)}
    assert given.searched("optimizer", A100) == {"": (Optimizer.SGD, Optimizer.MUON)}
    assert {strategy.precision for strategy in given.strategies(A100)} == {Precision.FP32}
    assert {strategy.optimizer for strategy in given.strategies(A100)} == {Optimizer.SGD, Optimizer.MUON}


NARROW = Space.default(ONE)._replace(precision=(Precision.BF16_MIXED,), checkpointing=(Checkpointing.FULL,))


def test_options_multiply_only_the_choices_that_they_refine() -> None:
    space = NARROW._replace(
        finetuning=(Finetuning.LORA, Finetuning.FREEZE),
        optimizer=(Optimizer.ADAMW, Optimizer.GALORE),
        optimizer_rank=(8, 16, 32),
        lora_rank=(4, 8),
        trained_blocks=(1, 2, 3),
        checkpointing=(Checkpointing.NONE, Checkpointing.FULL),
        checkpoint_every=(1, 2),
    )
    strategies = list(space.strategies(A100))
    optimizers, methods, checkpoints = 1 + 3, 2 + 3, 1 + 2
    assert len(set(strategies)) == len(strategies) == optimizers * methods * checkpoints == space.num_divisible(ONE)
    assert {s.optimizer for s in strategies} == {Optimizer.ADAMW, *(Ranked(Optimizer.GALORE, n) for n in (8, 16, 32))}
    assert {s.finetuning for s in strategies} == {Lora(4), Lora(8), Freeze(1), Freeze(2), Freeze(3)}
    assert {s.checkpointing for s in strategies} == {
        Checkpoints(),
        Checkpoints(Checkpointing.FULL),
        Checkpoints(Checkpointing.FULL, 2),
    }


def test_the_least_of_a_space_has_the_smallest_of_what_grows_and_all_else() -> None:
    space = NARROW._replace(lora_rank=(64, 4, 16), trained_blocks=(3, 1), checkpoint_every=(2, 1))
    assert space.least == space._replace(lora_rank=(4,), trained_blocks=(1,))


def test_strategies_that_differ_in_what_grows_are_one_chain_in_rising_order() -> None:
    space = NARROW._replace(finetuning=(Finetuning.LORA, Finetuning.FULL), optimizer=(Optimizer.ADAMW,))
    chains, rejected = space._replace(lora_rank=(64, 4, 16)).valid(ONE)
    assert not rejected
    lora, full = chains
    assert lora == Chain(lora.least, "finetuning", (Lora(4), Lora(16), Lora(64)))
    assert (lora.least.finetuning, full.length, full.least.finetuning.method) == (Lora(4), 1, Finetuning.FULL)


def test_a_chain_that_cannot_run_is_rejected_as_a_whole() -> None:
    space = NARROW._replace(
        finetuning=(Finetuning.LORA,), optimizer=(Optimizer.GALORE, Optimizer.ADAMW), lora_rank=(4, 8, 16)
    )
    chains, rejected = space.valid(ONE)
    assert [chain.least.optimizer for chain in chains] == [Optimizer.ADAMW]
    assert rejected == {"galore is made for whole weights, not for adapters": 3}
    assert space.counted(ONE) == (3, rejected)


def test_sizes_that_cannot_divide_the_ranks_are_left_out_unless_there_are_no_others() -> None:
    space = NARROW._replace(
        sharding=(Sharding.FULL_SHARD, Sharding.HYBRID_SHARD), reshard_size=(0, 3, 4, 8), shard_size=(2, 8, 16)
    )
    assert space.divisible(EIGHT) == space._replace(reshard_size=(0, 4), shard_size=(2,))
    none = space._replace(reshard_size=(3,), shard_size=(16,))
    assert none.divisible(EIGHT) == none
    # Two ways to reshard and one to make replicas, each with two ways to reduce; 3 optimizers of full fine-tuning, LoRA
    # and 4 of QLoRA.
    assert space.num_divisible(EIGHT) == 3 * 2 * 8
