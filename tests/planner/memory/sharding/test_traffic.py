"""What a rank exchanges with others and with the host, and what its optimizer step moves."""

from __future__ import annotations

import pytest

from hardware import Cluster, load_catalog
from planner import estimate
from planner.memory import Moved, Traffic, Work
from planner.memory.sharding.account import Parameter, Unit
from planner.memory.sharding.optimizers import rule_of
from planner.memory.step.traffic import hooked_modules
from planner.problem.resolve import resolve_one
from strategies import DataParallel, Fsdp1, Fsdp2, GradientSync, Offload, Optimizer, Replicated, Sharding

A100 = load_catalog().get("A100-40GB-SXM")


def unit(gradients: int, gathered: int = 0, gathered_gradients: int = 0, stored: int = 0) -> Unit:
    return Unit(stored, (), gathered, gradients, gathered_gradients)


EACH = GradientSync.EACH
UNITS = [unit(800, 1600, 1200, 400), unit(160, 320, 240, 80)]
GRADIENTS, GATHERED, WHOLE_GRADIENTS, STORED, STATES = 960, 1920, 1440, 480, 5_000
OPTIMIZER = 3 * GRADIENTS + 2 * STATES
SHARDED = {"sharding": "full_shard", "sharding_backend": "fsdp1"}


def traffic(sharding: DataParallel, gpus: int, nodes: int = 1) -> Traffic:
    return Traffic.of(UNITS, sharding, Cluster(A100, gpus, nodes), STATES)


def test_one_rank_moves_what_its_optimizer_reads_and_writes() -> None:
    assert traffic(Replicated(), 1) == Traffic(optimizer_bytes=OPTIMIZER, gradient_bytes=GRADIENTS)


def test_ddp_reduces_gradients_once_a_step_which_moves_each_twice() -> None:
    assert traffic(Replicated(), 4).step == Moved(within_node=2 * 960 * 3 // 4, hops=12)
    assert traffic(Replicated(), 8, 2).step == Moved(across_nodes=2 * (960 * 15 // 16), hops=60)


def test_under_zero1_each_rank_updates_its_part_and_sends_it_to_the_others() -> None:
    found = traffic(Replicated(Sharding.ZERO1), 4)
    assert found.step.within_node == 3 * 960 * 3 // 4
    assert found.optimizer_bytes == 3 * GRADIENTS // 4 + 2 * STATES


def test_fsdp_gathers_parameters_twice_and_scatters_gradients_in_every_micro_batch() -> None:
    once = (GATHERED + WHOLE_GRADIENTS) * 3 // 4
    both = traffic(Fsdp2(gradient_sync=EACH), 4)
    assert both.micro == Moved(within_node=once + GATHERED * 3 // 4, hops=18)
    assert (both.step, both.units, both.gradient_bytes) == (Moved(), 2, GRADIENTS)
    assert traffic(Fsdp2(Sharding.SHARD_GRAD_OP, gradient_sync=EACH), 4).micro.within_node == once


def test_a_collective_over_several_nodes_uses_the_network_of_whole_nodes() -> None:
    whole = traffic(Fsdp2(gradient_sync=EACH), 8, 2).micro
    assert (whole.across_nodes, whole.within_node) == ((2 * GATHERED + WHOLE_GRADIENTS) * 15 // 16, 0)
    assert whole.hops == 6 * 15


def test_what_is_resharded_to_a_node_is_gathered_again_within_it() -> None:
    found = traffic(Fsdp2(reshard_size=8, gradient_sync=EACH), 8, 2).micro
    once = (GATHERED + WHOLE_GRADIENTS) * 15 // 16
    assert (found.across_nodes, found.within_node) == (once, GATHERED * 7 // 8)
    assert traffic(Fsdp2(reshard_size=1, gradient_sync=EACH), 8, 2).micro.across_nodes == once


def test_replicas_of_shards_reduce_with_their_peers_of_other_nodes() -> None:
    hybrid = traffic(Fsdp2(Sharding.HYBRID_SHARD, shard_size=8, gradient_sync=EACH), 8, 2).micro
    assert hybrid.within_node == (2 * GATHERED + WHOLE_GRADIENTS) * 7 // 8
    assert (hybrid.between_peers, hybrid.across_nodes) == (2 * (WHOLE_GRADIENTS // 8 // 2), 0)
    in_a_node = traffic(Fsdp2(Sharding.HYBRID_SHARD, shard_size=2, gradient_sync=EACH), 4).micro
    assert in_a_node.within_node == GATHERED + WHOLE_GRADIENTS // 2 + 2 * (WHOLE_GRADIENTS // 2 // 2)


def test_gradients_that_wait_for_the_last_micro_batch_are_reduced_once_a_step() -> None:
    near, far = traffic(Fsdp2(), 4), traffic(Fsdp2(), 8, 2)
    assert (near.micro.within_node, near.step.within_node) == (2 * (GATHERED * 3 // 4), WHOLE_GRADIENTS * 3 // 4)
    assert (far.micro.across_nodes, far.step.across_nodes) == (2 * (GATHERED * 15 // 16), WHOLE_GRADIENTS * 15 // 16)


def test_a_recomputation_that_runs_whole_units_waits_for_a_third_gather() -> None:
    cluster = Cluster(A100, 4)
    found = Traffic.of(UNITS, Fsdp1(), cluster, STATES, recomputes_units=True)
    assert found.waited_for == Moved(within_node=GATHERED * 3 // 4, hops=6)
    kept = Traffic.of(UNITS, Fsdp1(Sharding.SHARD_GRAD_OP), cluster, STATES, recomputes_units=True)
    assert kept.waited_for == Traffic.of(UNITS, Fsdp1(), cluster, STATES).waited_for == Moved()


def test_the_host_of_fsdp1_waits_for_the_gpu_and_that_of_fsdp2_does_not() -> None:
    assert traffic(Fsdp1(), 4).lockstep
    assert not traffic(Fsdp2(), 4).lockstep


def test_where_the_host_waits_in_every_block_fsdp1_exchanges_nothing_beside_computation() -> None:
    found = Traffic.of(UNITS, Fsdp1(gradient_sync=EACH), Cluster(A100, 4), STATES, recomputes_units=True)
    waiting = found.waiting()
    assert waiting == found._replace(micro=Moved(), waited_for=found.micro.plus(found.waited_for))
    for other in (Fsdp2(), Replicated()):
        assert traffic(other, 4).waiting() == traffic(other, 4)


def test_a_loop_over_quantized_experts_waits_and_one_product_of_all_does_not() -> None:
    def waited_for(**options: str) -> Moved:
        axes = {"finetuning": "qlora", "unquantized_dtype": "bf16", "precision": "bf16-true"} | SHARDED
        axes |= {"lora_targets": "q_proj,v_proj", **options}
        gpu = load_catalog().get("A100-80GB-SXM")
        _, solver, candidate = resolve_one("mixtral-8x7b", gpu, None, axes, {"gpus": 4, "sequence_length": 512}, 1, 1)
        return solver.model.traffic(candidate.strategy).waited_for

    assert waited_for() == Moved()
    assert waited_for(expert_quantization="same").within_node > 0


def test_zero3_has_hooks_around_the_factors_of_adapters_too() -> None:
    names = ("q.weight", "q.bias", "norm.weight", "q.lora_A", "q.lora_B")
    parts = [unit(0)._replace(parameters=tuple(Parameter(name, 1, 2, True) for name in names))]
    assert hooked_modules(parts) == 4


def test_what_is_offloaded_is_sent_from_the_host_as_often_as_it_is_gathered() -> None:
    offload = Offload.CPU
    full = traffic(Fsdp2(offload=offload), 4)
    assert (full.with_host, full.host_optimizer_bytes, full.optimizer_bytes) == (2 * STORED, OPTIMIZER, 0)
    assert traffic(Fsdp2(reshard_size=2, offload=offload), 4).with_host == max(STORED, GRADIENTS)
    kept = traffic(Fsdp2(Sharding.SHARD_GRAD_OP, offload=offload), 4)
    assert (kept.with_host, kept.micro) == (GRADIENTS, traffic(Fsdp2(Sharding.SHARD_GRAD_OP), 4).micro)


def test_a_foreach_step_passes_over_memory_more_often_than_a_fused_one() -> None:
    assert rule_of(Optimizer.ADAMW_FOREACH).passes_over_memory() == pytest.approx(20 / 7)
    assert rule_of(Optimizer.ADAMW).passes_over_memory() == 1
    seconds = {
        optimizer: estimate("pythia-160m", gpu="A100-80GB-SXM", optimizer=optimizer).time.step_seconds
        for optimizer in ("adamw", "adamw-foreach")
    }
    assert seconds["adamw"] < seconds["adamw-foreach"]


def test_work_adds_up_and_is_multiplied_field_by_field() -> None:
    work = Work(*range(1, 12))
    assert work.plus(Work(*range(10, 120, 10))) == Work(*range(11, 122, 11))
    assert work.times(3) == Work(*range(3, 36, 3))
    assert Work.of((1, 2, 3, 4, 5, 6, 7, 8, 9, 10)) == Work(1, 2, 4, 5, 0, 3, 6, 7, 8, 9, 10)
