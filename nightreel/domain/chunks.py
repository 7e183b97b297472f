"""How much of a chunk a segment fills. The claim (`database.claims`) and the encode stage go by it.

A chunk is what a run claims, asks and commits together. Its fixed costs are some 150 ms. Beside the decoding of its
segments they are nothing. They are more than half of the time of one more question about small features, so a chunk
takes more segments with such features: 400 clips were asked one more question in 9.1 s instead of 11.0 s. Eight times
as many instead of four gained 0.2 s more.

A chunk takes no more segments with large features, because it has all of its features in memory. It takes no more of
them either if another process has the model: answers then take most of the time, and a deadline and helpers wait for
whole chunks.
"""

from __future__ import annotations

from nightreel.domain.videos import FeatureRef

KNOWN_SHARE = 0.25
"""Of the room of a segment that has to be decoded: what one with small features in the cache takes."""
_SMALL_BYTES = 4 * 2**20


def small_bytes(backend: str) -> int:
    """Features up to this size are small, for a model of this backend.

    >>> small_bytes("vllm")
    0
    """
    return _SMALL_BYTES if backend == "local" else 0


def share_of(features: FeatureRef | None, *, small_bytes: int) -> float:
    """The share of a segment's room that one with these features takes; None: they are not in the cache.

    >>> share_of(None, small_bytes=1000)
    1.0
    """
    return KNOWN_SHARE if features is not None and features.size_bytes <= small_bytes else 1.0


def most_segments(chunk_segments: int) -> int:
    """How many segments a chunk takes at most: if all are known.

    >>> most_segments(16)
    64
    """
    return int(chunk_segments / KNOWN_SHARE)
