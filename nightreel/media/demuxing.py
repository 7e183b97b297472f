"""Open containers safely and read their packets, with the demuxer's error messages. Runs in the sandbox.

Called by `inspection` and `decoding`, which must see the same packets with the same times.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import av
from av.container import InputContainer
from av.packet import Packet
from av.stream import Discard
from av.video.stream import VideoStream

from nightreel.media.media_file import MediaFile
from nightreel.media.refusals import explain_refusal

# Demuxers that open other files or connections (a playlist named .mp4 would make ffmpeg read what it lists), and those
# that make pictures of any text or bytes. All others that ffmpeg offers are allowed: they read only the file itself.
_REACH_FURTHER = frozenset({"concat", "dash", "ffmetadata", "hls", "image2", "image2pipe", "imf", "rtp", "rtsp", "sap",
                            "sdp", "vobsub", "webm_dash_manifest"})  # fmt: skip
_READ_ANYTHING = frozenset({"adf", "bin", "bitpacked", "data", "idf", "rawvideo", "tty", "v210", "v210x", "xbin"})
_AVI_CHUNK_HEADER_BYTES = 8

# Containers without durations of frames: a clock that jumps ahead in them says nothing about the frame before the jump.
_LIVE = frozenset({"mpegts", "mpegtsraw", "mpeg", "flv", "live_flv", "dhav", "rtsp", "wtv", "pva", "ty"})

Log = list[tuple[int, str, str]]


def is_memory_error(error: BaseException) -> bool:
    """Whether an allocation failed, in Python or in ffmpeg. Such an error is never a fault of the file's data."""
    return isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM)


@cache
def _demuxers() -> str:
    """The names of the allowed demuxers, as ffmpeg's option takes them."""
    names = []
    for name in sorted(av.formats_available):
        demuxer = av.ContainerFormat(name)
        if demuxer.is_input and not demuxer.no_file and name not in _REACH_FURTHER | _READ_ANYTHING:
            names.append(name)
    return ",".join(names)


def open_container(file: MediaFile, *, max_pixels: int) -> InputContainer:
    """Open `file` with demuxers that cannot open any other file.

    Args:
        max_pixels: larger pictures are not decoded, whatever size the container claims.

    Raises:
        PermanentError: the error that `explain_refusal` returns.
    """
    try:
        return av.open(
            file.unbuffered(),
            "r",
            container_options={"protocol_whitelist": "none", "format_whitelist": _demuxers()},
            options={"max_pixels": str(max_pixels)},  # for the decoders that ffmpeg runs while opening
            metadata_errors="replace",
        )
    except (av.error.FFmpegError, ValueError) as error:
        if is_memory_error(error):
            raise
        raise explain_refusal(file, str(error.strerror if isinstance(error, av.error.FFmpegError) else error)) from None


@contextmanager
def complaints() -> Iterator[Log]:
    """Capture ffmpeg's messages as they are logged: (level, name of the component, message)."""
    av.logging.set_level(av.logging.INFO)  # decoders report at this level that they conceal an error
    av.logging.set_skip_repeated(False)
    with av.logging.Capture() as said:
        yield said


def demuxer_errors(said: Log, container: InputContainer) -> bool:
    """Whether the demuxer itself reported an error."""
    return any(level <= av.logging.ERROR and name == container.format.name for level, name, _ in said)


def clock_may_jump(container: InputContainer) -> bool:
    return container.format.name in _LIVE


def is_avi(container: InputContainer) -> bool:
    return container.format.name == "avi"


def is_mp4(container: InputContainer) -> bool:
    return container.format.name.startswith("mov,")


@dataclass(frozen=True, slots=True)
class Read:
    """A packet that was read.

    Args:
        lost_before: the demuxer reported an error before this packet, so packets before it may be lost.
        doubtful: the packet itself, or its time, is unreliable.
    """

    packet: Packet[Any]
    lost_before: bool
    doubtful: bool


def packets_of(container: InputContainer, stream: VideoStream, said: Log) -> Iterator[Read]:
    """The packets of `stream` that hold data, from the container's current position on.

    A read error ends them like the end of the file: the file holds only the packets before it. After the last packet,
    `said` holds the messages from the end.

    Args:
        said: from `complaints`; cleared here before each packet.
    """
    for other in container.streams:
        other.discard = Discard.default if other.index == stream.index else Discard.all
    # An AVI packet's time is its number. Where a packet is lost, the index at the file's end still has the numbers.
    numbers: dict[int, int] = {}
    if is_avi(container):
        numbers = {entry.pos + _AVI_CHUNK_HEADER_BYTES: entry.timestamp for entry in stream.index_entries}
    last_known, shift = max(numbers, default=-1), 0
    for packet in _readable(container, stream, said):
        lost = demuxer_errors(said, container)
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
        except IndexError:  # from PyAV when a damaged file makes its demuxer add a stream: continue without that stream
            packets = container.demux(stream)
            continue
        except av.error.FFmpegError as error:
            if is_memory_error(error):
                raise
            said.append((av.logging.ERROR, container.format.name, str(error)))
            if error.errno != errno.EAGAIN:
                return
            packets = container.demux(stream)  # a transport stream that found no packet in the next 64 KiB reads on
            continue
        if packet.size:
            yield packet
            said.clear()
