"""Containers opened safely, and their packets told with what the demuxer said on the way. Runs in the sandbox.

Called by `inspection` and `decoding`, which must see the same packets with the same times.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
from av.container import InputContainer
from av.packet import Packet
from av.stream import Discard
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from nightreel.media.refusals import explain_refusal

# Demuxers that open no other file: a playlist (hls, dash, concat) named .mp4 would make ffmpeg read whatever it lists.
_CONTAINERS = ("mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,flv,live_flv,ogg,asf,mxf,nut,ivf,h264,hevc,m4v,"
               "mpegvideo,dv,rm,wtv,gif")  # fmt: skip
_OPTIONS = {"protocol_whitelist": "file", "format_whitelist": _CONTAINERS}
_AVI_CHUNK_HEADER_BYTES = 8

Log = list[tuple[int, str, str]]


def is_memory_error(error: BaseException) -> bool:
    """Whether an allocation failed, in Python or in ffmpeg: never to be taken for a fault of the file's data."""
    return isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM)


def open_container(path: Path, *, max_pixels: int) -> InputContainer:
    """Open `path` with the demuxers that cannot be made to open anything else.

    Args:
        max_pixels: no picture larger than this is decoded, whatever size the container claims.

    Raises:
        PermanentError: whatever `explain_refusal` finds.
    """
    try:
        return av.open(
            f"file:{path}",
            "r",
            container_options=_OPTIONS,
            options={"max_pixels": str(max_pixels)},  # for the decoders that look into the streams while opening
            metadata_errors="replace",
        )
    except (av.error.FFmpegError, ValueError) as error:
        if is_memory_error(error):
            raise
        raise explain_refusal(path, str(error.strerror if isinstance(error, av.error.FFmpegError) else error)) from None


def limit_decoder(context: VideoCodecContext, *, max_pixels: int) -> None:
    """Before it decodes: one thread, so that an error belongs to the packet just fed, and no larger pictures."""
    context.thread_count = 1
    context.options = {"max_pixels": str(max_pixels)}


@contextmanager
def complaints() -> Iterator[Log]:
    """What ffmpeg says of errors meanwhile, as it says it: (level, name of the speaker, message)."""
    av.logging.set_level(av.logging.ERROR)
    av.logging.set_skip_repeated(False)
    with av.logging.Capture() as said:
        yield said


def is_avi(container: InputContainer) -> bool:
    return container.format.name == "avi"


def is_mp4(container: InputContainer) -> bool:
    return container.format.name.startswith("mov,")


@dataclass(frozen=True, slots=True)
class Read:
    """A packet as it was read.

    Args:
        lost_before: the demuxer complained on its way here, so that packets may lie unread between the last and this.
        doubtful: the packet itself, or its time, is not to be trusted.
    """

    packet: Packet[Any]
    lost_before: bool
    doubtful: bool


def packets_of(container: InputContainer, stream: VideoStream, said: Log) -> Iterator[Read]:
    """The packets of `stream` that hold data, from the container's present position on.

    An error of reading ends them like the end of the file: what lies before it is what the file holds. After the last
    packet, `said` holds what was said at the end.

    Args:
        said: from `complaints`; emptied here before each packet.
    """
    for other in container.streams:
        other.discard = Discard.default if other.index == stream.index else Discard.all
    # An AVI packet's time is its number. Where one is lost, the index at the file's end still knows the numbers.
    numbers: dict[int, int] = {}
    if is_avi(container):
        numbers = {entry.pos + _AVI_CHUNK_HEADER_BYTES: entry.timestamp for entry in stream.index_entries}
    last_known, shift = max(numbers, default=-1), 0
    for packet in _readable(container, stream, said):
        lost = any(name == container.format.name for _, name, _ in said)
        unknown = packet.pos is not None and packet.pos <= last_known and packet.pos not in numbers
        number = None if packet.pos is None else numbers.get(packet.pos)
        if number is not None and packet.dts is not None and packet.dts + shift != number:
            lost, shift = True, number - packet.dts
        if shift:
            packet.dts = None if packet.dts is None else packet.dts + shift
            packet.pts = None if packet.pts is None else packet.pts + shift
        yield Read(packet, lost_before=lost, doubtful=unknown or packet.is_corrupt)


def _readable(container: InputContainer, stream: VideoStream, said: Log) -> Iterator[Packet[Any]]:
    packets = container.demux(stream)
    said.clear()
    while True:
        try:
            packet = next(packets)
        except StopIteration:
            return
        except IndexError:  # PyAV, where a damaged file makes its demuxer announce one more stream: go on without it
            packets = container.demux(stream)
            continue
        except av.error.FFmpegError as error:
            if is_memory_error(error):
                raise
            said.append((av.logging.ERROR, container.format.name, str(error)))
            return
        if packet.size:
            yield packet
            said.clear()
