"""Holds the rates that training reaches, as shares of a GPU's peaks, by compute capability.

Nothing here is for one model or one framework. A GPU whose capability has no measurement of its own takes the shares of
the one that `NEAREST` names, which `Sustained.measured` says.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

Kernels = Mapping[str, tuple[float, float]]
"""Shares of the peak in half precision that attention's kernels reach, forward and backward; causal attention is
counted with half of the scores, backward with 2.5 times the FLOPs of forward."""

_AMPERE_ATTENTION: Kernels = {
    # MooreThreads/SimuMax acdbb66, configs/system/a100_pcie.json: 1.00 and 0.80 of the full square of scores.
    "flash-2": (0.50, 0.40),
    # "25-40%" of an A100 (FlashAttention-2, arXiv 2307.08691, introduction); the value is that of Triton's kernel in
    # llm-foundry's step times at 65,536 tokens, the forward to backward ratio that of flash-2.
    "flash-1": (0.36, 0.30),
    "efficient": (0.36, 0.30),  # no measurement; the kernel of xformers, of the age of flash-1
}
_GEFORCE_ATTENTION: Kernels = {
    # An RTX 4090 does 340 TOPS by SageAttention, 2.1 times flash-attention 2 and 2.7 times xformers (arXiv
    # 2410.02367): 162 and 126 of 165 TFLOP/s, since sums in fp32 bound it as they do products. Backward by the ratio of
    # an A100. Boards with full rates are bound by their power.
    "flash-2": (0.98, 0.78),
    "flash-1": (0.76, 0.61),
    "efficient": (0.76, 0.61),
}
_HOPPER_ATTENTION: Kernels = {
    # Forward at 1k to 16k: SDPA's flash kernel 287 to 304 TFLOP/s (pytorch/benchmark, pull request 2296); backward by
    # the ratio of an A100.
    "flash-2": (0.30, 0.24),
    # 447 TFLOP/s over forward and backward in a training step (stas00/ml-engineering 744d01e, insights).
    "flash-3": (0.47, 0.44),
    "cudnn": (0.42, 0.36),  # CUTLASS's kernel, forward 397 to 429 TFLOP/s (as flash-2)
    # Triton's kernel in llm-foundry's step times at 65,536 tokens.
    "flash-1": (0.20, 0.166),
    "efficient": (0.20, 0.166),
}
_BLACKWELL_ATTENTION: Kernels = {
    "flash-2": (0.37, 0.35),  # SimuMax, b200_bf16_ceperm.json 1b8ca90
    "cudnn": (0.37, 0.35),
    "flash-1": (0.20, 0.166),
    "efficient": (0.20, 0.166),
}
_AOTRITON = (0.27, 0.09)
"""SDPA's kernel on AMD before torch 2.10: 630 and 705 TFLOP/s forward, 224 backward, at 8,192 causal tokens on an
MI355X (HazyResearch/HipKittens f09e9685, analysis/attn, "torch"). AOTriton 0.11 runs AITER's instead, which this does
not say (ROCm/pytorch, pull request 2686)."""
_CDNA3_ATTENTION: Kernels = {
    # flash-attn's CK backend at 16,384 tokens: 353 TFLOP/s forward, 194 to 207 backward (ROCm/flash-attention, issue
    # 142). SDPA's kernel of today has no measurement and is taken to be as fast.
    "flash-2": (0.27, 0.155),
    "aotriton": _AOTRITON,
}
_CDNA4_ATTENTION: Kernels = {
    # CK at 8,192 causal tokens: 844 and 866 TFLOP/s forward, 480 and 489 backward (HipKittens, as above, "ck").
    "flash-2": (0.34, 0.19),
    "aotriton": _AOTRITON,
}


_TURING_ATTENTION: Kernels = {
    # 8.5 and 7.1 of a T4's 65 TFLOP/s in fitcheck-llm's step times with the memory-efficient kernel, which is the only
    # one, at 1,024 to 4,096 tokens.
    "flash-2": (0.13, 0.11),
    "efficient": (0.13, 0.11),
}
ATTENTION_FP32 = 0.5
"""Share of the rate of products in fp32 that fused attention in fp32 reaches: the memory-efficient kernel is the only
one, whose rate in half precision is half of that of products (0.36 and 0.72 of an A100)."""


class Sustained(NamedTuple):
    """Shares of the peak rates that are reached."""

    products: float
    """Of the peak in half precision by matrix products of the shapes of training."""
    fp8: float
    """Of the peak in fp8."""
    memory: float
    """Of the memory's bandwidth by operations that are not products."""
    attention: Kernels
    flops_per_joule: float | None = None
    """FLOPs of products in half precision per joule, where the power limit of boards decides; None: it does not."""
    nvlink: float = 0.78
    """Of the link between GPUs by collectives; A100 node: 235 of 300 GB/s (ml-engineering 744d01e, network)."""
    pcie: float = 0.50
    """Of PCIe by collectives on four GPUs and more: four A100 15.7 of 31.5 GB/s (LLMFineTuningBench: a short
    micro-batch of Llama-2-70B takes 19.8 s, in which each GPU sends three times 103 GB), eight 13.5 (SimuMax)."""
    launch: float = 27e-6
    """Seconds in which the host of such GPUs launches an eager kernel: Qwen's LoRA at 256 tokens on an A100 takes
    0.125 s for 4,500 of them at 1.8 B, 0.150 s for 6,000 at 7 B, 0.200 s for 7,500 at 14 B (github.com/QwenLM/Qwen)."""
    measured: bool = True
    """Whether step times bear the shares out; not where single products and kernels are all that is known."""
    fp32: float | None = None
    """Of the peak in fp32 by matrix products without TF32; None: the same as in half precision."""
    fp32_flops_per_joule: float | None = None
    """FLOPs of such products per joule, where the power limit of boards decides; None: it does not."""


PCIE_BY_HOST = 0.27
"""Of PCIe by way of the host's memory: four L40S 8.5 of 31.5 GB/s (LLMFineTuningBench: a micro-batch of Mixtral-8x7B
takes 16.5 s more than it computes, in which each GPU sends twice 70 GB)."""
RECENT_LAUNCH = 22e-6
"""Seconds for an eager kernel of hosts since Sapphire Rapids. Llama 3.2 1B at 512 tokens on a B200 takes 48.8 ms with a
checkpointed backward (stas00/ml-engineering 744d01e, training/performance), in which 2,200 tensors are allocated; a
forward alone 8.1 ms for 630."""
BEST_TO_MEDIAN = 0.83
"""Median rate of 183 training shapes on an A100, 0.72 of the peak (SimuMax, a100_pcie.json), over that of the best
shape, 271.2 TFLOP/s (ml-engineering 744d01e, compute/accelerator, MAMF)."""

BEST_TO_TYPICAL_CDNA = 0.78
"""The same on AMD: products of language models reach 74 to 81% of what the best shape does on an MI325X (AMD's "typical
attained" over "max-achievable FLOPs", ROCm/rocm-blogs, discussion 600), and on an MI300X 493 and 546 TFLOP/s for two of
Llama-2-70B's (ROCm/TransformerEngine, issue 73, `torch.matmul`), where the best does 668.4 (ml-engineering)."""

BY_CAPABILITY: dict[str, Sustained] = {
    # As 8.6, with the power that T4's step times bear out. fp32: an RTX 2080 Ti does 12.8 of 13.4 TFLOP/s (DATA, issue
    # 115).
    "7.5": Sustained(0.96, 0.96, 0.81, _TURING_ATTENTION, 0.27e12, fp32=0.95),
    # Products: SimuMax's median; memory: SimuMax's 0.81 of cross-entropy. fp32: 16.6 of 19.5 TFLOP/s on an A100 PCIe
    # (DATA, issue 108); a V100 reaches 14.2 of 15.7 (issue 140).
    "8.0": Sustained(0.72, 0.72, 0.81, _AMPERE_ATTENTION, fp32=0.85),
    # Boards with 70 to 300 W: what the four in `BY_BOARD` that were measured do per joule. GeForce, whose units sum
    # in fp32 at half of the others' rate, is bound by them at any shape as Ada's are, and reaches their share: in the
    # best shape an RTX 3090 does 75.5 to 76.7 of 71 TFLOP/s (zzc0721/torch-performance-test-data 9d82827, database.md).
    # fp32: half of the units take turns with integers; an RTX 3080 Ti does 23.9 of 34.1 TFLOP/s (DATA, issue 132).
    # Boards are bound by their power: an A40 with 300 W does 23.2, an RTX A4000 with 140 W 10.6 (issues 185 and 97).
    "8.6": Sustained(0.96, 0.96, 0.81, _GEFORCE_ATTENTION, 0.39e12, fp32=0.70, fp32_flops_per_joule=0.077e12),
    # RTX 4090: 158.6 of 165 TFLOP/s in the best shape (mli/transformers-benchmarks, issue 4). L40S (350 W): 180 TFLOP/s
    # in LLMFineTuningBench's step times. PCIe: by way of the host's memory, as virtual machines do. fp32: an RTX 4090
    # does 52.6 of 82.6 TFLOP/s, an L4 with 72 W 11.4 of 30.3 (DATA, issues 78 and 120).
    "8.9": Sustained(
        0.96, 0.80, 0.81, _GEFORCE_ATTENTION, 0.51e12, pcie=PCIE_BY_HOST, fp32=0.64, fp32_flops_per_joule=0.158e12
    ),
    # Products: llm-foundry's and fms-fsdp's step times; best shape 0.80 (MAMF), "H100 matmuls are power limited"
    # (thonking.ai). Power: 475 TFLOP/s at 500 W (torchtitan), 330 at 350 W (LLMFineTuningBench). fp8: MAMF's 0.71 by
    # the same ratio. NVLink: copies 380 of 450 GB/s (github.com/NVIDIA/nccl, issue 1264).
    # fp32: 51.1 of 66.9 TFLOP/s on an H100 SXM (DATA, issue 79).
    "9.0": Sustained(0.56, 0.50, 0.81, _HOPPER_ATTENTION, 0.95e12, 0.84, launch=RECENT_LAUNCH, fp32=0.76),
    # Products: median of SimuMax's 514 shapes; memory 0.67; NVLink: all-gathers 0.67 of 900 GB/s.
    # fp32: 66.2 of 75 TFLOP/s in the best shape (DATA, database.md).
    "10.0": Sustained(0.48, 0.46, 0.67, _BLACKWELL_ATTENTION, None, 0.67, launch=RECENT_LAUNCH, fp32=0.88),
    # Products: mean of fp16 and bf16 at 4,096 to 10,240 on an MI210, 123 of 181 TFLOP/s
    # (zzc0721/torch-performance-test-data, issue 195).
    "gfx90a": Sustained(0.68, 0.68, 0.81, _CDNA3_ATTENTION, None, 0.70, measured=False),
    # MAMF: MI300X 668.4, MI355X 1565, Gaudi2 418.7, Gaudi3 1243 TFLOP/s; fp8 Gaudi2 826.5, Gaudi3 1289.5.
    "gfx942": Sustained(0.51 * BEST_TO_TYPICAL_CDNA, 0.40, 0.81, _CDNA3_ATTENTION, None, 0.70, measured=False),
    "gfx950": Sustained(0.62 * BEST_TO_TYPICAL_CDNA, 0.48, 0.81, _CDNA4_ATTENTION, None, 0.70, measured=False),
    "gaudi2": Sustained(0.97 * BEST_TO_MEDIAN, 0.79, 0.81, _AMPERE_ATTENTION, measured=False),
    "gaudi3": Sustained(0.68 * BEST_TO_MEDIAN, 0.58, 0.81, _AMPERE_ATTENTION, measured=False),
}
BY_BOARD: dict[str, dict[str, Any]] = {
    # Means of fp16 and bf16 at 4,096 to 10,240 (DATA, issues 120, 185, 97, 72, 162 and 160): 55.1 TFLOP/s at 72 W,
    # 114.9 at 300 W, 58.0 at 140 W, 28.3 at 70 W, 397 and 349 at 600 W. A board that its power keeps at half of its
    # clock runs at a lower voltage.
    "L4": {"flops_per_joule": 0.765e12},
    "A40": {"flops_per_joule": 0.383e12},
    # 62 TFLOP/s at 230 W in fsdp_qlora's step times, and in Lambda's of BERT.
    "RTX-A5000": {"flops_per_joule": 0.27e12},
    "RTX-A4000": {"flops_per_joule": 0.414e12},
    "RTX-A2000-6GB": {"flops_per_joule": 0.404e12},
    "RTX-A2000-12GB": {"flops_per_joule": 0.404e12},
    "RTX-PRO-6000-Server": {"flops_per_joule": 0.66e12},
    "RTX-PRO-6000-Blackwell": {"flops_per_joule": 0.58e12},
    # The A40's chip and power, whose best shapes are as fast: 120 and 123 TFLOP/s (DATA, issue 46), 119 and 122. A
    # layer of BERT-large trains at 70 TFLOP/s (mli/transformers-benchmarks 3370b2b, README.md), as this rate gives.
    "RTX-A6000": {"flops_per_joule": 0.383e12},
    # fp32: 4.2 and 4.4 TFLOP/s at 70 W in the best shape (DATA, database.md).
    "T4": {"fp32_flops_per_joule": 0.061e12},
}
"""Rates of boards that were measured themselves, by their names in the catalog.

DATA is github.com/zzc0721/torch-performance-test-data, which collects square products by `torch.matmul`.
"""
NEAREST = {"10.3": "10.0", "12.0": "8.9", "12.1": "8.9", "gfx908": "gfx90a"}
"""Capability whose shares another one takes; all others take those of an A100."""

PCIE_PAIR = 0.65
"""Share of PCIe that collectives reach on two GPUs: 20.7 of 31.5 GB/s (SimuMax)."""
NETWORK = 0.85
"""Share of a node's network that collectives reach: 340 of 400 GB/s by 32 nodes of 8 H100 in an all-gather of 2 GB
(github.com/NVIDIA/nccl, issue 1218)."""
NETWORK_BY_TCP = 0.40
"""The same by sockets, without RDMA: 4 to 6 of 12.5 GB/s by 4 nodes of 8 V100 (github.com/NVIDIA/nccl, issue 450)."""
HOST_LINK = 0.80
"""Share of PCIe that copies between GPU and host reach: 25 of 31.5 GB/s (ZaidQureshi/bam, issue 54), 55 of 63
(ml-engineering)."""


def sustained(capability: str, board: str = "") -> Sustained:
    """Returns the shares of a compute capability, or those of the nearest one that is measured.

    Args:
        capability: The compute capability.
        board: Name of the GPU in the catalog, where a rate of its own may be measured.
    """
    if capability in BY_CAPABILITY:
        found = BY_CAPABILITY[capability]
        return found._replace(**BY_BOARD.get(board, {}))
    return BY_CAPABILITY[NEAREST.get(capability, "8.0")]._replace(measured=False, **BY_BOARD.get(board, {}))
