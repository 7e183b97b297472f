"""Damage the bytes of a file in one of many ways, chosen by a seed. The same bytes and seed give the same file.

Every way is one that files meet: cut off uploads, bad disks and cables, broken software, and hostile people.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable

_MOST_MUTATIONS = 3  # of one file
_HEAD_BYTES = 4096
_BOUNDARY_NUMBERS = (0, 1, 2, 7, 255, 256, 2**15 - 1, 2**15, 2**16 - 1, 2**24, 2**31 - 1, 2**31, 2**32 - 2, 2**32 - 1)
# Names of boxes (MP4), chunks (AVI) and elements (Matroska): what stands beside them has a meaning to a demuxer.
_FOUR_LETTERS = re.compile(
    rb"ftyp|moov|mvhd|trak|tkhd|edts|elst|mdia|mdhd|hdlr|minf|stbl|stsd|stts|ctts|stsc|stsz|stco|co64|stss|mdat|mvex|"
    rb"trex|moof|mfhd|traf|tfhd|tfdt|trun|sidx|mfra|tfra|avc1|avcC|hvc1|hvcC|av01|av1C|mp4v|esds|colr|pasp|"
    rb"RIFF|LIST|hdrl|avih|strl|strh|strf|movi|idx1|indx|00dc|OggS|FLV\x01"
)
_ELEMENTS = re.compile(
    rb"\x1a\x45\xdf\xa3|\x18\x53\x80\x67|\x11\x4d\x9b\x74|\x15\x49\xa9\x66|\x16\x54\xae\x6b|\x1f\x43\xb6\x75|"
    rb"\x1c\x53\xbb\x6b|\x63\xa2|\x2a\xd7\xb1|\x44\x89|\x23\xe3\x83|\x86[\x80-\x90]|\xa3[\x40-\x80]|\xa0[\x40-\x80]"
)


def mutate(content: bytes, other: bytes, seed: int) -> tuple[bytes, str]:
    """A mutated copy of `content`, and the names of the mutations.

    Args:
        other: a second file, for mutations that join two.

    >>> mutate(b"x" * 100, b"y" * 100, 8) == mutate(b"x" * 100, b"y" * 100, 8)
    True
    """
    draw, names = random.Random(seed), []
    for _ in range(draw.randint(1, _MOST_MUTATIONS)):
        mutation = draw.choice(MUTATIONS)
        content = mutation(content, other, draw)
        names.append(mutation.__name__)
    return content, ", ".join(names)


def flip_bits(content: bytes, _: bytes, draw: random.Random) -> bytes:
    made = bytearray(content)
    for _ in range(draw.choice((1, 1, 10, 100, 1000)) if made else 0):
        made[_place(content, draw)] ^= 1 << draw.randrange(8)
    return bytes(made)


def cut_off_end(content: bytes, _: bytes, draw: random.Random) -> bytes:
    return content[: draw.randint(0, len(content))]


def cut_off_start(content: bytes, _: bytes, draw: random.Random) -> bytes:
    return content[_place(content, draw) :]


def overwrite_block(content: bytes, _: bytes, draw: random.Random) -> bytes:
    start, end = _block(content, draw)
    size = end - start
    return content[:start] + draw.choice((bytes(size), b"\xff" * size, draw.randbytes(size))) + content[end:]


def duplicate_block(content: bytes, _: bytes, draw: random.Random) -> bytes:
    start, end = _block(content, draw)
    return content[:end] + content[start:]


def remove_block(content: bytes, _: bytes, draw: random.Random) -> bytes:
    start, end = _block(content, draw)
    return content[:start] + content[end:]


def swap_blocks(content: bytes, _: bytes, draw: random.Random) -> bytes:
    a, b, c, d = sorted(_place(content, draw) for _ in range(4))
    return content[:a] + content[c:d] + content[b:c] + content[a:b] + content[d:]


def change_number_in_head(content: bytes, _: bytes, draw: random.Random) -> bytes:
    return _with_number(content, draw.randrange(max(1, min(_HEAD_BYTES, len(content)))), draw)


def change_number_in_tail(content: bytes, _: bytes, draw: random.Random) -> bytes:
    return _with_number(content, max(0, len(content) - draw.randint(1, _HEAD_BYTES)), draw)


def change_length(content: bytes, _: bytes, draw: random.Random) -> bytes:
    """Change the length of a box (before its name), of a chunk or of an element (after its name)."""
    names = [*_FOUR_LETTERS.finditer(content), *_ELEMENTS.finditer(content[: 64 * 2**10])]
    if not names:
        return content
    name = draw.choice(names)
    is_box = len(name[0]) == 4 and draw.random() < 0.7
    return _with_number(content, max(0, name.start() - 4) if is_box else name.end(), draw)


def change_field(content: bytes, _: bytes, draw: random.Random) -> bytes:
    """Change a number inside a box, a chunk or an element whose name is known."""
    names = list(_FOUR_LETTERS.finditer(content)) or list(_ELEMENTS.finditer(content))
    return _with_number(content, draw.choice(names).end() + draw.randrange(64), draw) if names else content


def rename(content: bytes, _: bytes, draw: random.Random) -> bytes:
    """Give a box or chunk the name of another one."""
    names = list(_FOUR_LETTERS.finditer(content))
    if not names:
        return content
    old, new = draw.choice(names), draw.choice(names)
    return content[: old.start()] + new[0] + content[old.end() :]


def splice(content: bytes, other: bytes, draw: random.Random) -> bytes:
    """Continue the file in the middle of another file."""
    return content[: _place(content, draw)] + other[_place(other, draw) :]


def insert_other(content: bytes, other: bytes, draw: random.Random) -> bytes:
    at, (start, end) = _place(content, draw), _block(other, draw)
    return content[:at] + other[start:end] + content[at:]


def append_other(content: bytes, other: bytes, _: random.Random) -> bytes:
    return content + other


def append_itself(content: bytes, _: bytes, draw: random.Random) -> bytes:
    return content + content[draw.choice((0, _place(content, draw))) :]


MUTATIONS: tuple[Callable[[bytes, bytes, random.Random], bytes], ...] = (
    flip_bits, cut_off_end, cut_off_start, overwrite_block, duplicate_block, remove_block, swap_blocks,
    change_number_in_head, change_number_in_tail, change_length, change_field, rename, splice, insert_other,
    append_other, append_itself,
)  # fmt: skip


def _place(content: bytes, draw: random.Random) -> int:
    """A position; in every second case near the start, where headers are."""
    size = len(content) if draw.random() < 0.5 else min(len(content), _HEAD_BYTES)
    return draw.randrange(size) if size else 0


def _block(content: bytes, draw: random.Random) -> tuple[int, int]:
    start = _place(content, draw)
    return start, min(len(content), start + draw.choice((1, 4, 16, 188, 512, 4096, 2**15, 2**18)))


def _with_number(content: bytes, at: int, draw: random.Random) -> bytes:
    """`content` with a number of 1, 2, 4 or 8 bytes at `at` replaced by one that code may forget, or by a neighbour."""
    size, order = draw.choice((1, 2, 4, 4, 4, 8)), draw.choice(("big", "big", "little"))
    old = int.from_bytes(content[at : at + size], order)
    new = draw.choice((*_BOUNDARY_NUMBERS, old + 1, old - 1, old * 2, old // 2, ~old, draw.getrandbits(8 * size)))
    return content[:at] + (new % 2 ** (8 * size)).to_bytes(size, order) + content[at + size :]
