"""What the driver reads from a cubin before a kernel runs: architecture, registers, memory, limits."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

_MAX_THREADS, _FRAME_SIZE = 0x05, 0x11  # attributes of .nv.info
_SIZED_VALUE = 0x04


class CubinError(Exception):
    """These bytes are no cubin that can be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelFacts:
    """What one kernel takes."""

    registers: int
    barriers: int
    shared_bytes: int
    local_bytes: int
    constant_bytes: int
    max_threads: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Cubin:
    """Machine code: its bytes, the number of its architecture (90), its kernels."""

    data: bytes
    arch: int
    kernels: dict[str, KernelFacts]


@dataclass(frozen=True, slots=True)
class _Section:
    name: str
    flags: int
    offset: int
    size_bytes: int
    info: int
    content: bytes


def image_bytes(header: bytes) -> int:
    """Return the length of the ELF file that starts with these 64 bytes; its tables lie at the end."""
    if len(header) < 64 or header[:4] != b"\x7fELF" or header[4] != 2:
        raise CubinError
    programs, sections = struct.unpack_from("<QQ", header, 32)
    program_bytes, programs_count, section_bytes, sections_count = struct.unpack_from("<4H", header, 54)
    end = max(programs + program_bytes * programs_count, sections + section_bytes * sections_count)
    if not 64 < end < 1 << 30 or section_bytes != 64:
        raise CubinError
    return end


def read_cubin(data: bytes) -> Cubin:
    """Return what ``data`` says of itself.

    Raises:
        CubinError: it cannot be read.
    """
    try:
        sections = {section.name: section for section in _sections(data)}
        names = _symbol_names(sections)
        frames = dict(_frame_sizes(sections[".nv.info"].content, names))
        kernels = {
            name.removeprefix(".text."): _kernel(name.removeprefix(".text."), sections, frames)
            for name in sections
            if name.startswith(".text.")
        }
    except (struct.error, KeyError, ValueError, IndexError) as error:
        raise CubinError from error
    return Cubin(data=data, arch=struct.unpack_from("<I", data, 48)[0] >> 8 & 0xFF, kernels=kernels)


def _sections(data: bytes) -> Iterator[_Section]:
    (table,) = struct.unpack_from("<Q", data, 40)
    count, names_index = struct.unpack_from("<HH", data, 60)
    rows = [struct.unpack_from("<IIQQQQIIQQ", data, table + 64 * index) for index in range(count)]
    names = rows[names_index][4]
    for name, kind, flags, _, offset, size, _, info, _, _ in rows:
        text = data[names + name : data.index(b"\0", names + name)].decode()
        no_bits = 8
        yield _Section(
            text, flags, offset, size, info, b"" if kind == no_bits else data[offset : offset + size]
        )


def _symbol_names(sections: dict[str, _Section]) -> list[str]:
    symbols, strings = sections[".symtab"].content, sections[".strtab"].content
    starts = [struct.unpack_from("<I", symbols, at)[0] for at in range(0, len(symbols), 24)]
    return [strings[start : strings.index(b"\0", start)].decode() for start in starts]


def _attributes(content: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + 4 <= len(content):
        form, attribute, value = struct.unpack_from("<BBH", content, at)
        at += 4
        if form == _SIZED_VALUE:
            yield attribute, content[at : at + value]
            at += value


def _frame_sizes(content: bytes, names: list[str]) -> Iterator[tuple[str, int]]:
    for attribute, value in _attributes(content):
        if attribute == _FRAME_SIZE:
            symbol, size_bytes = struct.unpack("<II", value)
            yield names[symbol], size_bytes


def _kernel(name: str, sections: dict[str, _Section], frames: dict[str, int]) -> KernelFacts:
    code, shared = sections[f".text.{name}"], sections.get(f".nv.shared.{name}")
    info = sections.get(f".nv.info.{name}")
    max_threads = 1024
    for attribute, value in _attributes(info.content) if info else ():
        if attribute == _MAX_THREADS:
            x, y, z = struct.unpack("<III", value)
            max_threads = min(max_threads, x * y * z)
    constants = sections.get(".nv.constant3")
    return KernelFacts(
        registers=code.info >> 24,
        barriers=code.flags >> 20 & 0x7F,
        shared_bytes=shared.size_bytes if shared else 0,
        local_bytes=frames.get(name, 0),
        constant_bytes=constants.size_bytes if constants else 0,
        max_threads=max_threads,
    )
