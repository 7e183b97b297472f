"""Read the outline of an MP4: its boxes (ISO/IEC 14496-12), not its pictures.

Called by `refusals` and `encryption`, in the sandbox. Every size is checked before use. The number of boxes that it
reads is bounded.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

_MOST_BOXES = 50_000  # of one file, on all levels
_MOST_BRANDS = 64
_FIRST_BOXES = frozenset(b"ftyp moov mdat free skip wide pnot moof styp sidx emsg prft pdin uuid odrm".split())
_OF_MEDIA_SEGMENTS = frozenset({b"moof", b"styp", b"sidx"})
_SAMPLE_DESCRIPTION = (b"mdia", b"minf", b"stbl", b"stsd")
_ENCRYPTED_SAMPLE_ENTRIES = frozenset({b"encv", b"drmi"})  # Common Encryption (ISO/IEC 23001-7); FairPlay of iTunes
_STILL_BRANDS = frozenset({b"mif1", b"mif2", b"miaf", b"heic", b"heix", b"heim", b"heis", b"avif"})  # ISO/IEC 23008-12


class Box(NamedTuple):
    """`start` is where the payload starts. `end` may be beyond the end of the file, where the file is cut off."""

    kind: bytes
    start: int
    end: int

    @property
    def name(self) -> str:
        """The type as it is safe to print."""
        return repr(self.kind)[2:-1]


class Mp4Outline:
    """The top-level boxes of a file up to its first fragment, and what they say. Not an MP4 if `boxes` is empty."""

    def __init__(self, file: BinaryIO, size_bytes: int) -> None:
        self._file = file
        self._size_bytes = size_bytes
        self._left = _MOST_BOXES
        self.boxes: list[Box] = []
        self._kinds: set[bytes] = set()
        for box in self._boxes(0, size_bytes):
            if not self.boxes and box.kind not in _FIRST_BOXES:
                return
            self.boxes.append(box)
            self._kinds.add(box.kind)
            if {b"moov", b"moof"} <= self._kinds:  # more fragments follow, by the thousand
                return

    @property
    def has_index(self) -> bool:
        return b"moov" in self._kinds

    @property
    def is_media_segment(self) -> bool:
        """Whether these are fragments of a stream (DASH, HLS) without the moov that describes their tracks."""
        return not self.has_index and not self._kinds.isdisjoint(_OF_MEDIA_SEGMENTS)

    @property
    def is_init_segment(self) -> bool:
        """Whether a moov announces fragments, of which the file has none."""
        if not self.has_index or b"moof" in self._kinds:
            return False
        return any(next(self._find(box, (b"mvex",)), None) for box in self._of(b"moov"))

    @property
    def is_still_image(self) -> bool:
        """Whether it is a HEIF image (HEIC, AVIF). An image sequence has a moov: it counts as a video."""
        return not self.has_index and b"moof" not in self._kinds and not _STILL_BRANDS.isdisjoint(self._brands())

    @property
    def is_avif(self) -> bool:
        return b"avif" in self._brands()

    @property
    def cut_off(self) -> Box | None:
        """The box that should end after the end of the file."""
        return next((box for box in self.boxes if box.end > self._size_bytes), None)

    @property
    def is_encrypted(self) -> bool:
        """Whether the description of a video's samples says that they are encrypted."""
        if b"odrm" in self._kinds:  # a file of OMA DRM holds nothing else
            return True
        for moov in self._of(b"moov"):
            for trak in self._find(moov, (b"trak",)):
                for stsd in self._find(trak, _SAMPLE_DESCRIPTION):
                    entries = self._boxes(stsd.start + 8, min(stsd.end, self._size_bytes))
                    if any(entry.kind in _ENCRYPTED_SAMPLE_ENTRIES for entry in entries):
                        return True
        return False

    def _of(self, kind: bytes) -> Iterator[Box]:
        return (box for box in self.boxes if box.kind == kind)

    def _find(self, parent: Box, kinds: tuple[bytes, ...]) -> Iterator[Box]:
        """The boxes of type `kinds[0]` in `parent`, or those of type `kinds[1]` in these, and so on."""
        for box in self._boxes(parent.start, min(parent.end, self._size_bytes)):
            if box.kind == kinds[0]:
                yield from self._find(box, kinds[1:]) if len(kinds) > 1 else (box,)

    def _brands(self) -> set[bytes]:
        first = self.boxes[0] if self.boxes else None
        if first is None or first.kind != b"ftyp":
            return set()
        self._file.seek(first.start)
        words = self._file.read(min(first.end - first.start, 4 * _MOST_BRANDS))
        return {words[at : at + 4] for at in range(0, len(words), 4) if at != 4}  # the second word is a version

    def _boxes(self, start: int, end: int) -> Iterator[Box]:
        """The boxes between two positions of the file; only the last one may end beyond `end`."""
        at = start
        while end - at >= 8 and self._left > 0:
            self._left -= 1
            self._file.seek(at)
            header = self._file.read(16)
            if len(header) < 8:
                return
            length, kind, header_bytes = int.from_bytes(header[:4], "big"), header[4:8], 8
            if length == 1 and len(header) == 16:
                length, header_bytes = int.from_bytes(header[8:16], "big"), 16
            elif length == 0:  # to the end of its parent
                length = end - at
            if length < header_bytes:
                return
            yield Box(kind, at + header_bytes, at + length)
            at += length
