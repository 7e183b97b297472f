"""The shape of a segment, which determines its memory in a batch. Peaks are stored by shape.

It needs no torch, so that a process that only talks to a server can use shapes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from nightreel.domain import MemoryStage

PREFILL_TOKENS = 4096
"""Maximum number of prefix tokens per forward pass, unless one segment has more: they already occupy a GPU, and more
would only hold memory for their activations."""
_SIGNIFICANT_BITS = 5
_ALIGNMENT = 16  # values per row of a mask: 8 suffice for two bytes per value, 4 for four


@dataclass(frozen=True, slots=True)
class BatchBytes:
    """The bytes of batches of segments of one shape.

    Args:
        kept: of each segment, as long as the batch exists.
        prefill: of each segment whose prefix is in a forward pass. together: maximum number of these.
        asking: of each segment whose questions are in a forward pass, after all prefixes.
    """

    kept: int
    prefill: int = 0
    together: int = 1
    asking: int = 0

    def of(self, segments: int) -> int:
        """The bytes of a batch of so many segments.

        >>> [BatchBytes(kept=10, prefill=5, together=2, asking=1).of(segments) for segments in (1, 2, 3)]
        [15, 30, 40]
        """
        return segments * self.kept + max(min(segments, self.together) * self.prefill, segments * self.asking)

    def most(self, room_bytes: int) -> int:
        """The largest number of segments with at most so many bytes.

        >>> [BatchBytes(kept=10, prefill=5, together=2, asking=1).most(room) for room in (14, 15, 39, 40)]
        [0, 1, 2, 3]
        """
        prefilled = max(
            min(self.together, room_bytes // (self.kept + self.prefill)),
            (room_bytes - self.together * self.prefill) // self.kept,
        )
        return min(prefilled, room_bytes // (self.kept + self.asking))


@dataclass(frozen=True, slots=True)
class SegmentShape:
    """The size of one segment for the language side, in tokens.

    Args:
        prefix: tokens of the prefix.
        suffixes: tokens of all suffixes and branches.
        generated: places for generated tokens, over all rows.
        reads: positions whose logits are read in one pass.
        copies: maximum number of copies of the prefix's cache at a time; 0 if all questions share it.
    """

    stage: ClassVar[MemoryStage] = MemoryStage.LANGUAGE
    prefix: int
    suffixes: int
    generated: int
    reads: int
    copies: int = 0

    def joined(self, other: SegmentShape) -> SegmentShape:
        """The shape that holds both: in a batch every segment is padded to the largest."""
        return SegmentShape(
            prefix=max(self.prefix, other.prefix),
            suffixes=max(self.suffixes, other.suffixes),
            generated=max(self.generated, other.generated),
            reads=max(self.reads, other.reads),
            copies=max(self.copies, other.copies),
        )

    def __str__(self) -> str:
        """The text under which peaks are stored.

        >>> str(SegmentShape(prefix=1042, suffixes=130, generated=96, reads=14))
        'prefix=1088 suffixes=136 generated=96 reads=14'
        """
        return (
            f"prefix={_rounded(self.prefix)} suffixes={_rounded(self.suffixes)} "
            f"generated={_rounded(self.generated)} reads={_rounded(self.reads)}"
            + (f" copies={_rounded(self.copies)}" if self.copies else "")
        )


@dataclass(frozen=True, slots=True)
class FrameShape:
    """The size of one segment for the vision side.

    Args:
        values: number of pixel values from the processor.
        value_bytes: bytes of one value.
    """

    stage: ClassVar[MemoryStage] = MemoryStage.VISION
    values: int
    value_bytes: int

    def joined(self, other: FrameShape) -> FrameShape:
        return FrameShape(max(self.values, other.values), max(self.value_bytes, other.value_bytes))

    def __str__(self) -> str:
        """The text under which peaks are stored.

        >>> str(FrameShape(values=16 * 3 * 448 * 448, value_bytes=4))
        'pixel_values=9961472'
        """
        return f"pixel_values={_rounded(self.values)}"


def aligned(width: int) -> int:
    """Tokens that a mask and a cache have room for: rows of a mask that are not aligned are copied in every layer.

    >>> [aligned(width) for width in (16, 17)]
    [16, 32]
    """
    return -(-width // _ALIGNMENT) * _ALIGNMENT


def _rounded(count: int) -> int:
    """Round up to a few significant bits, so that segments that differ by the digits of a timestamp share a shape.

    >>> [_rounded(count) for count in (0, 7, 31, 33, 1042)]
    [0, 7, 31, 34, 1088]
    """
    step = 1 << max(0, count.bit_length() - _SIGNIFICANT_BITS)
    return -(-count // step) * step
