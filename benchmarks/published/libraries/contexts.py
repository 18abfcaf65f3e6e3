"""Says what the CUDA contexts of a run hold beside the driver's own bytes: of other processes, and of all kernels.

Kernels are loaded one by one, as they are used, since CUDA 12.2. With an earlier driver torch asks for it when it
initializes CUDA (CUDAHooks.cpp, `maybe_set_cuda_module_loading`), unless something did so before; and
`CUDA_MODULE_LOADING=EAGER` overrules both. Then a library's runtime loads all kernels of the library into each context
that it uses (CUDA programming guide, "Lazy Loading").
"""

from __future__ import annotations

from typing import NamedTuple

AT_START = {
    "torch 2.4.1, libtorch_cuda.so": 517_612_615,
    "bitsandbytes 0.43.3, libbitsandbytes_cuda121.so": 1_802_464,
}
"""Bytes of all kernels of libraries that share torch's runtime, for compute capability 8.0, by wheel and library
(benchmarks/measured/device_code.py). Flash-attn's are not here, of which no wheel is in a registry."""
BY_PRODUCTS = {
    "nvidia-cublas-cu12 12.1.3.1, libcublas.so.12": 43_611_600,
    "nvidia-cublas-cu12 12.1.3.1, libcublasLt.so.12": 306_865_952,
}
"""Likewise of libraries whose own runtimes load them where a matrix product is computed. NCCL's are no matter: it asks
for the attributes of each of its kernels, which loads them in any case (enqueue.cc, `ncclInitKernelsForDevice`)."""


class Contexts(NamedTuple):
    """The contexts that a GPU holds of a run.

    Attributes:
        others: Contexts of other processes of the run, which compute nothing there.
        eager: Whether all kernels are loaded at once.
    """

    others: int = 0
    eager: bool = False

    @property
    def kernels_bytes(self) -> int:
        """Bytes that the context of the process that computes takes more than one whose kernels come one by one."""
        return sum(AT_START.values()) + sum(BY_PRODUCTS.values()) if self.eager else 0

    def of_others(self, context_bytes: int) -> int:
        """Returns the bytes of the contexts of other processes.

        Args:
            context_bytes: The driver's bytes of a context, without kernels.
        """
        return self.others * (context_bytes + (sum(AT_START.values()) if self.eager else 0))


def of_other_ranks(ranks: int) -> int:
    """Returns how many CUDA contexts of other processes a GPU holds, where all of a node's load a checkpoint of GPTQ.

    fms_acceleration_peft, gptqmodel/models/base.py, `from_quantized`, asks for balanced memory before it knows where
    weights go, and accelerate then makes a tensor on every GPU (utils/modeling.py, `get_max_memory`: "Make sure CUDA is
    initialized on each GPU").
    """
    return ranks - 1
