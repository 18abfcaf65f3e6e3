"""Says what earlier transformers and fms-acceleration's kernels held at moments of a step, in bytes, by their source.

Their losses are choices of the planner, and `published.libraries.losses` traces the kernels'.
"""

from __future__ import annotations

from published.run import Term

from planner.libraries.allocator import allocated
from planner.memory import Moment
from planner.memory.linear.gptqmodel import INT32, gptq_flat_bytes
from planner.models import Architecture, Inventory
from planner.models.families.mixtral import Mixtral

HALF, FP32 = 2, 4
END, START, BLOCK = Moment.END_OF_FORWARD, Moment.START_OF_BACKWARD, Moment.BLOCK_BACKWARD

ONE_ATTENTION = (4, 48)
"""First version whose Mistral and Mixtral attention does not repeat grouped keys and values for flash-attention."""


def version(text: str) -> tuple[int, ...]:
    """Returns the numbers of a version, as in "4.48.1"."""
    return tuple(map(int, text.split(".")))


def repeated_heads(architecture: Architecture, transformers: str, itemsize: int) -> Term | None:
    """Returns what Mistral's attention kept before transformers 4.48: keys and values for every query head."""
    heads, kv_heads = architecture.num_attention_heads, architecture.num_key_value_heads
    if version(transformers) >= ONE_ATTENTION or architecture.model_type not in ("mistral", "mixtral"):
        return None
    more = 2 * (heads - kv_heads) * (architecture.hidden_size // heads) * itemsize
    return Term(
        f"keys and values are repeated for flash-attention, {more:,} bytes per token (transformers {transformers}, "
        "modeling_mistral.py, MistralFlashAttention2.forward)",
        {BLOCK: more},
        {},
    )


def fused_lora(hidden_size: int) -> Term:
    """Returns what the fused LoRA of q, k, v and o saves, beside PEFT's layers.

    PEFT saves each projection's dropped input (2 bytes) and its mask (1). The fused functions save no mask; they apply
    it where a dropped input is not zero. They save their own input: of q, k and v the norm's output, which nobody else
    saves, and of o the attention's output, which flash-attention saves (fms_acceleration_foak,
    fused_ops/unsloth_lora/bnb/fast_lora.py, `LoRA_QKV`, `LoRA_W`).
    """
    return Term(
        "fused LoRA of q, k, v and o saves its input and no dropout masks, 2 x hidden per token less",
        {BLOCK: (HALF - 4) * hidden_size},
        {},
    )


def half_ends(hidden_size: int, words: int) -> Term:
    """Returns what a prepared base whose embedding and head were cast back to half precision does not hold.

    trl/trainer/sft_trainer.py, `peft_module_casting_to_bf16`: embedding and head, without the norms. The first block's
    input is then in half precision as well, and autocast needs no copy of the head.
    """
    matrix = words * hidden_size * HALF
    held = dict.fromkeys(Moment, -2 * matrix)
    held[END], held[START] = -3 * matrix, -3 * matrix
    return Term(
        "TRL casts embedding and head of a prepared base back to bf16 (trl 0.13, peft_module_casting_to_bf16)",
        dict.fromkeys((Moment.FORWARD, END, START, BLOCK), -HALF * hidden_size),
        held,
    )


def one_group(architecture: Architecture, ranks: int) -> Term:
    """Returns what a GPTQ checkpoint with one group for each column does not hold of scales and zeros.

    TheBloke/Mixtral-8x7B-Instruct-v0.1-GPTQ, quantize_config.json: `group_size` -1. Scales are whole on every rank, and
    zeros are divided with the weights.
    """
    inventory = Inventory(architecture)
    more = 0
    for kind in inventory.layer_kinds:
        for layer in inventory.blocks[kind].with_separate_experts().linears:
            (_, zeros), buffers = gptq_flat_bytes(layer.out_features, layer.in_features)
            (_, one_zero), one_buffer = gptq_flat_bytes(layer.out_features, 1)
            scales = buffers - one_buffer - allocated(layer.in_features * INT32) + allocated(INT32)
            more += scales + (zeros - one_zero) // ranks
    return Term(
        f"the checkpoint has a scale and a zero for each column, not for each 128 elements of one: {more:,} bytes less",
        {},
        dict.fromkeys(Moment, -more),
    )


LOOP_KERNELS = 12, 32
"""Kernels of an expert in a pass forward and in one backward where experts are a loop: three of `where`, two indexings,
three products, the activation, two factors and `index_add_`; backward, ten each for the two indexings, which sort and
accumulate, six products and factors of the MLP, their sum, and five of the weighted result.

Source: transformers 4.45.2, mixtral/modeling_mixtral.py, `MixtralSparseMoeBlock.forward`.
"""


def expert_kernels(architecture: Architecture) -> int:
    """Returns the kernels of a checkpointed micro-batch for experts one after the other; today one product does it all.

    Args:
        architecture: The model's.
    """
    if not isinstance(architecture, Mixtral):
        return 0
    forward, backward = LOOP_KERNELS
    return (2 * forward + backward) * architecture.num_local_experts * architecture.num_hidden_layers
