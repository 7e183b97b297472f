"""What the decoder itself says about a stream: its first frames, and the order of all frames.

The packets give one reading of the timeline, this gives another one. `inspection` calls it, in the sandbox, and trusts
the packets only as far as both agree.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import TypeVar, cast

import av
from av.video.frame import PictureType, VideoFrame
from av.video.stream import VideoStream

from nightreel.media.demuxing import Log, Read, complaints, open_container, packets_of
from nightreel.media.feeding import DoubtfulMessageError, Feeder
from nightreel.media.media_file import MediaFile

_PACKETS_AFTER_THE_FIRST_FRAME = 4
_PACKETS_WITHOUT_A_FRAME = 100

_Found = TypeVar("_Found")


@dataclass(frozen=True, slots=True)
class Head:
    """The first frames of a stream.

    Args:
        frame: the first one in presentation order; None if none decodes.
        labels: positions of the packets of the frames that came out, in presentation order.
        names_keyframes: the decoder tells intra pictures from predicted ones.
        said: the decoder's messages.
    """

    frame: VideoFrame | None
    labels: tuple[int | None, ...]
    names_keyframes: bool
    said: Log


def read_head(file: MediaFile, stream_index: int, *, max_pixels: int, first_start: int) -> Head:
    """Decode the first few frames.

    Args:
        first_start: position of the first packet where decoding can start.
    """
    most = first_start + _PACKETS_WITHOUT_A_FRAME
    return _without_doubt(file, stream_index, partial(_head, most=most), max_pixels=max_pixels)


def read_order(file: MediaFile, stream_index: int, *, max_pixels: int) -> tuple[list[int | None], frozenset[int]]:
    """Decode the whole stream, quickly and without looking at pictures.

    Returns:
        The position of each frame's packet, in presentation order; and the positions of packets that fail to decode.
    """
    return _without_doubt(file, stream_index, _order, max_pixels=max_pixels, fast=True)


def _without_doubt(
    file: MediaFile,
    stream_index: int,
    read: Callable[[Feeder, Iterator[Read], Log], _Found],
    *,
    max_pixels: int,
    fast: bool = False,
) -> _Found:
    """Read a stream with whole packets; with stripped ones if the decoder complains about a part of a packet."""
    for strip in (False, True):
        try:
            with complaints() as said, open_container(file, max_pixels=max_pixels) as container:
                stream = cast(VideoStream, container.streams[stream_index])
                feeder = Feeder(stream, said, max_pixels=max_pixels, strip=strip, fast=fast)
                return read(feeder, packets_of(container, stream, said), said)
        except DoubtfulMessageError:
            continue
    raise AssertionError("a feeder that strips packets has no doubts")


def _head(feeder: Feeder, reads: Iterator[Read], said: Log, *, most: int) -> Head:
    frames: list[tuple[int | None, VideoFrame]] = []
    told: Log = []
    for position, read in enumerate(reads):
        frames += feeder.feed(read.packet, position).frames
        told += said
        if frames:
            most = min(most, position + _PACKETS_AFTER_THE_FIRST_FRAME)
        if position >= most:
            break
    frames += feeder.feed(None).frames
    told += said
    first = frames[0][1] if frames else None
    named = first is not None and first.pict_type == PictureType.I
    return Head(first, tuple(label for label, _ in frames), named, told)


def _order(feeder: Feeder, reads: Iterator[Read], _: Log) -> tuple[list[int | None], frozenset[int]]:
    labels: list[int | None] = []
    failed = set()
    for position, read in enumerate(chain(reads, [None])):
        fed = feeder.feed(read.packet if read else None, position)
        labels += [label for label, _ in fed.frames]
        if fed.failed:
            failed.add(position)
    return labels, frozenset(failed)


def is_intra_only(stream: VideoStream) -> bool:
    """Whether every picture of the codec decodes alone, by the codec's definition."""
    return bool(av.Codec(stream.codec_context.name, "r").intra_only)
