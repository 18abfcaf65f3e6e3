"""Writes the notes of an answer: techniques that are left out, risks, approximations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from hardware import GIB, GPU
from hardware.unlisted import ASSUMED, memory_of
from planner.answers.frameworks import notes_on_framework, notes_on_unquantized
from planner.memory.settings.dtypes import FP32, HALF, Dtypes
from planner.models import Model
from planner.problem.batches import notes_on_batching
from planner.problem.problem import Problem
from strategies import (
    LARGEST_USUAL_BATCH,
    Allocator,
    Attention,
    ExpertQuantization,
    Finetuning,
    GradientSync,
    Kernels,
    Lora,
    Loss,
    Strategy,
    Task,
    Zero,
    quantization_of,
    rounds_updates,
)

_BEYOND = {"alibi": "ALiBi goes on", "relative": "relative positions go on"}
"""Words for what happens beyond the positions that a model was trained with, by kind of positions."""


def notes_for(problem: Problem, strategies: Sequence[Strategy], largest_of_lora: int = 0) -> tuple[str, ...]:
    """Returns the notes on a request and the strategies that answer it, in sentences.

    Args:
        problem: The resolved request.
        strategies: Strategies of the plans that are shown.
        largest_of_lora: Largest effective batch of the plans with adapters, in samples.
    """
    model, request, gpu = problem.model, problem.request, problem.cluster.gpu
    notes = [
        *model.notes,
        *_on_task(problem),
        *notes_on_framework(problem, strategies),
        *_on_large_batches(largest_of_lora),
    ]
    if any(isinstance(s.finetuning, Lora) for s in strategies):
        notes += model.adapter_notes
        notes += notes_on_unquantized(problem, strategies)
    context = model.max_positions
    if context is not None and request.sequence_length > context:
        positions = model.architecture.positions if isinstance(model, Model) else "rotary"
        goes_on = _BEYOND.get(positions, "rotary positions go on, quality needs RoPE scaling")
        known = f"the {context} that {model.name} was trained with"
        notes.append(f"{request.sequence_length} tokens are more than {known}: {goes_on}.")
    notes += _of_variants(problem)
    notes += _on_unlisted(gpu)
    lacking = [name for name, has in (("bf16", gpu.supports_bf16), ("fp16", gpu.supports_fp16)) if not has]
    if lacking:
        notes.append(f"{gpu.name} has no {' or '.join(lacking)}: precisions that need it are left out.")
    if isinstance(model, Model):
        notes += _of_modeling(problem, model, strategies)
        notes += notes_on_batching(request, strategies)
    if not gpu.supports_flash_attention:
        notes.append(f"{gpu.name} has no flash attention: {_without_flash(model.groups_heads)}.")
    elif model.groups_heads and any(_attends_in_fp32(s) for s in strategies):
        notes.append(
            "sdpa in fp32 and tf32 (also qlora without autocast) runs the math kernel, since heads share keys and "
            "values: scores are written out, as with eager attention."
        )
    if not gpu.supports_bitsandbytes:
        notes.append(f"bitsandbytes does not run on {gpu.name}: qlora and adamw-8bit are left out.")
    notes += _on_libraries(strategies)
    notes += _on_loading(problem, strategies)
    if any(rounds_updates(s) for s in strategies):
        notes.append(
            "bf16-true keeps weights and optimizer states in bf16 (8 bits of precision): small updates are rounded "
            "away, which can stall training at low learning rates."
        )
    if any(s.to_options().get("gradient_sync") is GradientSync.EACH for s in strategies):
        notes.append(
            "gradient_sync each reduces gradients after every micro-batch (accelerate's sync_each_batch); without it, "
            "whole gradients stay on every GPU while accumulating."
        )
    if any(s.allocator is Allocator.EXPANDABLE for s in strategies):
        notes.append("plans run with PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True; without it, memory fragments.")
    if any(s.allocator is Allocator.NATIVE for s in strategies):
        notes.append(
            "native segments fragment: what they reserve follows from the order of all requests, where that is known; "
            "elsewhere (DeepSpeed, models known by replays) reserved_bytes is a usual amount."
        )
    notes += _on_time(gpu)
    return tuple(notes)


def _on_large_batches(largest_of_lora: int) -> Iterator[str]:
    """Yields a note where plans with adapters have a larger effective batch than is usual."""
    if largest_of_lora > LARGEST_USUAL_BATCH:
        yield (
            f"effective batches above {LARGEST_USUAL_BATCH} are unusual for LoRA, which loses more to large ones than "
            'full fine-tuning does, whatever its rank ("LoRA Without Regret", Thinking Machines, 2025).'
        )


def _on_unlisted(gpu: GPU) -> Iterator[str]:
    """Yields a note on what is assumed of a card of which only the size is known."""
    if memory_of(gpu.name) is not None and gpu.source.startswith(ASSUMED):
        yield (
            f"{gpu.name} is no card of the catalog: all of it is taken as usable, of which drivers keep 1 to 8%, and "
            f"architecture ({gpu.architecture}, {gpu.compute_capability}), rates and links are those of "
            f"{gpu.source.removeprefix(ASSUMED)}, so that times are no more than a guess."
        )


def _on_time(gpu: GPU) -> Iterator[str]:
    """Yields a note where nothing was measured of a GPU's speed."""
    if not gpu.sustained.measured:
        yield (
            f"no measured rates of {gpu.architecture} GPUs of compute capability {gpu.compute_capability}: times take "
            "the shares of peak of the nearest architecture that has some."
        )


def _on_task(problem: Problem) -> Iterator[str]:
    """Yields a note on the head of an encoder, where the request does not say which one is meant."""
    task, name = problem.request.task, problem.model.name
    if task is Task.SEQUENCE_CLASSIFICATION and not problem.task_asked:
        yield f"{name} is trained with a classification head: --task {Task.MASKED_LM} plans the head of its vocabulary."
    if task is Task.CONTRASTIVE:
        yield (
            f"a sample is a pair of texts of {problem.request.sequence_length} tokens each (sentence-transformers' "
            "MultipleNegativesRankingLoss); its negatives are in its micro-batch: accumulation adds none."
        )


def _of_variants(problem: Problem) -> Iterator[str]:
    """Yields a note on which card a name without a size of memory stands for, and how its other variants are called."""
    found, *others = problem.catalog.variants(problem.gpu_asked) or (None,)
    if found is not None:
        also = f"; there is also {', '.join(others)}" if others else ""
        yield f"--gpu {problem.gpu_asked} is taken as {found}{also}."


def _of_modeling(problem: Problem, model: Model, strategies: Sequence[Strategy]) -> Iterator[str]:
    """Yields notes on what a model's code in transformers does unexpectedly."""
    masks = model.architecture.masking == "always" and model.inventory.heads.grouped
    if masks and any(s.attention is Attention.SDPA for s in strategies):
        yield (
            f"sdpa runs the math kernel, which writes scores out: {model.name} passes it a mask, and one head of keys "
            "and values for all queries."
        )
    experts, asked = model.inventory.num_expert_parameters, problem.request
    methods = {s.finetuning.method for s in strategies}
    if asked.objective is not None:  # a search
        methods |= set(asked.finetuning or Finetuning)
    if not experts or Finetuning.QLORA not in methods:
        return
    if asked.expert_quantization != (ExpertQuantization.SAME,):
        apart = any(part.stacks for part in model.inventory.blocks.values())
        way_out = "; --expert-quantization same plans a trainer that takes them apart first" if apart else ""
        yield (
            f"qlora quantizes linear layers alone: the experts of {model.name}, {experts / model.num_parameters:.0%} "
            f"of its parameters, are none. They stay in half precision ({experts * HALF / 2**30:.1f} GiB), or become "
            f"fp32 where PEFT prepares the base ({experts * FP32 / 2**30:.1f} GiB){way_out}."
        )
    if any(isinstance(s.finetuning, Lora) and s.finetuning.separates_experts for s in strategies):
        yield (
            "expert-quantization same is the step of transformers 4, or of a trainer that takes experts apart: they "
            "run one after the other, and tokens are spread evenly over them."
        )


def _on_libraries(strategies: Sequence[Strategy]) -> Iterator[str]:
    """Yields notes on the libraries that plans need in addition to transformers, and how these are enabled."""
    liger = (Loss.LIGER_FUSED_LINEAR, Loss.LIGER_CROSS_ENTROPY)
    if any(s.kernels is Kernels.LIGER or s.loss in liger for s in strategies):
        yield (
            "liger plans need liger-kernel and use_liger_kernel=True, which turns kernels and fused loss on together: "
            "liger_kernel_config chooses."
        )
    if any(s.kernels is Kernels.COMPILE for s in strategies):
        yield (
            "compile: block.compile() for every block, with saved tensors as torch's partitioner chooses; within 2% of "
            "its graphs, not of a GPU run: inductor may reuse buffers, reorder kernels and write long chains out."
        )
    divided = [s.sharding for s in strategies if quantization_of(s.finetuning).shards and s.sharding.shards]
    if any(isinstance(sharding, Zero) for sharding in divided):
        # transformers/modeling_utils.py, `get_init_context`; quantizers/quantizer_bnb_4bit.py, `update_device_map`
        yield (
            "transformers loads a quantized base whole onto every GPU before ZeRO-3 divides it, since zero.Init takes "
            "none: it has to fit there first, in half a byte per parameter."
        )
    if any(not isinstance(sharding, Zero) for sharding in divided):
        yield (
            "sharded qlora needs bnb_4bit_quant_storage in the dtype of the computation, such as bfloat16: packed into "
            "uint8, NF4 weights stay whole on every GPU."
        )
    if any(s.loss is Loss.CHUNKED for s in strategies):
        yield "loss chunked is that of TRL's SFTTrainer (1.16), with a label on every token."
    if any(s.loss is Loss.CUT_CROSS_ENTROPY for s in strategies):
        yield (
            "cut-cross-entropy plans need Apple's package, or axolotl's fork of it with its plugin: memory is restated "
            "from its source, time counts blocks of gradients that a GPU may skip."
        )
    if any(s.attention.is_flash for s in strategies):
        yield "flash-attention plans need the flash-attn package."


def _on_loading(problem: Problem, strategies: Sequence[Strategy]) -> Iterator[str]:
    """Yields notes on where the weights have to go while the model is loaded."""
    footprints = [problem.memory.footprint(s, 1) for s in strategies]
    whole = [f.loading.instead_bytes for f in footprints if f.loaded_within(problem.budget_bytes).host != f.host]
    if whole:
        yield (
            "loading: pass device_map={'': 'cpu'} to from_pretrained. Without it, transformers 5 puts the whole "
            f"quantized base ({max(whole) / GIB:.1f} GiB) on each GPU before it is divided."
        )
    spared = max((f.loading.spared_bytes for f in footprints), default=0)
    if spared:
        # accelerate/utils/fsdp_utils.py, `fsdp2_load_full_state_dict`: rank 0 broadcasts its state dict to all others
        yield (
            f"loading: rank 0 alone may load the weights, since on every rank they take {spared / GIB:,.0f} GiB of a "
            "node's host memory: with cpu_ram_efficient_loading, other ranks build the model by from_config within "
            "accelerate's init_empty_weights()."
        )
    model, divides = problem.model, any(s.sharding.shards for s in strategies)
    if isinstance(model, Model) and model.architecture.packs_experts and divides and not spared:
        unpacked = model.inventory.num_expert_parameters * HALF
        yield (
            f"loading: every rank unpacks all experts ({unpacked / GIB:.1f} GiB), in the host's memory as long as no "
            "device_map puts them on its GPU."
        )


def _without_flash(groups_heads: bool | None) -> str:
    """Says which SDPA kernel runs on a GPU without flash attention.

    Args:
        groups_heads: Whether several query heads share keys and values; None if that is not known.
    """
    efficient = "sdpa runs the memory-efficient kernel"
    if groups_heads is None:
        return f"{efficient}, or the math kernel, which writes scores out, where heads share keys and values"
    if groups_heads:
        return "sdpa runs the math kernel, since heads share keys and values: scores are written out"
    return efficient


def _attends_in_fp32(strategy: Strategy) -> bool:
    """Returns whether SDPA runs in fp32, which its flash kernel does not take."""
    dtypes = Dtypes.of(strategy.precision, strategy.finetuning, strategy.sharding)
    return strategy.attention is Attention.SDPA and (dtypes.autocast or dtypes.other) == FP32
