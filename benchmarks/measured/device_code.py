"""Counts the bytes of code and data of all kernels that libraries in wheels have for a GPU.

    pip download --no-deps torch==2.4.1
    python benchmarks/measured/device_code.py --compute-capability 8.0 torch-2.4.1-*.whl

Kernels are loaded one by one, as they are used, since CUDA 12.2. Before, and with CUDA_MODULE_LOADING=EAGER, a
library's runtime loads all that the library has registered into each context that it uses (CUDA programming guide,
"Lazy Loading"). What a library registers is in its section .nv_fatbin: containers of cubins, of each of which the
driver takes the newest that the GPU runs.
"""

from __future__ import annotations

import argparse
import struct
import zipfile
from collections.abc import Iterator
from typing import NamedTuple

import pyarrow

from hardware import MIB

CONTAINER, CUBIN, COMPRESSED = struct.pack("<I", 0xBA55ED50), 2, 0x2000
"""What a container begins with, the kind of an entry that is a cubin, and the flag of one that LZ4 has compressed.

Nobody documents the format; github.com/n-eiling/cuda-fatbin-decompression describes it."""
ALLOCATED = 0x2
"""The flag of a section that takes memory (the ELF specification)."""


class Section(NamedTuple):
    """A section of an ELF file."""

    name: str
    kind: int
    flags: int
    offset: int
    size: int


def sections(elf: bytes) -> Iterator[Section]:
    """Yields the sections of a 64-bit ELF file."""
    (start,) = struct.unpack_from("<Q", elf, 40)
    size, number, names = struct.unpack_from("<3H", elf, 58)
    (texts,) = struct.unpack_from("<Q", elf, start + names * size + 24) if number else (0,)
    for i in range(number):
        name, kind, flags, _, offset, length = struct.unpack_from("<2I4Q", elf, start + i * size)
        name_at = texts + name
        yield Section(elf[name_at : elf.index(b"\0", name_at)].decode(), kind, flags, offset, length)


def cubins(fatbin: bytes, compute_capability: int) -> Iterator[bytes]:
    """Yields the cubins that a GPU runs, one of each container.

    Args:
        fatbin: Containers, one after another.
        compute_capability: As in 80.
    """
    at = fatbin.find(CONTAINER)
    while at >= 0:
        header, length = struct.unpack_from("<HQ", fatbin, at + 6)
        entries = list(_entries(fatbin[at + header : at + header + length]))
        runs = [arch for arch, _ in entries if arch <= compute_capability and arch // 10 == compute_capability // 10]
        yield from (cubin for arch, cubin in entries if runs and arch == max(runs))
        at = fatbin.find(CONTAINER, at + header + length)


def _entries(body: bytes) -> Iterator[tuple[int, bytes]]:
    """Yields the compute capability and the bytes of each cubin of a container."""
    at = 0
    while at < len(body):
        kind, _, header, length, compressed = struct.unpack_from("<2HIQI", body, at)
        (arch,), (flags,), (size,) = (
            struct.unpack_from(f, body, at + i) for f, i in (("<I", 28), ("<Q", 40), ("<Q", 56))
        )
        start = at + header
        if kind == CUBIN:
            packed = flags & COMPRESSED
            cubin = body[start : start + (compressed if packed else length)]
            yield arch, pyarrow.decompress(cubin, size, codec="lz4_raw", asbytes=True) if packed else cubin
        at = start + length


def loaded_bytes(library: bytes, compute_capability: int) -> int:
    """Returns the bytes that all kernels of a library take: code, constants and variables.

    Shared memory is on the chip, and takes none.

    Args:
        library: A shared library.
        compute_capability: As in 80.
    """
    fatbins = [library[s.offset : s.offset + s.size] for s in sections(library) if s.name == ".nv_fatbin"]
    return sum(
        section.size
        for fatbin in fatbins
        for cubin in cubins(fatbin, compute_capability)
        for section in sections(cubin)
        if section.flags & ALLOCATED and not section.name.startswith(".nv.shared")
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheels", metavar="WHEEL", nargs="+", help="a wheel of a library")
    parser.add_argument("--compute-capability", metavar="X.Y", default="8.0", help="the GPU's")
    options = parser.parse_args()
    capability = int(options.compute_capability.replace(".", ""))
    for wheel in options.wheels:
        with zipfile.ZipFile(wheel) as files:
            for name in (name for name in files.namelist() if ".so" in name):
                if num_bytes := loaded_bytes(files.read(name), capability):
                    print(f"{name}: {num_bytes:,} bytes, {num_bytes / MIB:.1f} MiB")


if __name__ == "__main__":
    main()
