"""Each rule refuses what its library cannot do, with the reason, and accepts what is next to it."""

from __future__ import annotations

from typing import Any

import pytest

from hardware import Cluster, load_catalog
from strategies import (
    PLAIN,
    AdapterDtype,
    Allocator,
    Attention,
    BitFit,
    Checkpointing,
    Checkpoints,
    Freeze,
    Fsdp1,
    Fsdp2,
    Full,
    Kernels,
    Lora,
    LoraVariant,
    Loss,
    Method,
    Optimizer,
    Precision,
    Quantization,
    Replicated,
    Sharding,
    Strategy,
    TrainedModules,
    UnquantizedDtype,
    Update,
    indivisible,
    violation,
)
from strategies.rules import exclusion

CATALOG = load_catalog()
BF16 = PLAIN._replace(precision=Precision.BF16_MIXED, optimizer=Optimizer.ADAMW)


def on(gpu: str, gpus: int = 1) -> Cluster:
    return Cluster(CATALOG.get(gpu), gpus)


A100, TWO_A100S = on("A100-80GB-SXM"), on("A100-80GB-SXM", 2)


def refused(strategy: Strategy, cluster: Cluster = A100) -> str:
    """The reason, or nothing."""
    return violation(strategy, cluster) or ""


def gpus_that_run(**choices: Any) -> set[str]:
    """Names of the catalog's GPUs, each alone."""
    strategy = PLAIN._replace(**choices)
    return {gpu.name for gpu in CATALOG.gpus if violation(strategy, Cluster(gpu)) is None}


def of_generation(*prefixes: str) -> set[str]:
    """Those of a compute capability that begins so."""
    return {gpu.name for gpu in CATALOG.gpus if gpu.compute_capability.startswith(prefixes)}


NVIDIA = {gpu.name for gpu in CATALOG.gpus if gpu.vendor == "nvidia"}
AMD = {gpu.name for gpu in CATALOG.gpus if gpu.vendor == "amd"}
GAUDI = {gpu.name for gpu in CATALOG.gpus if gpu.vendor == "intel"}
EVERY = NVIDIA | AMD | GAUDI
BEFORE_AMPERE = of_generation("6.", "7.")


# --- what ranks cannot divide ---


def test_one_gpu_has_nobody_to_shard_with() -> None:
    assert indivisible(Replicated(), 1) is None
    assert indivisible(Replicated(Sharding.ZERO1), 1) == "one GPU has nobody to divide its optimizer's states with"
    assert indivisible(Replicated(Sharding.ZERO1), 2) is None
    for choice in (Sharding.SHARD_GRAD_OP, Sharding.FULL_SHARD, Sharding.HYBRID_SHARD):
        assert indivisible(Fsdp2(choice), 1) == "one GPU has nothing to shard over"


@pytest.mark.parametrize("ranks", [8, 12])
def test_groups_are_smaller_than_the_ranks_and_divide_them(ranks: int) -> None:
    sizes = range(ranks + 2)
    hybrid = {n for n in sizes if indivisible(Fsdp2(Sharding.HYBRID_SHARD, shard_size=n), ranks) is None}
    resharded = {n for n in sizes if indivisible(Fsdp2(reshard_size=n), ranks) is None}
    divisors = {n for n in range(1, ranks) if ranks % n == 0}
    assert hybrid == divisors
    assert resharded == {0, *divisors}
    assert indivisible(Fsdp2(Sharding.SHARD_GRAD_OP), ranks) is None
    assert indivisible(Fsdp2(Sharding.HYBRID_SHARD, shard_size=5), ranks) == (
        f"{ranks} GPUs make replicas of a smaller number of shards that divides {ranks}"
    )


def test_what_ranks_cannot_divide_is_told_before_anything_else() -> None:
    wrong = BF16._replace(optimizer=Optimizer.ADAFACTOR, sharding=Fsdp2(reshard_size=3))
    assert refused(wrong, TWO_A100S).startswith("parameters of 2 shards are resharded")
    assert exclusion(wrong, TWO_A100S) == "transformers' Adafactor does not run on parameters that FSDP2 has sharded"
    assert exclusion(PLAIN, A100) is None


# --- what a GPU lacks ---


@pytest.mark.parametrize(
    ("precision", "lacking"),
    [
        (Precision.FP32, set()),
        (Precision.TF32, BEFORE_AMPERE | GAUDI | (AMD - of_generation("gfx942"))),
        (Precision.FP16_MIXED, set()),
        (Precision.BF16_MIXED, BEFORE_AMPERE),
        (Precision.BF16_TRUE, BEFORE_AMPERE),
        (Precision.FP8_MIXED, BEFORE_AMPERE | of_generation("8.0", "8.6", "gfx90")),
    ],
)
def test_a_precision_runs_where_the_gpu_has_its_dtypes(precision: Precision, lacking: set[str]) -> None:
    assert EVERY - gpus_that_run(precision=precision) == lacking


def test_a_missing_dtype_is_named() -> None:
    fp8 = PLAIN._replace(precision=Precision.FP8_MIXED)
    assert refused(BF16, on("T4")) == "T4 has no bf16"
    assert refused(fp8, on("T4")) == "T4 has no bf16"
    assert refused(fp8, on("A100-40GB-SXM")) == "A100-40GB-SXM has no fp8"
    assert refused(PLAIN._replace(precision=Precision.TF32), on("T4")) == "T4 has no tf32"


def test_flash_attention_runs_on_the_gpus_that_its_kernels_are_built_for() -> None:
    half = {"precision": Precision.FP16_MIXED}
    assert gpus_that_run(**half, attention=Attention.FLASH_2) == NVIDIA - BEFORE_AMPERE
    assert gpus_that_run(**half, attention=Attention.FLASH_3) == of_generation("9.0")
    for attention in (Attention.EAGER, Attention.SDPA, Attention.SDPA_EFFICIENT):
        assert gpus_that_run(**half, attention=attention) == EVERY
    assert refused(BF16._replace(attention=Attention.FLASH_3)) == (
        "flash-attention-3 has no CUDA kernels for A100-80GB-SXM"
    )


@pytest.mark.parametrize(
    ("precision", "runs"),
    [
        (Precision.FP32, False),
        (Precision.TF32, False),
        (Precision.FP16_MIXED, True),
        (Precision.BF16_MIXED, True),
        (Precision.BF16_TRUE, True),
    ],
)
def test_flash_attention_computes_in_half_precision_only(precision: Precision, runs: bool) -> None:
    reason = refused(PLAIN._replace(precision=precision, attention=Attention.FLASH_2))
    assert reason == ("" if runs else "flash-attention-2 computes in half precision only")


@pytest.mark.parametrize(
    "choices",
    [
        {"kernels": Kernels.LIGER},
        {"kernels": Kernels.COMPILE},
        {"loss": Loss.LIGER_CROSS_ENTROPY},
        {"loss": Loss.LIGER_FUSED_LINEAR},
        {"loss": Loss.FLASH_CROSS_ENTROPY},
        {"loss": Loss.COMPILED},
        {"loss": Loss.CUT_CROSS_ENTROPY},
        {"attention": Attention.FLEX},
    ],
    ids=lambda choices: next(iter(choices.values())),
)
def test_triton_is_needed_by_liger_flex_attention_and_compilation(choices: dict[str, Any]) -> None:
    reason = refused(PLAIN._replace(**choices), on("Gaudi2"))
    needs = "liger-kernel, flash-attn's loss, flex_attention, torch.compile and cut cross-entropy"
    assert reason == f"Gaudi2 has no Triton, which {needs} need"
    assert "no Triton" in refused(PLAIN._replace(**choices), on("P100"))
    assert "no Triton" not in refused(PLAIN._replace(**choices), on("V100"))
    assert "no Triton" not in refused(PLAIN._replace(**choices), on("MI300X"))


def test_what_needs_no_triton_runs_without_it() -> None:
    assert gpus_that_run(loss=Loss.CHUNKED) == gpus_that_run(loss=Loss.FULL) == EVERY


def test_expandable_segments_are_cudas_and_rocms() -> None:
    assert gpus_that_run(allocator=Allocator.EXPANDABLE) == NVIDIA | AMD
    reason = refused(PLAIN._replace(allocator=Allocator.EXPANDABLE), on("Gaudi2"))
    assert reason == "Gaudi2 has no expandable segments"


# --- compiled blocks ---

COMPILED = BF16._replace(kernels=Kernels.COMPILE)
FLASH_ONLY = "compiled blocks have an account for SDPA's flash kernel alone: half precision, newer GPUs"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({}, ""),
        ({"precision": Precision.BF16_TRUE}, ""),
        ({"precision": Precision.FP16_MIXED}, ""),
        ({"precision": Precision.FP32}, FLASH_ONLY),
        ({"precision": Precision.TF32}, FLASH_ONLY),
        ({"attention": Attention.EAGER}, FLASH_ONLY),
        ({"attention": Attention.SDPA_EFFICIENT}, FLASH_ONLY),
        ({"attention": Attention.FLASH_2}, FLASH_ONLY),
        ({"checkpointing": Checkpoints(Checkpointing.FULL)}, ""),
        ({"checkpointing": Checkpoints(Checkpointing.FULL, 2)}, "of all blocks as a whole, or of none"),
        ({"checkpointing": Checkpoints(Checkpointing.OFFLOAD)}, "of all blocks as a whole, or of none"),
        ({"checkpointing": Checkpoints(Checkpointing.SELECTIVE_MATMULS)}, "of all blocks as a whole, or of none"),
        ({"update": Update.IN_BACKWARD}, "no account of updates in backward"),
        ({"finetuning": Lora()}, ""),
        ({"finetuning": Lora(variant=LoraVariant.DORA)}, "an account for plain LoRA without dropout"),
        ({"finetuning": Lora(variant=LoraVariant.RSLORA)}, "an account for plain LoRA without dropout"),
        ({"finetuning": Lora(dropout=0.1)}, "an account for plain LoRA without dropout"),
        ({"finetuning": Lora(quantization=Quantization.NF4)}, "no account of bitsandbytes' layers"),
        ({"finetuning": Lora(quantization=Quantization.GPTQ)}, "no account of GPTQModel's layers"),
        ({"finetuning": Freeze()}, "no account of freeze, where parts of a block train"),
        ({"finetuning": BitFit()}, "no account of bitfit, where parts of a block train"),
    ],
    ids=lambda x: " ".join(map(str, x.values())) if isinstance(x, dict) else "",
)
def test_compiled_blocks_are_refused_where_they_have_no_account(change: dict[str, Any], reason: str) -> None:
    found = refused(COMPILED._replace(**change))
    assert reason in found
    assert bool(found) == bool(reason)
    assert not refused(COMPILED._replace(**change, kernels=Kernels.EAGER))


def test_compiled_blocks_need_the_flash_kernel_of_newer_gpus() -> None:
    half = COMPILED._replace(precision=Precision.FP16_MIXED)
    assert refused(half, on("T4")) == FLASH_ONLY
    assert refused(half, on("MI300X")) == ""


def test_compiled_blocks_have_no_account_of_fp8() -> None:
    fp8 = COMPILED._replace(precision=Precision.FP8_MIXED)
    assert refused(fp8, on("H100")) == "compiled blocks have no account of products in fp8"


# --- fine-tuning ---

BY_BITSANDBYTES = [quantization for quantization in Quantization if quantization.by_bitsandbytes]
FROM_CHECKPOINT = [quantization for quantization in Quantization if quantization.from_checkpoint]


def test_fsdp1_has_no_gptq_but_autogptqs_and_no_reentrant_checkpoint_beside_blocks_without_one() -> None:
    gptq = PLAIN._replace(precision=Precision.FP16_MIXED, optimizer=Optimizer.ADAMW, sharding=Fsdp1())

    def told(quantization: Quantization, every: int = 1) -> str:
        checkpointing = Checkpoints(Checkpointing.FULL_REENTRANT, every)
        strategy = gptq._replace(finetuning=Lora(quantization=quantization), checkpointing=checkpointing)
        return refused(strategy, TWO_A100S)

    assert told(Quantization.GPTQ) == "gptq-4bit weights cannot be sharded by FSDP1"
    assert told(Quantization.GPTQ_TRITON) == ""
    assert "checkpoint_every 1" in told(Quantization.GPTQ_TRITON, every=2)


def test_autogptqs_kernel_multiplies_in_fp16() -> None:
    triton = BF16._replace(finetuning=Lora(quantization=Quantization.GPTQ_TRITON))
    reason = "AutoGPTQ's Triton kernel multiplies in fp16: it needs a precision in fp16"
    for precision in (Precision.BF16_MIXED, Precision.BF16_TRUE, Precision.FP32, Precision.TF32):
        assert refused(triton._replace(precision=precision), on("A100-40GB")) == reason
    for precision in (Precision.FP16_MIXED, Precision.FP16_TRUE):
        assert refused(triton._replace(precision=precision), on("A100-40GB")) == ""


def test_what_is_not_quantized_has_fp32_or_the_dtype_of_the_computation() -> None:
    def told(dtype: UnquantizedDtype, precision: Precision, quantization: Quantization) -> str:
        method = Lora(quantization=quantization, unquantized_dtype=dtype)
        return refused(BF16._replace(finetuning=method, precision=precision), on("A100-40GB"))

    other = "weights in fp16 that are not quantized go with a precision that computes in fp16"
    assert told(UnquantizedDtype.BF16, Precision.BF16_MIXED, Quantization.NF4) == ""
    assert told(UnquantizedDtype.BF16, Precision.BF16_TRUE, Quantization.INT8) == ""
    assert told(UnquantizedDtype.FP16, Precision.FP16_MIXED, Quantization.AWQ) == ""
    assert told(UnquantizedDtype.FP16, Precision.BF16_MIXED, Quantization.NF4) == other
    assert "PEFT prepares no GPTQ model" in told(UnquantizedDtype.BF16, Precision.BF16_MIXED, Quantization.GPTQ)
    assert told(UnquantizedDtype.FP32, Precision.BF16_MIXED, Quantization.GPTQ) == ""


@pytest.mark.parametrize("quantization", [*BY_BITSANDBYTES, *FROM_CHECKPOINT])
def test_of_quantized_bases_only_nf4_can_be_sharded(quantization: Quantization) -> None:
    strategy = PLAIN._replace(precision=Precision.FP16_MIXED, finetuning=Lora(quantization=quantization))
    kind = quantization.partition("-")[0].upper()
    told = "" if kind == "NF4" else f"{kind} weights cannot be sharded by FSDP2"
    assert refused(strategy._replace(sharding=Fsdp2()), TWO_A100S) == told
    assert refused(strategy, TWO_A100S) == ""
    assert refused(strategy._replace(sharding=Replicated(Sharding.ZERO1)), TWO_A100S) == ""
    assert refused(strategy._replace(finetuning=Lora(), sharding=Fsdp2()), TWO_A100S) == ""


@pytest.mark.parametrize("quantization", BY_BITSANDBYTES)
def test_bitsandbytes_layers_run_on_cuda_gaudi_and_newer_cdna(quantization: Quantization) -> None:
    without = {gpu.name for gpu in CATALOG.gpus if not gpu.supports_bitsandbytes}
    assert without == {CATALOG.get("MI100").name}
    method = Lora(quantization=quantization)
    assert gpus_that_run(finetuning=method) == EVERY - without
    assert refused(PLAIN._replace(finetuning=method), on("MI100")).startswith("bitsandbytes does not run on MI100")


@pytest.mark.parametrize("quantization", FROM_CHECKPOINT)
def test_gptqmodels_kernels_are_for_cuda(quantization: Quantization) -> None:
    method = Lora(quantization=quantization)
    assert gpus_that_run(finetuning=method, precision=Precision.FP16_TRUE) == NVIDIA
    reason = refused(PLAIN._replace(finetuning=method), on("Gaudi2"))
    assert reason == "GPTQModel's Triton kernels are for CUDA, not for Gaudi2"


FP16 = PLAIN._replace(precision=Precision.FP16_MIXED, optimizer=Optimizer.ADAMW)
ADAPTERS_IN_FP16 = "gradient scaling refuses adapters in fp16"
MODULES_IN_FP16 = "gradient scaling refuses trained modules in fp16, which PEFT leaves them in"
HEAD, NF4 = TrainedModules.HEAD, Quantization.NF4


@pytest.mark.parametrize(
    ("method", "reason"),
    [
        (Lora(), ""),
        (Lora(adapter_dtype=AdapterDtype.WEIGHTS), ADAPTERS_IN_FP16),
        (Lora(trained_modules=HEAD), MODULES_IN_FP16),
        (Lora(trained_modules=TrainedModules.EMBEDDINGS), MODULES_IN_FP16),
        (Lora(quantization=Quantization.GPTQ, trained_modules=HEAD), MODULES_IN_FP16),
        (Lora(quantization=Quantization.GPTQ), ""),
        (Lora(quantization=Quantization.AWQ, trained_modules=HEAD), ""),
        (Lora(quantization=Quantization.NF4, trained_modules=HEAD), ""),
        (Freeze(trained_modules=HEAD), ""),
    ],
    ids=str,
)
def test_gradient_scaling_takes_no_gradients_in_fp16(method: Method, reason: str) -> None:
    assert refused(FP16._replace(finetuning=method)) == reason
    assert refused(BF16._replace(finetuning=method)) == ""


def test_fsdp_scales_gradients_of_adapters_that_accelerate_raises_to_fp32() -> None:
    whole = Lora(adapter_dtype=AdapterDtype.WEIGHTS)
    packed = whole._replace(quantization=NF4, unquantized_dtype=UnquantizedDtype.FP16)
    for method, sharding, reason in (
        (whole, Fsdp1(), ""),
        (whole, Fsdp2(), ""),
        (packed, Fsdp1(), ""),
        (packed, Fsdp2(), ADAPTERS_IN_FP16),
    ):
        assert refused(FP16._replace(finetuning=method, sharding=sharding), on("H100", 2)) == reason


@pytest.mark.parametrize(
    ("quantization", "reason"),
    [
        (Quantization.NONE, ""),
        (Quantization.NF4, ""),
        (Quantization.INT8, ""),
        (Quantization.GPTQ, "PEFT has no DoRA over GPTQ"),
        (Quantization.AWQ, "PEFT has no DoRA over AWQ"),
    ],
)
def test_peft_has_no_dora_over_gptq_and_awq(quantization: Quantization, reason: str) -> None:
    assert refused(BF16._replace(finetuning=Lora(quantization=quantization, variant=LoraVariant.DORA))) == reason
    assert refused(BF16._replace(finetuning=Lora(quantization=quantization, variant=LoraVariant.RSLORA))) == ""


# --- precision ---


@pytest.mark.parametrize("method", [Full(), Freeze(), BitFit()], ids=lambda method: method.method)
def test_fp16_weights_are_for_frozen_ones(method: Method) -> None:
    strategy = PLAIN._replace(precision=Precision.FP16_TRUE, optimizer=Optimizer.ADAMW)
    assert refused(strategy._replace(finetuning=method)).startswith("fp16 weights cannot train")
    assert refused(strategy._replace(finetuning=Lora())) == ""


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({}, ""),
        ({"finetuning": Lora()}, "fp8-mixed is for whole weights"),
        ({"finetuning": Freeze()}, "fp8-mixed is not derived for layers whose weights are frozen"),
        ({"finetuning": BitFit()}, "fp8-mixed is not derived for layers whose weights are frozen"),
        ({"sharding": Fsdp2()}, "fp8-mixed is not derived for FSDP2"),
        ({"sharding": Replicated(Sharding.ZERO1)}, ""),
    ],
    ids=lambda x: " ".join(map(str, x)) if isinstance(x, dict) else "",
)
def test_fp8_is_for_whole_weights_that_are_not_sharded(change: dict[str, Any], reason: str) -> None:
    found = refused(PLAIN._replace(precision=Precision.FP8_MIXED, **change), on("H100", 2))
    assert reason in found
    assert bool(found) == bool(reason)
    assert refused(BF16._replace(**change), on("H100", 2)) == ""


# --- optimizers and updates ---

UNSHARDED = {
    Optimizer.ADAFACTOR: "transformers' Adafactor does not run on parameters that FSDP2 has sharded",
    Optimizer.ADAMW_8BIT: "bitsandbytes' optimizers do not run on parameters that FSDP2 has sharded",
    Optimizer.PAGED_ADAMW_8BIT: "bitsandbytes' optimizers do not run on parameters that FSDP2 has sharded",
    Optimizer.PAGED_ADAMW_32BIT: "bitsandbytes' optimizers do not run on parameters that FSDP2 has sharded",
    Optimizer.LION: "bitsandbytes' optimizers do not run on parameters that FSDP2 has sharded",
    Optimizer.LION_8BIT: "bitsandbytes' optimizers do not run on parameters that FSDP2 has sharded",
    Optimizer.GALORE: "GaLore and APOLLO do not project gradients that FSDP2 has sharded",
    Optimizer.APOLLO: "GaLore and APOLLO do not project gradients that FSDP2 has sharded",
    Optimizer.APOLLO_MINI: "GaLore and APOLLO do not project gradients that FSDP2 has sharded",
    Optimizer.ADAMW_OFFLOAD: "torchao's CPUOffloadOptimizer is for one GPU",
    Optimizer.ADAMW_FP32_MASTER: "adamw-fp32-master does not take parameters that FSDP2 has sharded: bf16-mixed keeps "
    "fp32 weights there",
}


@pytest.mark.parametrize("sharding", [Sharding.SHARD_GRAD_OP, Sharding.FULL_SHARD])
@pytest.mark.parametrize("optimizer", Optimizer)
def test_an_optimizer_takes_shards_or_says_why_not(optimizer: Optimizer, sharding: Sharding) -> None:
    half = BF16._replace(precision=Precision.BF16_TRUE, optimizer=optimizer)
    assert refused(half._replace(sharding=Fsdp2(sharding)), TWO_A100S) == UNSHARDED.get(optimizer, "")
    whole = UNSHARDED[optimizer] if optimizer is Optimizer.ADAMW_OFFLOAD else ""
    assert refused(half, TWO_A100S) == whole
    assert refused(half) == ""


@pytest.mark.parametrize("optimizer", Optimizer)
def test_an_optimizer_of_bitsandbytes_runs_where_bitsandbytes_does(optimizer: Optimizer) -> None:
    strategy = PLAIN._replace(precision=Precision.BF16_TRUE, optimizer=optimizer)
    of_bitsandbytes = optimizer in UNSHARDED and UNSHARDED[optimizer].startswith("bitsandbytes")
    reason = f"bitsandbytes does not run on {CATALOG.get('MI100').name}" if of_bitsandbytes else ""
    assert refused(strategy, on("MI100")) == reason


COPIES = "weights that train are fp32 already: adamw-fp32-master keeps copies of weights in half precision"


@pytest.mark.parametrize(
    ("precision", "method", "reason"),
    [
        (Precision.BF16_TRUE, Full(), ""),
        (Precision.BF16_TRUE, Freeze(), ""),
        (Precision.BF16_TRUE, BitFit(), ""),
        (Precision.BF16_TRUE, Lora(), COPIES),
        (Precision.FP16_TRUE, Lora(), COPIES),
        (Precision.BF16_MIXED, Full(), COPIES),
        (Precision.FP32, Full(), COPIES),
    ],
)
def test_master_copies_are_for_whole_weights_in_half_precision(
    precision: Precision, method: Method, reason: str
) -> None:
    strategy = PLAIN._replace(precision=precision, finetuning=method)
    assert refused(strategy._replace(optimizer=Optimizer.ADAMW_FP32_MASTER)) == reason
    assert refused(strategy._replace(optimizer=Optimizer.ADAMW)) == ""


@pytest.mark.parametrize("optimizer", [Optimizer.GALORE, Optimizer.APOLLO_MINI, Optimizer.ADAM_MINI])
def test_projections_and_rows_are_of_whole_weights(optimizer: Optimizer) -> None:
    strategy = BF16._replace(optimizer=optimizer)
    assert [refused(strategy._replace(finetuning=method)) for method in (Full(), Freeze(), Lora(), BitFit())] == [
        "",
        "",
        f"{optimizer} is made for whole weights, not for adapters",
        f"{optimizer} is made for whole weights, not for biases",
    ]


@pytest.mark.parametrize(
    ("change", "gpus", "reason"),
    [
        ({}, 1, ""),
        ({}, 2, "an update in backward would not wait for DDP to reduce the gradient"),
        ({"sharding": Replicated(Sharding.ZERO1)}, 2, "an update in backward would not wait for DDP"),
        ({"sharding": Fsdp2()}, 2, ""),
        ({"precision": Precision.FP16_MIXED}, 1, "GradScaler decides on all gradients at once"),
        ({"precision": Precision.FP16_MIXED, "finetuning": Lora()}, 1, "GradScaler decides on all gradients at once"),
        ({"precision": Precision.FP16_TRUE, "finetuning": Lora()}, 1, ""),
        ({"precision": Precision.BF16_TRUE}, 1, ""),
        ({"optimizer": Optimizer.ADAMW_OFFLOAD}, 1, "CPUOffloadOptimizer has hooks of its own"),
        ({"optimizer": Optimizer.ADAFACTOR}, 1, ""),
    ],
    ids=lambda x: " ".join(map(str, x.values())) if isinstance(x, dict) else str(x)[:20],
)
def test_updates_in_backward_need_each_gradient_alone(change: dict[str, Any], gpus: int, reason: str) -> None:
    strategy = BF16._replace(**change)
    found = refused(strategy._replace(update=Update.IN_BACKWARD), on("A100-80GB-SXM", gpus))
    assert reason in found
    assert bool(found) == bool(reason)
    assert refused(strategy, on("A100-80GB-SXM", gpus)) == ""
