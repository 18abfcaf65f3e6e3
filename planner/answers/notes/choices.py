"""Writes the notes on what choices of plans mean for a run, and which libraries they need."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from hardware import GPU
from strategies import (
    LARGEST_USUAL_BATCH,
    Allocator,
    Fsdp1,
    GradientSync,
    Kernels,
    Loss,
    Quantization,
    Strategy,
    Wrapping,
    Zero,
    quantization_of,
    rounds_updates,
)


def on_large_batches(largest_of_lora: int) -> Iterator[str]:
    """Yields a note where plans with adapters have a larger effective batch than is usual."""
    if largest_of_lora > LARGEST_USUAL_BATCH:
        yield (
            f"effective batches above {LARGEST_USUAL_BATCH} are unusual for LoRA, which loses more to large ones than "
            'full fine-tuning does, whatever its rank ("LoRA Without Regret", Thinking Machines, 2025).'
        )


def on_libraries(gpu: GPU, strategies: Sequence[Strategy]) -> Iterator[str]:
    """Yields notes on the libraries that plans need in addition to transformers, and how these are enabled."""
    if not gpu.supports_bitsandbytes:
        yield f"bitsandbytes does not run on {gpu.name}: qlora and adamw-8bit are left out."
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
    if any(s.loss is Loss.FLASH_CROSS_ENTROPY for s in strategies):
        yield (
            "flash-cross-entropy plans need flash-attn, and its CrossEntropyLoss as the model's loss_function, on "
            "shifted labels and logits that are not cast: no option of a trainer sets it."
        )
    if any(s.loss is Loss.COMPILED for s in strategies):
        yield (
            "loss compiled is torch.compile of the function that computes the loss from logits, as torchtitan compiles "
            "it: no option of transformers' trainers does."
        )
    if any(s.loss.is_earlier for s in strategies):
        yield (
            "transformers 4.49 or later shifts labels instead of logits, and takes less: --loss full. Only the loss is "
            "that of the earlier version."
        )
    if any(s.attention.is_flash for s in strategies):
        yield "flash-attention plans need the flash-attn package."


def on_choices(gpu: GPU, strategies: Sequence[Strategy]) -> Iterator[str]:
    """Yields notes on what single choices of the plans mean for a run."""
    if any(rounds_updates(s) for s in strategies):
        yield (
            "bf16-true keeps weights and optimizer states in bf16 (8 bits of precision): small updates are rounded "
            "away, which can stall training at low learning rates."
        )
    if any(s.to_options().get("gradient_sync") is GradientSync.EACH for s in strategies):
        yield (
            "gradient_sync each reduces gradients after every micro-batch (accelerate's sync_each_batch); without it, "
            "whole gradients stay on every GPU while accumulating."
        )
    yield from _on_wrapping(strategies)
    if any(s.allocator is Allocator.EXPANDABLE for s in strategies):
        yield "plans run with PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True; without it, memory fragments."
        if gpu.vendor == "amd":
            yield (
                "expandable segments need torch 2.12 on AMD GPUs, where a few users saw processes hang "
                "(pytorch/pytorch#192259): --allocator native does without."
            )
    if any(s.allocator is Allocator.NATIVE for s in strategies):
        yield (
            "native segments fragment: what they reserve follows from the order of all requests, where that is known; "
            "elsewhere (DeepSpeed, models known by replays) reserved_bytes is a usual amount."
        )


def _on_wrapping(strategies: Sequence[Strategy]) -> Iterator[str]:
    """Yields what torch before 2.8 reserves more while FSDP1 wraps a model; expandable segments give that back."""
    sharded = [(s, s.sharding.wrapping) for s in strategies if isinstance(s.sharding, Fsdp1)]
    if any(wrapping is Wrapping.TORCH_2_7 for _, wrapping in sharded):
        yield (
            "wrapping torch-2.7: what FSDP1 broadcasts waits for the GPU, on all ranks but the first for GiB where a "
            "quantized base comes from the meta device; torch 2.8 or TORCH_NCCL_AVOID_RECORD_STREAMS=1 does without."
        )
    native = [s for s, wrapping in sharded if wrapping is Wrapping.TODAY and s.allocator is Allocator.NATIVE]
    if any(quantization_of(s.finetuning) is not Quantization.NONE for s in native):
        yield (
            "torch before 2.8 reserves up to some GiB more while FSDP1 wraps a quantized base, on all ranks but the "
            "first: --wrapping torch-2.7 plans it."
        )
