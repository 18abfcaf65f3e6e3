"""What is counted of the kernels in a library: one cubin of each container, and what of it takes a GPU's memory."""

from __future__ import annotations

import struct

import pyarrow
from measured.device_code import ALLOCATED, CONTAINER, loaded_bytes

PTX, CUBIN, COMPRESSED, PROGBITS = 1, 2, 0x2000, 1


def elf(*sections: tuple[str, int, bytes]) -> bytes:
    """An ELF file of sections with a name, flags and contents."""
    named = [("", 0, b""), *sections, (".shstrtab", 0, b"")]
    names = b"\0".join(name.encode() for name, _, _ in named) + b"\0"
    named[-1] = (".shstrtab", 0, names)
    headers, body, name_at = b"", b"", 0
    for name, flags, content in named:
        headers += struct.pack("<2I4Q2I2Q", name_at, PROGBITS, flags, 0, 64 + len(body), len(content), 0, 0, 0, 0)
        body += content
        name_at += len(name) + 1
    start = 64 + len(body)
    return (
        b"\x7fELF".ljust(40, b"\0")
        + struct.pack("<QI6H", start, 0, 64, 0, 0, 64, len(named), len(named) - 1)
        + body
        + headers
    )


def entry(kind: int, capability: int, content: bytes, *, packed: bool = False) -> bytes:
    size = len(content)
    if packed:
        content = pyarrow.compress(content, codec="lz4_raw", asbytes=True)
    padded = content.ljust(-(-len(content) // 8) * 8, b"\0")
    flags = COMPRESSED if packed else 0
    header = struct.pack("<2HIQ2I2H", kind, 0, 64, len(padded), len(content) if packed else 0, 0, 0, 0)
    return header + struct.pack("<3I3Q", capability, 0, 0, flags, 0, size) + padded


def container(*entries: bytes) -> bytes:
    return CONTAINER + struct.pack("<2HQ", 1, 16, sum(map(len, entries))) + b"".join(entries)


def cubin(num_bytes: int) -> bytes:
    code, scratch, note = (b"\1" * num_bytes, b"\0" * 5, b"\2" * 7)
    return elf((".text.add", ALLOCATED, code), (".nv.shared.add", ALLOCATED, scratch), (".symtab", 0, note))


def library(*containers: bytes) -> bytes:
    return elf((".text", ALLOCATED, b"host"), (".nv_fatbin", ALLOCATED, b"".join(containers)))


def test_code_takes_memory_and_neither_shared_memory_nor_names_do() -> None:
    assert loaded_bytes(library(container(entry(CUBIN, 80, cubin(1000)))), 80) == 1000


def test_a_compressed_cubin_takes_what_it_is_unpacked() -> None:
    assert loaded_bytes(library(container(entry(CUBIN, 80, cubin(1000), packed=True))), 80) == 1000


def test_the_newest_cubin_that_the_gpu_runs_is_taken_of_each_container() -> None:
    of_many = container(*(entry(CUBIN, capability, cubin(capability)) for capability in (70, 80, 86, 90)))
    of_one = container(entry(PTX, 80, b"text"), entry(CUBIN, 80, cubin(1000)))
    assert loaded_bytes(library(of_many, of_one), 80) == 80 + 1000
    assert loaded_bytes(library(of_many, of_one), 89) == 86 + 1000
    assert loaded_bytes(library(of_many, of_one), 75) == 70


def test_a_library_without_kernels_takes_nothing() -> None:
    assert loaded_bytes(elf((".text", ALLOCATED, b"host")), 80) == 0
