"""The memory model of DeepSpeed beside replays of DeepSpeed's own engine, to a thousandth."""

from __future__ import annotations

import json
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest

import planner
from hardware import load_catalog
from planner.allocator.native import CachingAllocator
from planner.allocator.streams import Stream
from planner.replay import Trace, Workload, replay
from planner.replay.recording.serve import serve
from planner.replay.recording.trace import EMPTY_CACHE, Phase, Section
from strategies import PLAIN, Offload, OverlapComm, Precision, Sharding, Zero

COMMON = {"gpu": "H100-80GB-SXM", "gpus": 2, "sequence_length": 128, "micro_batch_size": 2, "attention": "sdpa"}


@pytest.mark.slow
@pytest.mark.parametrize(
    "choices",
    [
        {"sharding": "zero1", "sharding_backend": "deepspeed", "gradient_accumulation_steps": 2},
        {"sharding": "zero2", "finetuning": "lora", "precision": "bf16-true"},
        {"sharding": "zero2", "optimizer": "adamw-8bit", "overlap_comm": "yes", "reduce_bucket": 20_000_000},
        {"sharding": "zero2", "precision": "fp8-mixed"},
        {"sharding": "zero3", "precision": "fp8-mixed", "checkpointing": "full", "max_reuse_distance": 1},
        {"sharding": "zero3", "checkpointing": "full"},
        {"sharding": "zero3", "finetuning": "lora", "checkpointing": "full", "prefetch_bucket": 5_000_000},
        {"sharding": "zero1", "sharding_backend": "deepspeed", "offload": "optimizer", "gpus": 1},
        {"sharding": "zero2", "gpus": 1, "gradient_accumulation_steps": 2},
        {"sharding": "zero3", "gpus": 1, "finetuning": "qlora", "checkpointing": "full"},
        {"sharding": "zero2", "offload": "optimizer", "gradient_accumulation_steps": 2},
        {"sharding": "zero3", "offload": "optimizer", "finetuning": "bitfit"},
        {"sharding": "zero3", "offload": "cpu", "precision": "fp32", "gradient_accumulation_steps": 2},
        {"sharding": "zero3", "precision": "fp16-mixed", "sub_group_size": 1_000_000},
        {"sharding": "zero3", "precision": "fp16-mixed", "offload": "cpu", "checkpointing": "full"},
        {"sharding": "zero2", "finetuning": "qlora", "gpus": 8},
        {"sharding": "zero2", "finetuning": "qlora", "quantization": "int8", "unquantized_dtype": "bf16"},
        {"sharding": "zero3", "finetuning": "qlora", "quantization": "nf4-double", "checkpointing": "full"},
        {"sharding": "zero3", "finetuning": "qlora", "persistence_threshold": 1000, "offload": "cpu"},
        {"sharding": "zero2", "loss": "chunked"},
        {"sharding": "zero3", "loss": "chunked", "finetuning": "lora", "checkpointing": "full"},
        {"sharding": "zero3", "loss": "chunked", "max_reuse_distance": 1, "prefetch_bucket": 1_000_000},
        {"sharding": "zero3", "finetuning": "lora", "trained_modules": "embeddings-and-head", "max_reuse_distance": 1},
        {"sharding": "zero3", "evaluation_batch_size": 8},
        {"sharding": "zero3", "evaluation_batch_size": 8, "loss": "chunked", "max_reuse_distance": 4_000_000},
    ],
    ids=lambda x: " ".join(map(str, x.values())),
)
def test_the_model_equals_the_replay(choices: dict[str, Any]) -> None:
    result = planner.verify("pythia-70m", **{**COMMON, **choices})
    replayed = max(phase.replay_bytes for phase in result.phases.values())
    predicted = max(phase.model_bytes for phase in result.phases.values())
    assert predicted == pytest.approx(replayed, rel=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("finetuning", ["full", "lora"])
def test_with_ligers_kernels_and_loss_the_model_equals_the_replay(finetuning: str) -> None:
    liger = {"kernels": "liger", "loss": "liger-fused-linear", "persistence_threshold": 0, "finetuning": finetuning}
    result = planner.verify("smollm2-135m", **{**COMMON, "sharding": "zero3", **liger})
    for phase in result.phases.values():
        assert phase.model_bytes == pytest.approx(phase.replay_bytes, rel=1e-3)


MIXTURE = {
    "model_type": "mixtral",
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 1000,
    "max_position_embeddings": 256,
    "num_local_experts": 8,
    "num_experts_per_tok": 2,
}
"""The config.json of a mixture that is small enough for a replay of all its blocks."""

ONE_BY_ONE = {"max_reuse_distance": 1, "persistence_threshold": 1, "prefetch_bucket": 1, "reduce_bucket": 100_000}
"""Options of ZeRO-3 with which no module's weights stay until they are used again, as those of large models do not."""


@pytest.mark.slow
@pytest.mark.parametrize(
    "choices",
    [
        {},
        ONE_BY_ONE,
        {**ONE_BY_ONE, "checkpointing": "full", "evaluation_batch_size": 4},
        {**ONE_BY_ONE, "finetuning": "lora", "lora_targets": "q_proj,v_proj"},
    ],
    ids=lambda x: " ".join(map(str, x.values())),
)
@pytest.mark.parametrize("family", ["mixtral", "olmoe"])
def test_a_mixture_divided_by_zero3_takes_what_the_replay_says(
    family: str, choices: dict[str, Any], tmp_path: Path
) -> None:
    fields = {**MIXTURE, "model_type": family, "intermediate_size": 256, "num_experts": 8}
    (tmp_path / "config.json").write_text(json.dumps(fields))
    how = {**COMMON, "sharding": "zero3", "sequence_length": 64, **choices}
    phases = planner.verify(str(tmp_path), **how).phases.values()
    replayed, predicted = (max(found) for found in zip(*((p.replay_bytes, p.model_bytes) for p in phases), strict=True))
    assert predicted == pytest.approx(replayed, rel=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize(
    "choices", [ONE_BY_ONE, {**ONE_BY_ONE, "finetuning": "lora", "checkpointing": "full"}], ids=["full", "lora"]
)
@pytest.mark.parametrize("fields", [{}, {"new_decoder_architecture": True, "num_kv_heads": 2, "bias": True}])
def test_views_that_falcon_multiplies_by_keep_weights_that_zero3_has_let_go_of(
    fields: dict[str, Any], choices: dict[str, Any], tmp_path: Path
) -> None:
    falcon = {"model_type": "falcon", "num_hidden_layers": 4, "hidden_size": 256, "num_attention_heads": 4}
    (tmp_path / "config.json").write_text(json.dumps({**falcon, "vocab_size": 1000, **fields}))
    phases = planner.verify(str(tmp_path), **{**COMMON, "sharding": "zero3", **choices}).phases.values()
    replayed, predicted = (max(found) for found in zip(*((p.replay_bytes, p.model_bytes) for p in phases), strict=True))
    assert predicted == pytest.approx(replayed, rel=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize(
    "choices",
    [
        {"sharding": "zero1", "sharding_backend": "deepspeed", "gradient_accumulation_steps": 2},
        {"sharding": "zero2", "finetuning": "lora", "checkpointing": "full", "reduce_bucket": 100_000},
    ],
    ids=["zero1", "zero2"],
)
def test_gradients_of_a_compiled_block_come_together(choices: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({**MIXTURE, "model_type": "llama"}))
    for phase in planner.verify(str(tmp_path), **{**COMMON, "kernels": "compile", **choices}).phases.values():
        assert phase.model_bytes == pytest.approx(phase.replay_bytes, rel=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize(
    "choices", [{"sharding": "zero2"}, {"sharding": "zero3", **ONE_BY_ONE}], ids=["zero2", "zero3"]
)
def test_routers_that_transformers_keeps_in_fp32_are_cast_by_deepspeed(choices: dict[str, Any], tmp_path: Path) -> None:
    mixture = {"moe_intermediate_size": 128, "n_routed_experts": 8, "n_group": 2, "topk_group": 1}
    heads = {"kv_lora_rank": 64, "q_lora_rank": 64, "qk_rope_head_dim": 16, "qk_nope_head_dim": 32, "v_head_dim": 32}
    fields = {**MIXTURE, "model_type": "deepseek_v3", "first_k_dense_replace": 1, "num_key_value_heads": 4}
    (tmp_path / "config.json").write_text(json.dumps({**fields, **mixture, **heads}))
    phases = planner.verify(str(tmp_path), **{**COMMON, **choices}).phases.values()
    replayed, predicted = (max(found) for found in zip(*((p.replay_bytes, p.model_bytes) for p in phases), strict=True))
    assert predicted == pytest.approx(replayed, rel=1e-3)


ADAPTED = {**ONE_BY_ONE, "finetuning": "lora", "lora_targets": "q_proj,v_proj"}
RECOMPUTED = {**ONE_BY_ONE, "persistence_threshold": 1000, "checkpointing": "full"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "choices"),
    [
        ("gpt_oss", {}),
        ("gpt_oss", ONE_BY_ONE),
        ("gpt_oss", ADAPTED),
        ("gpt_oss", RECOMPUTED),
        ("llama4_text", ONE_BY_ONE),
        ("llama4_text", ADAPTED),
        ("llama4_text", RECOMPUTED),
    ],
)
def test_experts_that_are_modules_of_their_own_are_gathered_by_zero3(
    family: str, choices: dict[str, Any], tmp_path: Path
) -> None:
    of_experts = {"intermediate_size": 256, "intermediate_size_mlp": 512, "interleave_moe_layer_step": 1}
    fields = {**MIXTURE, "model_type": family, "head_dim": 64, **of_experts}
    (tmp_path / "config.json").write_text(json.dumps(fields))
    how = {**COMMON, "attention": "eager", "sharding": "zero3", **choices}
    phases = planner.verify(str(tmp_path), **how).phases.values()
    replayed, predicted = (max(found) for found in zip(*((p.replay_bytes, p.model_bytes) for p in phases), strict=True))
    assert predicted == pytest.approx(replayed, rel=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("tied", [True, False])
def test_an_evaluation_releases_what_training_has_released(tied: bool, tmp_path: Path) -> None:
    fields = {**MIXTURE, "model_type": "llama", "tie_word_embeddings": tied}
    (tmp_path / "config.json").write_text(json.dumps(fields))
    evaluated = {**ONE_BY_ONE, "checkpointing": "full", "evaluation_batch_size": 4}
    evaluation = planner.verify(str(tmp_path), **{**COMMON, "sharding": "zero3", **evaluated}).phases["evaluation"]
    assert evaluation.model_bytes == pytest.approx(evaluation.replay_bytes, rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("tied", [True, False])
def test_zero1_keeps_gradients_beyond_the_bucket_that_other_ranks_step(tied: bool, tmp_path: Path) -> None:
    fields = {**MIXTURE, "model_type": "llama", "num_hidden_layers": 2, "vocab_size": 8000, "tie_word_embeddings": tied}
    (tmp_path / "config.json").write_text(json.dumps(fields))
    how = {**COMMON, "sequence_length": 16, "micro_batch_size": 1, "sharding": "zero1", "sharding_backend": "deepspeed"}
    backward = planner.verify(str(tmp_path), **how).phases["backward"]
    assert backward.model_bytes == pytest.approx(backward.replay_bytes, rel=1e-4)


def replayed(**zero: object) -> Trace:
    strategy = PLAIN._replace(precision=Precision.BF16_MIXED, sharding=Zero(**zero))  # type: ignore[arg-type]
    return replay(planner.find_model("pythia-70m").source, strategy, Workload(64, 1, world_size=2))


@pytest.mark.slow
@pytest.mark.parametrize("offload", [Offload.NONE, Offload.OPTIMIZER])
@pytest.mark.parametrize("choice", [Sharding.ZERO1, Sharding.SHARD_GRAD_OP])
def test_while_weights_are_laid_out_in_flat_tensors_the_gpu_has_them_once(choice: Sharding, offload: Offload) -> None:
    trace = replayed(choice=choice, offload=offload)
    loading, *_ = trace.sections
    assert loading.phase is Phase.LOADING
    assert EMPTY_CACHE in loading.events
    parameters = planner.find_model("pythia-70m").num_parameters
    fp32, half = (0 if offload is Offload.OPTIMIZER else 4 * parameters // 2), 2 * parameters // 2
    at_setup = max(half + fp32, 2 * fp32)  # a copy of this rank's share, masters, and first gradients of zeros
    assert _peak(loading) == pytest.approx(2 * parameters + at_setup, rel=0.01)
    if offload is Offload.OPTIMIZER:
        asked = {"sharding": choice, "sharding_backend": "deepspeed", "offload": offload}
        moments = planner.estimate("pythia-70m", **{**COMMON, **asked}).memory.moments
        workspaces = 2 * load_catalog().get("H100-80GB-SXM").cublas_workspace_bytes
        assert moments["loading"] - workspaces == pytest.approx(_peak(loading), rel=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("offload", [Offload.NONE, Offload.OPTIMIZER, Offload.CPU])
def test_where_zero3_divides_weights_as_they_are_made_no_gpu_has_them_all(offload: Offload) -> None:
    loading, *_ = replayed(choice=Sharding.FULL_SHARD, offload=offload).sections
    parameters = planner.find_model("pythia-70m").num_parameters
    shares = 2 * parameters // 2
    # the largest weight with a copy, after the other shares; or masters with gradients, both in fp32
    divided = shares + 2 * 2 * 50304 * 512
    kept = 2 * 2 * shares + 2 * shares if offload is Offload.NONE else 0
    assert _peak(loading) <= max(divided, kept)


def _peak(section: Section) -> int:
    return max(accumulate(event.size for event in section.events))


@pytest.mark.slow
def test_gradients_are_reduced_on_a_stream_of_their_own_where_communication_overlaps() -> None:
    overlapping = replayed(choice=Sharding.SHARD_GRAD_OP, overlap_comm=OverlapComm.YES, reduce_bucket=30_000_000)
    alone = replayed(choice=Sharding.SHARD_GRAD_OP, overlap_comm=OverlapComm.NO, reduce_bucket=30_000_000)
    assert {label.stream for label in alone.labels.values()} == {Stream.COMPUTE}
    reduced = [label for label in overlapping.labels.values() if label.stream is Stream.REDUCE]
    assert {label.name for label in reduced if label.category == "gradients"} == {"averaged gradients"}
    buckets = [label for label in overlapping.labels.values() if label.shared]
    assert buckets
    assert all(label.stream is Stream.COMPUTE for label in buckets)
    served = serve(overlapping, CachingAllocator())
    on_one = [label._replace(stream=Stream.COMPUTE, shared=False) for label in overlapping.labels.values()]
    joined = overlapping._replace(labels=dict(zip(overlapping.labels, on_one, strict=True)))
    assert served.reserved_bytes > serve(joined, CachingAllocator()).reserved_bytes
