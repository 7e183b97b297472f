"""Read the outline of a Matroska or WebM file: its EBML elements (RFC 8794, RFC 9559), not its pictures.

Called by `refusals`, `encryption` and `extent`, in the sandbox. Every size is checked before use. The number of
elements that it reads is bounded.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

_MOST_ELEMENTS = 50_000  # of one file, on all levels
_SEGMENT, _CLUSTER, _TRACKS, _TRACK_ENTRY, _TRACK_TYPE = 0x18538067, 0x1F43B675, 0x1654AE6B, 0xAE, 0x83
_CONTENT_ENCRYPTION = (0x6D80, 0x6240, 0x5035)  # ContentEncodings, ContentEncoding, ContentEncryption
_CONTENT_ENCRYPTION_ALGORITHM = 0x47E1
_VIDEO = 1
_MOST_HEADER_BYTES = 12  # an id of 4 and a size of 8

MAGIC = b"\x1a\x45\xdf\xa3"
MEDIA_SEGMENT_MAGIC = _CLUSTER.to_bytes(4, "big")


class Element(NamedTuple):
    """`start` is where the data starts. `end` is that of the parent where the size is unknown, as in a live stream."""

    id: int
    start: int
    end: int
    size_known: bool


class MatroskaOutline:
    """What the elements of a file say about it. A damaged file says less."""

    def __init__(self, file: BinaryIO, size_bytes: int) -> None:
        self._file = file
        self._left = _MOST_ELEMENTS
        self._tracks: list[Element] = []
        self._has_clusters = False
        for segment in self._elements(0, size_bytes):
            if segment.id == _SEGMENT:
                self._read_segment(segment)

    @property
    def is_media_segment(self) -> bool:
        """Whether there are clusters of frames without the list of tracks that describes them."""
        return self._has_clusters and not self._tracks

    @property
    def is_encrypted(self) -> bool:
        """Whether the entry of a video track says that its frames are encrypted; signed frames are not."""
        for tracks in self._tracks:
            for track in self._find(tracks, (_TRACK_ENTRY,)):
                if self._number(track, _TRACK_TYPE) != _VIDEO:
                    continue
                for encryption in self._find(track, _CONTENT_ENCRYPTION):
                    if self._number(encryption, _CONTENT_ENCRYPTION_ALGORITHM):
                        return True
        return False

    def _read_segment(self, segment: Element) -> None:
        for element in self._elements(segment.start, segment.end):
            if element.id == _TRACKS:
                self._tracks.append(element)
            elif element.id == _CLUSTER:
                self._has_clusters = True
                if not element.size_known:  # its end is not known, so what follows it is not found
                    return

    def _find(self, parent: Element, ids: tuple[int, ...]) -> Iterator[Element]:
        """The elements `ids[0]` in `parent`, or the elements `ids[1]` in these, and so on."""
        for element in self._elements(parent.start, parent.end):
            if element.id == ids[0]:
                yield from self._find(element, ids[1:]) if len(ids) > 1 else (element,)

    def _number(self, parent: Element, element_id: int) -> int:
        """The unsigned integer of an element; 0 where the parent has none."""
        for element in self._find(parent, (element_id,)):
            self._file.seek(element.start)
            return int.from_bytes(self._file.read(min(element.end - element.start, 8)), "big")
        return 0

    def _elements(self, start: int, end: int) -> Iterator[Element]:
        at = start
        while at < end and self._left > 0:
            self._left -= 1
            self._file.seek(at)
            header = _header(self._file.read(_MOST_HEADER_BYTES))
            if header is None or at + header.size_bytes > end:
                return
            data = at + header.size_bytes
            stop = end if header.data_bytes is None else min(data + header.data_bytes, end)
            yield Element(header.id, data, stop, header.data_bytes is not None)
            at = stop


def stated_size(head: bytes) -> int | None:
    """The size that a file's segment states for the whole file; None where it states none.

    Args:
        head: the first bytes of the file.
    """
    at = 0
    while header := _header(head[at : at + _MOST_HEADER_BYTES]):
        if header.data_bytes is None:
            return None
        end = at + header.size_bytes + header.data_bytes
        if header.id == _SEGMENT:
            return end
        at = end
    return None


class _Header(NamedTuple):
    """`size_bytes` of the header itself; `data_bytes` of what follows it, None where the size is unknown."""

    id: int
    size_bytes: int
    data_bytes: int | None


def _header(data: bytes) -> _Header | None:
    """The header of the element at the start of `data`; None if there is none."""
    id_bytes = _length(data)
    size_bytes = _length(data[id_bytes:])
    if not 1 <= id_bytes <= 4 or not size_bytes or len(data) < id_bytes + size_bytes:
        return None
    bits = 7 * size_bytes  # of the size, without the marker of its length
    size = int.from_bytes(data[id_bytes : id_bytes + size_bytes], "big") & ((1 << bits) - 1)
    known = size != (1 << bits) - 1
    return _Header(int.from_bytes(data[:id_bytes], "big"), id_bytes + size_bytes, size if known else None)


def _length(data: bytes) -> int:
    """The number of bytes of the variable-size integer at the start of `data`, 1 to 8; 0 if there is none."""
    return 9 - data[0].bit_length() if data and data[0] else 0
