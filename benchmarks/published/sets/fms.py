"""Reads the runs of fms-acceleration: alpaca packed to 4,096 tokens on 1, 2 and 4 A100-80GB."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml
from published.data_files import DATA
from published.libraries import then
from published.libraries.contexts import Contexts, of_other_ranks
from published.libraries.kernels import FOAK
from published.libraries.losses import loss_of
from published.run import Engine, Run, Term
from published.sets.requests import BEFORE_TORCH_2_8, FSDP1
from published.throughput.step_times import Timed

from planner.memory.requests.fsdp1_recorded import Wraps
from planner.models import find_model

FILE = DATA / "fms_acceleration.yaml"
SOURCE = "fms-acceleration"
TOKENS = 4096
TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj")

MODELS = {
    "mistral-7b": "mistral-7b-v0.1",
    "llama-3-8b": "llama-3-8b",
    "llama-2-70b": "llama-2-70b",
    "mixtral-8x7b": "mixtral-8x7b",
}
COMMON = {
    "gpu": "A100-80GB-SXM",
    "sequence_length": TOKENS,
    "checkpointing": "full-reentrant",
    "attention": "flash-attention-2",
    "optimizer": "adamw-foreach",
    "allocator": "native",
}
LOSSES = {"cross-entropy": "liger-cross-entropy", "fused-linear": "liger-fused-linear"}
"""The loss that is nearest, where it is not that of the row's transformers.

Liger's cross-entropy overwrites logits by their gradient, as the Triton one does.
"""
QUANTIZATIONS = {"nf4-double": "nf4-double", "gptq-4bit": "gptq-4bit-triton"}
ADDED_WORDS = {"mistral-7b": 1, "llama-3-8b": 2, "llama-2-70b": 1, "mixtral-8x7b": 1}
"""Words for which fms-hf-tuning resizes embeddings and head: `<PAD>`, and `<unk>` where the tokenizer has none, as that
of Llama-3 (tuning/sft_trainer.py, `train`; tuning/data/tokenizer_data_utils.py, `tokenizer_and_embedding_resize`).

The bytes after training say the same: with full fine-tuning Mistral has one more row of both in each of two more copies
than with LoRA. What it does to logits is more: `[..., :-1, :]` of them no longer takes as many 2 MiB as they do.
"""
EAGER = "main"
"""The set of transformers 4.48, which ran on another machine, whose contexts held all kernels (the runs that say so
are in `published.sets.fms_machines`)."""
NO_LIGER_CROSS_ENTROPY = ("mistral", "mixtral")
"""Model types whose cross-entropy liger-kernel does not replace (planner.libraries.liger_kernel)."""


def runs() -> list[Run]:
    """Returns all runs, in the file's order."""
    data = yaml.safe_load(FILE.read_text())
    return [run_of(row, data["versions"][row["id"].split("/")[0]]) for row in data["rows"]]


def timed() -> list[Timed]:
    """Returns the runs with their speed, in the file's order."""
    data = yaml.load(FILE.read_text(), Loader=yaml.CSafeLoader)
    rows = [row for row in data["rows"] if "tokens_per_second_per_gpu" in row]
    return [_timed(row, data["versions"][row["id"].split("/")[0]]) for row in rows]


def _timed(row: dict[str, Any], versions: dict[str, str]) -> Timed:
    run = run_of(row, versions)
    loop = then.expert_kernels(find_model(run.model).architecture)
    quantized = row.get("quantization", "none") != "none"
    return Timed(
        source=f"{SOURCE}, {'FSDP1' if row['num_gpus'] > 1 else 'one GPU'}",
        name=run.name,
        model=run.shape,
        request={"gradient_accumulation_steps": 1, **run.request} | ({"kernels": "liger"} if run.foak else {}),
        tokens_per_second=row["tokens_per_second_per_gpu"],
        machine=(row["model"], "A100", row["num_gpus"]),
        kernel=FOAK if run.foak else "",
        launched=0 if quantized else loop,
        waits=loop > 0,
        replicated_adapters="fused-lora" in row.get("kernels", []) and row["num_gpus"] > 1,
    )


def run_of(row: dict[str, Any], versions: dict[str, str]) -> Run:
    """Returns the run of a row, as libraries of these versions compute it."""
    quantization, kernels = row.get("quantization", "none"), row.get("kernels", [])
    request, nearest = _request(row, versions["transformers"])
    return Run(
        source=SOURCE,
        name=row["id"],
        model=MODELS[row["model"]],
        engine=Engine.ONE_GPU if row["num_gpus"] == 1 else Engine.FSDP1,
        method=row["method"] if quantization == "none" else f"{row['method']} {quantization}",
        kernels="Triton kernels" if kernels else "transformers",
        tokens=row["micro_batch_size"] * TOKENS,
        request=request,
        nearest=tuple(nearest),
        ran="outcome" not in row,
        allocated_bytes=row.get("allocated_bytes"),
        device_bytes=row["nvidia_smi_bytes"] if "outcome" not in row else None,
        then=tuple(_then(row, versions)),
        foak=bool(kernels) and row["model"] != "mixtral-8x7b",
        loss=None if row["loss"] == "fused-linear" else versions["transformers"],
        triton=row["loss"] == "cross-entropy",
        wraps=wraps_of(row) if row["num_gpus"] > 1 else None,
        of_all=True,
        left=_left(row),
        contexts=Contexts(
            of_other_ranks(row["num_gpus"]) if row.get("quantization") == "gptq-4bit" else 0,
            eager=row["id"].startswith(f"{EAGER}/"),
        ),
        added_words=ADDED_WORDS[row["model"]],
    )


def _left(row: dict[str, Any]) -> str | None:
    """Returns what is known of the driver's bytes that nothing derived says."""
    if row["model"] == "llama-3-8b" and row["loss"] == "cross-entropy":
        return "a full GPU: the mean of one that was read before it gave its cache back, and one that was read after it"
    return None


def wraps_of(row: dict[str, Any]) -> Wraps:
    """Returns how FSDP1 wrapped the units of a row. It ignores the adapters of fused LoRA, which no choice says."""
    quantization = row.get("quantization", "none")
    return Wraps(
        ahead=quantization != "none",
        buffers=int(quantization == "gptq-4bit"),
        adapters="fused-lora" not in row.get("kernels", []),
    )


def _request(row: dict[str, Any], transformers: str) -> tuple[dict[str, Any], list[str]]:
    """Returns the request of a row, and what it says by the nearest choice."""
    request, nearest = COMMON | {"micro_batch_size": row["micro_batch_size"]}, list[str]()
    sharded, autocast = row["num_gpus"] > 1, row["autocast"] != "none"
    mixed, true = ("fp16-mixed", "fp16-true") if row.get("weights_dtype") == "fp16" else ("bf16-mixed", "bf16-true")
    request["precision"] = mixed if autocast else true
    if row["method"] == "full":
        if autocast and not sharded:  # nothing raises the weights to fp32
            request["precision"] = true
            nearest.append("autocast over bf16 weights: bf16-true")
    else:
        request |= {"finetuning": row["method"], "lora_rank": 16, "lora_targets": TARGETS, "lora_dropout": 0.1}
    if row["method"] == "qlora":
        request["quantization"] = QUANTIZATIONS[row["quantization"]]
        if row["model"] == "mixtral-8x7b":
            request["expert_quantization"] = "same"
        if row["quantization"] == "nf4-double":
            request["unquantized_dtype"] = "fp32" if row.get("prepared") else "bf16"
    if sharded:
        request |= {"gpus": row["num_gpus"], **FSDP1, **BEFORE_TORCH_2_8}
    request["loss"] = LOSSES.get(row["loss"]) or loss_of(transformers).value
    _of_kernels(row, request, nearest)
    return request, nearest


def _of_kernels(row: dict[str, Any], request: dict[str, Any], nearest: list[str]) -> None:
    """Adds the loss and the kernels that are nearest to a row's."""
    model_type = find_model(MODELS[row["model"]]).architecture.model_type
    if row["loss"] == "cross-entropy":
        if model_type in NO_LIGER_CROSS_ENTROPY:
            request["loss"] = "full"
        nearest.append(f"Triton cross-entropy: {request['loss']}")
    kernels = row.get("kernels", [])
    if kernels:
        nearest.append("Triton RMSNorm and RoPE beside transformers' MLP: eager")
    if "fused-lora" in kernels:
        nearest.append("fused LoRA: PEFT's layers")
        if row["num_gpus"] > 1:
            nearest.append("adapters on every GPU: sharded")


def _then(row: dict[str, Any], versions: dict[str, str]) -> Iterator[Term]:
    """Yields what the row's libraries held and today's do not."""
    architecture = find_model(MODELS[row["model"]]).architecture
    hidden, transformers = architecture.hidden_size, versions["transformers"]
    words = architecture.vocab_size + ADDED_WORDS[row["model"]]
    if term := then.repeated_heads(architecture, transformers, then.HALF):
        yield term
    if "fused-lora" in row.get("kernels", []):
        yield then.fused_lora(hidden)
    if row.get("prepared"):
        yield then.half_ends(hidden, words)
    if row.get("quantization") == "gptq-4bit" and row["model"] == "mixtral-8x7b":
        yield then.one_group(architecture, row["num_gpus"])
