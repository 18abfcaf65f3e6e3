"""Reads the runs of LLMFineTuningBench: their peaks are what NVML says is used of a GPU."""

from __future__ import annotations

from typing import Any

from published.data_files import csv_rows
from published.libraries import then
from published.libraries.contexts import Contexts, of_other_ranks
from published.run import Engine, Run, Term
from published.sets.requests import BEFORE_TORCH_2_8, FSDP1
from published.throughput.step_times import Timed

from hardware import MIB, load_catalog
from planner.memory.requests.fsdp1_recorded import Wraps
from planner.models import find_model

SOURCE = "LLMFineTuningBench"
FULL_PERCENT = 90
"""Share of a GPU from which on the allocator gives cached memory back: a peak then says only that the run fitted."""

FILLED_PERCENT = 99.99
"""The same from which on managed memory was moved to the host: tensors took all of the GPU that it did not hold."""

GPUS = {
    "NVIDIA-A100-SXM4-80GB": ("A100-80GB-SXM", 81920 * MIB),
    "NVIDIA-A100-80GB-PCIe": ("A100-80GB-PCIe", 81920 * MIB),
    "L40S": ("L40S", 46068 * MIB),
    "NVIDIA-H100-PCIe": ("H100-80GB-PCIe", 81559 * MIB),
}
"""Name in the catalog, and NVML's total, of each GPU."""
MODELS = {
    "llama3.1-8b": "llama-3.1-8b",
    "llama3-8b": "llama-3-8b",
    "llama2-70b": "llama-2-70b",
    "mixtral-8x7b-instruct-v0.1": "mixtral-8x7b",
    "granite-3b-code-base-128k": "granite-3b-code-base",
    "granite-8b-code-base": "granite-8b-code-base",
}
"""The planner's names; other models are internal, and their shapes not published."""
TARGETS = {"llama3-8b": ("q_proj", "k_proj")}
USUAL_TARGETS = ("q_proj", "v_proj")
TRANSFORMERS = {"2.1.0": "4.45.2", "2.4.0": "4.45.2"}
"""Version of transformers by that of fms-hf-tuning, where it is known."""
ADDED_WORDS = {"llama3.1-8b": 2, "llama3-8b": 2, "llama2-70b": 1, "mixtral-8x7b-instruct-v0.1": 1}
"""Words that fms-hf-tuning adds, as `published.sets.fms` says; versions before those above round the sum up to 8s."""
CAST_ADAPTERS = "2"
"""First letter of versions of fms-hf-tuning whose PEFT makes adapters fp32 (`autocast_adapter_dtype`)."""

HYBRID = "HYBRID_SHARD"
"""Sharding strategy that the runs with it had on one node, whose replicas are groups of one rank."""

RDMA = 50_000_000_000
"""Bytes per second of a node's network with RDMA: 400 Gb/s, as IBM's nodes of A100 have in the runs of fms-fsdp."""
ETHERNET = 12_500_000_000
"""The same without RDMA; the rate is not published, 100 Gb/s is the planner's default."""

REENTRANT = "0"
"""First letter of versions of fms-hf-tuning whose runs kept Trainer's default, reentrant checkpoints.

Later runs pass `gradient_checkpointing_kwargs` (IBM/ado, plugins/actuators/sfttrainer). The bytes of Llama-2-70B's runs
show it: 3.4 MiB a token, of which the gradients that FSDP1's frozen units keep are 1.3.
"""


def runs() -> list[Run]:
    """Returns all runs with a peak, in the file's order."""
    return [_run(row) for row in rows() if row["gpu_memory_utilization_peak"]]


def rows() -> list[dict[str, str]]:
    """Returns the rows of the file."""
    return csv_rows("llm_fine_tuning_bench.csv")


def timed() -> list[Timed]:
    """Returns the runs of models whose shapes are published with their speed, in the file's order."""
    return [_timed(row) for row in rows() if row["model_name"] in MODELS]


def _timed(row: dict[str, str]) -> Timed:
    run, ranks = _run(row), int(row["number_gpus"])
    loop = then.expert_kernels(find_model(run.model).architecture)
    sharding = "one GPU" if ranks == 1 else "FSDP1" if row["number_nodes"] == "1" else "FSDP1 of several nodes"
    return Timed(
        source=f"HF trainer, {sharding}",
        name=run.name,
        model=run.model,
        # The planner's step with managed states is that of a full GPU; where there is room they stay, as AdamW's do.
        request=dict(run.request) | ({"optimizer": "adamw"} if run.managed and not _is_filled(run) else {}),
        tokens_per_second=float(row["tokens_per_second"]) / ranks,
        machine=(run.model, row["gpu_model"], ranks),
        network=_network(row),
        rdma=_has_rdma(row),
        launched=loop if row["method"] != "gptq-lora" else 0,  # today's quantized experts are a loop, too
        waits=loop > 0,
        slow_host=row["number_nodes"] == "1",  # those of several nodes are whole ones, with all their processors
    )


def _network(row: dict[str, str]) -> int | None:
    """Returns the bytes per second of a node's network; None where there is one node."""
    if row["number_nodes"] == "1":
        return None
    return RDMA if _has_rdma(row) else ETHERNET


def _has_rdma(row: dict[str, str]) -> bool:
    """Returns whether the job asked that nodes exchange by RDMA."""
    return row["enable_roce"] == "1"


def _run(row: dict[str, str]) -> Run:
    name, total = GPUS[row["gpu_model"]]
    ranks = int(row["number_gpus"])
    size, length = int(row["batch_size"]) // ranks, int(row["tokens_per_sample"])
    request, nearest = _request(row, size, length)
    return Run(
        source=SOURCE,
        name=f"{row['method']} {row['model_name']} {ranks} x {name} {size} x {length} {row['fms_hf_tuning_version']}",
        model=MODELS.get(row["model_name"], row["model_name"]),
        engine=Engine.ONE_GPU if ranks == 1 else Engine.FSDP1,
        method=row["method"],
        kernels="Triton kernels" if row["method"] == "gptq-lora" else "transformers",
        tokens=size * length,
        request=request,
        nearest=tuple(nearest),
        unsaid=_unsaid(row),
        device_bytes=round(float(row["gpu_memory_utilization_peak"] or 0) / 100 * total),
        # nvmlMemory_t.used is the "sum of Reserved and Allocated device memory" (NVML API reference). What NVML counts
        # and cudaMemGetInfo, which torch asks for its total, does not, is reserved for the driver and its firmware.
        driver_bytes=total - load_catalog().get(name).memory_bytes,
        then=_then(row),
        loss=TRANSFORMERS.get(row["fms_hf_tuning_version"]) if row["model_name"] in MODELS else None,
        wraps=_wraps(row) if ranks > 1 else None,
        hybrid=ranks > 1 and row["fsdp_sharding_strategy"] == HYBRID,
        contexts=Contexts(of_other_ranks(ranks // int(row["number_nodes"])) if row["method"] == "gptq-lora" else 0),
        added_words=ADDED_WORDS.get(row["model_name"], 0) if row["fms_hf_tuning_version"] in TRANSFORMERS else 0,
        managed="paged" in row["overrides"],
    )


def _wraps(row: dict[str, str]) -> Wraps | None:
    """Returns how FSDP1 wrapped the units of a row, where no choice says it: with fused LoRA, or groups of one rank."""
    gptq, hybrid = row["method"] == "gptq-lora", row["fsdp_sharding_strategy"] == HYBRID
    if not (gptq or hybrid):
        return None
    return Wraps(ahead=gptq, broadcasts=2 if hybrid else 1, buffers=int(gptq), adapters=not gptq)


def is_full(run: Run, percent: float = FULL_PERCENT) -> bool:
    """Returns whether a peak is so near the GPU's size that it tells only that the run fitted."""
    total = run.driver_bytes + load_catalog().get(run.request["gpu"]).memory_bytes
    return run.device_bytes is not None and run.device_bytes >= percent / 100 * total


def _is_filled(run: Run) -> bool:
    """Returns whether managed memory had to give way to tensors."""
    return is_full(run, FILLED_PERCENT)


def _unsaid(row: dict[str, str]) -> str | None:
    if row["model_name"] not in MODELS:
        return "an internal model, its shape is not published"
    return None


def _request(row: dict[str, str], size: int, length: int) -> tuple[dict[str, Any], list[str]]:
    """Returns the request of a row, and what it says by the nearest choice."""
    ranks, nodes, autocast = int(row["number_gpus"]), int(row["number_nodes"]), "bf16=1" in row["overrides"]
    steps = 1 if "gradient_accumulation_steps=1" in row["overrides"] else 4
    nearest = []
    request: dict[str, Any] = {
        "gpu": GPUS[row["gpu_model"]][0],
        "sequence_length": length,
        "micro_batch_size": size,
        "gradient_accumulation_steps": steps,
        "precision": "bf16-mixed" if autocast else "bf16-true",
        "checkpointing": "full-reentrant" if row["fms_hf_tuning_version"].startswith(REENTRANT) else "full",
        "attention": "flash-attention-2",
        "optimizer": "adamw-foreach",
        "allocator": "native",
        "loss": "full",  # of whose requests replays are recorded; "own libraries" has that of `Run.loss`
    }
    if "paged_adamw_32bit" in row["overrides"]:
        request["optimizer"] = "paged-adamw-32bit"
    if row["method"] == "gptq-lora":
        request |= {"quantization": "gptq-4bit-triton", "expert_quantization": "same", "precision": "fp16-mixed"}
        nearest += ["Triton kernels of fms-acceleration: eager", "fused LoRA: PEFT's layers"]
    if row["method"] != "full":
        targets = TARGETS.get(row["model_name"], USUAL_TARGETS)
        finetuning = "qlora" if row["method"] == "gptq-lora" else "lora"
        request |= {"finetuning": finetuning, "lora_rank": 4, "lora_targets": targets, "lora_dropout": 0.05}
        if not row["fms_hf_tuning_version"].startswith(CAST_ADAPTERS):
            request["adapter_dtype"] = "weights"
    elif autocast and ranks == 1:
        request["precision"] = "bf16-true"
        nearest.append("autocast over bf16 weights: bf16-true")
    if ranks > 1:
        request |= {"gpus": ranks // nodes, "nodes": nodes, **FSDP1, **BEFORE_TORCH_2_8}
    return request, nearest


def _then(row: dict[str, str]) -> tuple[Term, ...]:
    """Returns what the row's transformers held and today's does not, where its version is known."""
    found = []
    if row["model_name"] in MODELS and (transformers := TRANSFORMERS.get(row["fms_hf_tuning_version"])):
        architecture = find_model(MODELS[row["model_name"]]).architecture
        if repeated := then.repeated_heads(architecture, transformers, then.HALF):
            found.append(repeated)
    return tuple(found)
