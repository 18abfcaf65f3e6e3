"""Holds the rates that training reaches, as shares of a GPU's peaks, by compute capability.

Nothing here is for one model or one framework. A GPU whose capability has no measurement of its own takes the shares of
the one that `NEAREST` names, which `Sustained.measured` says.
"""

from collections.abc import Mapping
from typing import NamedTuple

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
    # Products: SimuMax's median; memory: SimuMax's 0.81 of cross-entropy.
    "8.0": Sustained(0.72, 0.72, 0.81, _AMPERE_ATTENTION),
    # Boards with 70 to 300 W: 62 TFLOP/s of an RTX A5000 (230 W) in fsdp_qlora's step times. GeForce, whose units sum
    # in fp32 at half of the others' rate, is bound by them at any shape as Ada's are, and reaches their share: in the
    # best shape an RTX 3090 does 75.5 to 76.7 of 71 TFLOP/s (zzc0721/torch-performance-test-data 9d82827, database.md).
    "8.6": Sustained(0.96, 0.96, 0.81, _GEFORCE_ATTENTION, 0.27e12),
    # RTX 4090: 158.6 of 165 TFLOP/s in the best shape (mli/transformers-benchmarks, issue 4). L40S (350 W): 180 TFLOP/s
    # in LLMFineTuningBench's step times. PCIe: by way of the host's memory, as virtual machines do.
    "8.9": Sustained(0.96, 0.80, 0.81, _GEFORCE_ATTENTION, 0.51e12, pcie=PCIE_BY_HOST),
    # Products: llm-foundry's and fms-fsdp's step times; best shape 0.80 (MAMF), "H100 matmuls are power limited"
    # (thonking.ai). Power: 475 TFLOP/s at 500 W (torchtitan), 330 at 350 W (LLMFineTuningBench). fp8: MAMF's 0.71 by
    # the same ratio. NVLink: copies 380 of 450 GB/s (github.com/NVIDIA/nccl, issue 1264).
    "9.0": Sustained(0.56, 0.50, 0.81, _HOPPER_ATTENTION, 0.95e12, 0.84, launch=RECENT_LAUNCH),
    # Products: median of SimuMax's 514 shapes; memory 0.67; NVLink: all-gathers 0.67 of 900 GB/s.
    "10.0": Sustained(0.48, 0.46, 0.67, _BLACKWELL_ATTENTION, None, 0.67, launch=RECENT_LAUNCH),
    # Products: mean of fp16 and bf16 at 4,096 to 10,240 on an MI210, 123 of 181 TFLOP/s
    # (zzc0721/torch-performance-test-data, issue 195).
    "gfx90a": Sustained(0.68, 0.68, 0.81, _CDNA3_ATTENTION, None, 0.70, measured=False),
    # MAMF: MI300X 668.4, MI355X 1565, Gaudi2 418.7, Gaudi3 1243 TFLOP/s; fp8 Gaudi2 826.5, Gaudi3 1289.5.
    "gfx942": Sustained(0.51 * BEST_TO_TYPICAL_CDNA, 0.40, 0.81, _CDNA3_ATTENTION, None, 0.70, measured=False),
    "gfx950": Sustained(0.62 * BEST_TO_TYPICAL_CDNA, 0.48, 0.81, _CDNA4_ATTENTION, None, 0.70, measured=False),
    "gaudi2": Sustained(0.97 * BEST_TO_MEDIAN, 0.79, 0.81, _AMPERE_ATTENTION, measured=False),
    "gaudi3": Sustained(0.68 * BEST_TO_MEDIAN, 0.58, 0.81, _AMPERE_ATTENTION, measured=False),
}
BY_BOARD = {
    # Means of fp16 and bf16 at 4,096 to 10,240 (zzc0721/torch-performance-test-data, issues 120 and 185): 55.1 TFLOP/s
    # at 72 W, 114.9 at 300 W. A board that its power keeps at half of its clock runs at a lower voltage.
    "L4": 0.765e12,
    "A40": 0.383e12,
}
"""FLOPs of products per joule of boards that were measured themselves, by their names in the catalog."""
NEAREST = {"10.3": "10.0", "12.0": "8.9", "12.1": "8.9", "7.5": "8.6", "gfx908": "gfx90a"}
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
        return found._replace(flops_per_joule=BY_BOARD.get(board, found.flops_per_joule))
    return BY_CAPABILITY[NEAREST.get(capability, "8.0")]._replace(measured=False)
