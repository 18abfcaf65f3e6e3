"""Describes a GPU as training sees it: usable bytes, rates, links, and what its architecture supports."""

import re
from typing import Annotated, Literal

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from hardware.fields import (
    GIB,
    MIB,
    BytesPerSecond,
    Count,
    Day,
    FlopsPerSecond,
    Frozen,
    HostMemoryBytes,
    MemoryBytes,
    Name,
    Text,
    Usd,
)
from hardware.sustained import Sustained, sustained

Vendor = Literal["nvidia", "amd", "intel"]
Dtype = Literal["fp32", "tf32", "fp16", "bf16", "fp8", "int8"]
LinkKind = Literal["nvlink", "nvlink-c2c", "xgmi", "pcie", "roce", "infiniband", "ethernet", "efa"]


class Link(Frozen):
    """Describes a link of one GPU; `bytes_per_second` is the bandwidth of all its lanes in one direction."""

    kind: LinkKind
    bytes_per_second: BytesPerSecond


class PeakFlops(Frozen):
    """Holds dense peak rates in FLOP/s (int8: operations/s), with products accumulated in fp32 (int8: in int32).

    `fp32` is the rate of the vector units, the others are rates of the matrix units; None if the GPU has no such units.
    Rates with sparsity are not meant.
    """

    fp32: FlopsPerSecond
    tf32: FlopsPerSecond | None = None
    fp16: FlopsPerSecond | None = None
    bf16: FlopsPerSecond | None = None
    fp8: FlopsPerSecond | None = None
    int8: FlopsPerSecond | None = None

    def of(self, dtype: Dtype) -> int | None:
        """Returns the peak rate for a dtype per second, or None if the GPU does not support it."""
        value: int | None = getattr(self, dtype)
        return value


_CONTEXT_MIB = {
    "6.0": 300,  # the "300 something" of pytorch issue 107667, GPU not named
    "6.1": 300,  # as 6.0
    "7.0": 390,
    "7.5": 300,  # 141 on a T4's 40 SMs, with about 4 for each SM on the 72 of a Quadro
    "8.0": 500,
    "8.6": 350,  # 210 on an A4000's 48 SMs, with about 4 for each SM on the 84 of a 3090 Ti
    "8.9": 470,
    "9.0": 520,
    "10.0": 715,
    "10.3": 715,  # as 10.0
    "12.0": 350,
    "12.1": 350,  # as 12.0
}
"""Largest measured CUDA context in MiB, by compute capability. It is the process memory in torch's out-of-memory
messages less what is allocated and reserved; on sm90, "Process ... has 522.00 MiB memory in use" of a process without
tensors."""
_UNKNOWN_CONTEXT_MIB = 500  # assumed, no source: HIP's and Gaudi's messages do not say


def _usual_context_bytes(fields: dict[str, object]) -> int:
    return _CONTEXT_MIB.get(str(fields.get("compute_capability")), _UNKNOWN_CONTEXT_MIB) * MIB


_HOST_TO_GPU_MEMORY = 2
"""Bytes of host memory for each byte of GPU memory where the catalog names no machine. Rented machines have 48 GB for
an RTX 4090 of 24 and 60 GB for an RTX 5090 of 32 (docs.fal.ai, machine types)."""


def _usual_host_memory_bytes(fields: dict[str, object]) -> int:
    size = fields.get("memory_bytes")
    return _HOST_TO_GPU_MEMORY * (size if isinstance(size, int) else GIB)


_CAPABILITY_PATTERN: dict[Vendor, str] = {
    "nvidia": r"\d{1,2}\.\d",
    "amd": r"gfx[0-9a-f]{3,5}",
    "intel": r"[a-z][a-z0-9-]*",
}
_CDNA2_AND_NEWER = ("gfx90a", "gfx942", "gfx950")
_CAPABILITY_EXAMPLE: dict[Vendor, str] = {"nvidia": '"8.0"', "amd": "gfx942", "intel": "gaudi2"}


class GPU(Frozen):
    """Describes one device as torch numbers devices; rates are per second and in one direction."""

    name: Name
    aliases: tuple[Name, ...] = ()
    vendor: Vendor
    architecture: Text
    compute_capability: Text
    memory_bytes: MemoryBytes
    """Bytes that processes can use: `torch.cuda.get_device_properties(0).total_memory`, not the size in the name."""
    memory_bandwidth_bytes_per_second: BytesPerSecond
    peak_flops: PeakFlops
    gpu_link: Link
    """Link to the other GPUs of the node, with its bandwidth when all of them communicate."""
    host_link: Link
    network_link: Link | None = None
    """This GPU's share of the node's network; None where unknown, see `Cluster.network_bytes_per_second`."""
    gpus_per_node: Count
    power_watts: Annotated[int, Field(gt=0, le=10_000, strict=True)] | None = None
    """Power limit of the board as it is sold; None where it is not known."""
    context_bytes: MemoryBytes = Field(default_factory=_usual_context_bytes)
    """Bytes of a process that the driver's context and loaded kernels take, outside of torch's allocator."""
    host_memory_bytes: HostMemoryBytes = Field(default_factory=_usual_host_memory_bytes)
    """This GPU's share of the host memory of the machine that it is usually in."""
    price_per_hour_usd: Usd | None = None
    """US dollars for one GPU that is rented alone, without taxes and storage; None where no price is known."""
    price_date: Day | None = None
    """Day on which the price was read; None where nobody has written it down."""
    price_source: Text | None = None
    """Where the price was read, and its tier."""
    source: Text

    @model_validator(mode="after")
    def _capability_fits_vendor(self) -> "GPU":
        if re.fullmatch(_CAPABILITY_PATTERN[self.vendor], self.compute_capability) is None:
            raise PydanticCustomError(
                "compute_capability",
                "compute_capability {value} is not of {vendor}'s form, such as {example}",
                {
                    "value": repr(self.compute_capability),
                    "vendor": self.vendor,
                    "example": _CAPABILITY_EXAMPLE[self.vendor],
                },
            )
        return self

    def has_sm(self, minimum: tuple[int, int]) -> bool:
        """Returns whether this is an NVIDIA GPU of at least this compute capability."""
        return self.vendor == "nvidia" and self._sm >= minimum

    @property
    def _sm(self) -> tuple[int, int]:
        major, minor = self.compute_capability.split(".")
        return int(major), int(minor)

    @property
    def sustained(self) -> Sustained:
        """Returns the shares of the peak rates that training reaches."""
        return sustained(self.compute_capability, self.name)

    @property
    def supports_fp16(self) -> bool:
        """Returns whether the catalog gives a peak rate in fp16.

        The P100 has no tensor cores, but computes in fp16 at twice its fp32 rate.
        """
        return self.peak_flops.fp16 is not None

    @property
    def supports_bf16(self) -> bool:
        """Returns whether the hardware computes in bf16.

        NVIDIA does from sm80 on (A100 whitepaper); AMD from CDNA1 on and Gaudi do, whose entries have a bf16 peak. On
        older NVIDIA GPUs torch emulates bf16 slowly, and `torch.cuda.is_bf16_supported()` returns True.
        """
        return self.has_sm((8, 0)) or (self.vendor != "nvidia" and self.peak_flops.bf16 is not None)

    @property
    def supports_tf32(self) -> bool:
        """Returns whether the hardware computes in TF32.

        NVIDIA does from sm80 on (A100 whitepaper); of AMD only gfx942 does (xf32 of the CDNA3 ISA, absent from CDNA4).
        """
        return self.has_sm((8, 0)) or (self.vendor == "amd" and self.peak_flops.tf32 is not None)

    @property
    def supports_fp8(self) -> bool:
        """Returns whether the GPU has matrix units for fp8.

        NVIDIA has them from sm89 on (which `torch._scaled_mm` checks), AMD from gfx942 on, Intel in Gaudi 2 and 3.
        """
        return self.has_sm((8, 9)) or (self.vendor != "nvidia" and self.peak_flops.fp8 is not None)

    @property
    def supports_flash_attention(self) -> bool:
        """Returns whether SDPA has a flash kernel for the GPU.

        NVIDIA: sm80 to sm121. AMD: the architectures that AOTriton is built for. Gaudi: its FusedSDPA.
        Source: torch aten/src/ATen/native/transformers/cuda/sdp_utils.cpp, check_flash_attention_hardware_support;
        AOTriton's README (gfx90a, gfx942, gfx950); Habana's documentation of FusedSDPA.
        """
        if self.vendor == "amd":
            return self.compute_capability in _CDNA2_AND_NEWER
        return self.vendor == "intel" or (8, 0) <= self._sm <= (12, 1)

    @property
    def prefers_cudnn_attention(self) -> bool:
        """Returns whether SDPA tries cuDNN's kernel before the flash kernel: on Hopper and data-center Blackwell.

        Source: torch aten/src/ATen/native/transformers/cuda/sdp_utils.cpp, check_prefer_cudnn_attention.
        """
        return self.vendor == "nvidia" and self._sm in ((9, 0), (10, 0), (10, 3))

    @property
    def supports_bitsandbytes(self) -> bool:
        """Returns whether bitsandbytes' NF4 layers run: on NVIDIA from sm60, AMD CDNA from gfx90a, and Gaudi.

        Source: bitsandbytes 0.50 installation guide.
        """
        if self.vendor == "amd":
            return self.compute_capability in _CDNA2_AND_NEWER
        return self.vendor == "intel" or self.has_sm((6, 0))

    @property
    def supports_triton(self) -> bool:
        """Returns whether Triton runs: on NVIDIA from sm70 and on AMD; it has no backend for Gaudi.

        Source: torch/_dynamo/device_interface.py, `raise_if_triton_unavailable`.
        """
        return self.vendor == "amd" or self.has_sm((7, 0))

    @property
    def cublas_workspace_bytes(self) -> int:
        """Returns the bytes that torch allocates for each BLAS handle and stream by default.

        The environment variable CUBLAS_WORKSPACE_CONFIG can change the size, which is not considered here.
        NVIDIA: 32 MiB from sm90 on, before that :4096:2:16:8 = 2 x 4096 KiB + 8 x 16 KiB = 8.125 MiB.
        AMD: 128 MiB on gfx942 and gfx950, 32 MiB elsewhere. Gaudi: none.
        Source: torch aten/src/ATen/cuda/CublasHandlePool.cpp, parseChosenWorkspaceSize; older releases give sm100 and
        sm120 the 8.125 MiB. Where that file unifies the workspaces, cuBLASLt uses the same one.
        """
        if self.vendor == "intel":
            return 0
        if self.vendor == "amd":
            return (128 if self.compute_capability in ("gfx942", "gfx950") else 32) * MIB
        return 32 * MIB if self._sm >= (9, 0) else 2 * 4096 * 1024 + 8 * 16 * 1024
