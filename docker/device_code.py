"""Removes the code for GPUs from a shared library: the section .nv_fatbin of ELF, 320 MiB of libtorch_cuda.so.

The library stays as it is in memory, with zeros where the section was: the loader fills up a segment that is shorter in
the file than in memory. Only the CUDA runtime reads the section, when it finds a GPU. `drop_cuda` calls this.
Format: https://refspecs.linuxfoundation.org/elf/gabi4+/contents.html, 64 bits, little endian.
"""

from __future__ import annotations

import struct
from dataclasses import astuple, dataclass, replace
from pathlib import Path

SECTION = b".nv_fatbin"
PAGE = 4096
_SECTION_TABLE_AT = 0x28  # of the header: offset of the section headers
_COUNTS_AT = 0x34  # of the header: sizes and numbers of headers
_HEADER_BYTES = 64
_NO_BITS, _LOAD, _NOTE = 8, 1, 4


@dataclass(frozen=True)
class Segment:
    """A program header."""

    kind: int
    flags: int
    offset: int
    address: int
    physical: int
    file_bytes: int
    memory_bytes: int
    align: int

    FORMAT = struct.Struct("<IIQQQQQQ")


@dataclass(frozen=True)
class Section:
    """A section header."""

    name: int
    kind: int
    flags: int
    address: int
    offset: int
    size: int
    link: int
    info: int
    align: int
    entry_bytes: int

    FORMAT = struct.Struct("<IIQQQQIIQQ")


def drop_device_code(library: Path) -> None:
    """Remove the section from a file, if it has one of more than two pages.

    Raises:
        SystemExit: the library has no place for one more segment.
    """
    data = library.read_bytes()
    if data[:6] != b"\x7fELF\x02\x01":
        return
    (sections_at,) = struct.unpack_from("<Q", data, _SECTION_TABLE_AT)
    _, _, segment_count, _, section_count, names_index = struct.unpack_from("<6H", data, _COUNTS_AT)
    sections = [
        Section(*Section.FORMAT.unpack_from(data, sections_at + n * Section.FORMAT.size)) for n in range(section_count)
    ]
    segments = [
        Segment(*Segment.FORMAT.unpack_from(data, _HEADER_BYTES + n * Segment.FORMAT.size))
        for n in range(segment_count)
    ]
    names_at = sections[names_index].offset if sections else 0
    named = [one for one in sections if data.startswith(SECTION + b"\0", names_at + one.name)]
    found = [one for one in named if one.kind != _NO_BITS]
    if not found or found[0].size <= 2 * PAGE:
        return
    start = -(-found[0].offset // PAGE) * PAGE
    end = (found[0].offset + found[0].size) // PAGE * PAGE

    def moved(offset: int) -> int:
        return offset if offset <= start else offset - (end - start)

    new = _split(library, [replace(one, offset=moved(one.offset)) for one in segments], segments, start=start, end=end)
    shorter = bytearray(data[:start] + data[end:])
    struct.pack_into("<Q", shorter, _SECTION_TABLE_AT, moved(sections_at))
    for index, segment in enumerate(new):
        Segment.FORMAT.pack_into(shorter, _HEADER_BYTES + index * Segment.FORMAT.size, *astuple(segment))
    for index, section in enumerate(sections):
        kind = _NO_BITS if section is found[0] else section.kind
        changed = replace(section, offset=moved(section.offset), kind=kind)
        Section.FORMAT.pack_into(shorter, moved(sections_at) + index * Section.FORMAT.size, *astuple(changed))
    mode = library.stat().st_mode
    library.unlink()  # it may be a link to a file that others use
    library.write_bytes(shorter)
    library.chmod(mode)


def _split(library: Path, segments: list[Segment], before: list[Segment], *, start: int, end: int) -> list[Segment]:
    """Replace the segment around the hole by two. The second one takes the place of a note, which nothing reads."""
    index = next(
        n for n, one in enumerate(before) if one.kind == _LOAD and one.offset <= start < one.offset + one.file_bytes
    )
    whole = before[index]
    if not any(one.kind == _NOTE for one in segments):
        raise SystemExit(f"{library} has no place for one more segment: expected a note that can go")
    first = replace(whole, file_bytes=start - whole.offset, memory_bytes=end - whole.offset)
    skipped = end - whole.offset
    second = replace(
        whole,
        offset=start,
        address=whole.address + skipped,
        physical=whole.physical + skipped,
        file_bytes=whole.file_bytes - skipped,
        memory_bytes=whole.memory_bytes - skipped,
    )
    rest = [*segments[:index], first, second, *segments[index + 1 :]]
    rest.remove(next(one for one in rest if one.kind == _NOTE))
    return rest
