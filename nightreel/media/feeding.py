"""Feed packets to one decoder, and tell which packet each frame comes from and which packets are damaged.

Called by `decoder_order` and `decoding`, in the sandbox. A frame is identified by the label of its packet, never by a
time: times repeat, jump and lie.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import av
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from nightreel.errors import PermanentError
from nightreel.media.demuxing import Log, is_memory_error
from nightreel.media.essence import essence_of
from nightreel.reasons import Reason

# ffmpeg's decoders of these codecs mark each frame in which they conceal an error. Other messages change no picture.
_MARK_DAMAGE = frozenset({"mpeg1video", "mpeg2video", "mpeg4", "h261", "h263", "flv1"})
# With skip_frame=NONREF, ffmpeg's decoders of these codecs skip exactly the pictures that no other picture refers to.
_SKIPS_UNREFERENCED = frozenset({"mpeg1video", "mpeg2video", "mpeg4", "vp8"})
# Logged where decoding starts in the middle of a stream and the stream drops a reference from before the start.
_EXPECTED_AFTER_A_START = frozenset({"mmco: unref short failure"})


class DoubtfulMessageError(Exception):
    """The decoder complains about a packet, maybe only about parts on which no picture depends: decode without them."""


@dataclass(frozen=True, slots=True)
class Fed:
    """What feeding one packet gave.

    Args:
        frames: (label, frame) for each decoded frame; the label is None if the decoder lost it.
        failed: the packet is damaged.
    """

    frames: list[tuple[int | None, VideoFrame]]
    failed: bool


def _cause(error: Exception) -> str:
    return str(error.strerror if isinstance(error, av.error.FFmpegError) else error)


class Feeder:
    """Feeds packets to the single-threaded decoder of a stream, so an error belongs to the last packet fed.

    Args:
        max_pixels: larger pictures are not decoded, whatever size the container claims.
        strip: feed packets without the parts on which no picture depends (see `essence`).
        fast: skip work that changes only pixels: for callers that only need the order of frames.

    Raises:
        PermanentError: `damaged` when the decoder refuses the container's configuration.
    """

    def __init__(
        self, stream: VideoStream, said: Log, *, max_pixels: int, strip: bool = False, fast: bool = False
    ) -> None:
        self._context, self._said = stream.codec_context, said
        codec = self._context.codec.canonical_name
        self._strip = essence_of(codec, self._context.extradata)
        self._strips = strip
        self._marks_damage = codec in _MARK_DAMAGE
        self._skips = codec in _SKIPS_UNREFERENCED
        self._context.thread_count = 1
        self._context.copy_opaque = True
        options = {"max_pixels": str(max_pixels)}
        if fast:
            options |= {"skip_loop_filter": "all", "skip_idct": "all"}
        self._context.options = options
        if self._context.width * self._context.height > max_pixels:
            self._context.width = self._context.height = 0  # the container's claim: the decoder finds the true size
        try:
            self._context.open(strict=False)  # complaints about the container's configuration belong to no packet
        except (av.error.FFmpegError, ValueError) as error:
            if is_memory_error(error):
                raise
            detail = f"the decoder {codec} cannot be set up as the file says ({_cause(error)}): repair the file"
            raise PermanentError(Reason.DAMAGED, detail) from error

    def feed(self, packet: Packet[Any] | None, label: int | None = None, *, needed: bool = True) -> Fed:
        """Feed a packet and return the decoded frames. None drains the decoder.

        Args:
            label: identifies the packet in the frames that come out, now or later.
            needed: False lets the decoder skip the picture if no other picture refers to it.

        Raises:
            DoubtfulMessageError: a message that may concern parts on which no picture depends.
        """
        if self._skips:
            self._context.skip_frame = "DEFAULT" if needed else "NONREF"
        if packet is not None:
            if self._strips and self._strip is not None:
                packet = self._stripped(packet)
            packet.opaque = label
        self._said.clear()
        try:
            decoded = self._context.decode(packet)
        except av.error.EOFError:
            return Fed([], False)
        except av.error.FFmpegError as error:
            if is_memory_error(error):
                raise
            self._doubt()
            return Fed([], True)
        failed = self._complained()
        if failed:
            self._doubt()
        return Fed([(cast("int | None", frame.opaque), frame) for frame in decoded], failed)

    def flush(self) -> None:
        self._context.flush_buffers()

    def _complained(self) -> bool:
        if self._marks_damage:
            return False
        return any(
            level <= av.logging.ERROR and message.strip() not in _EXPECTED_AFTER_A_START
            for level, _, message in self._said
        )

    def _doubt(self) -> None:
        if self._strip is not None and not self._strips:
            raise DoubtfulMessageError

    def _stripped(self, packet: Packet[Any]) -> Packet[Any]:
        assert self._strip is not None
        data = self._strip(memoryview(packet))
        if len(data) == packet.size:
            return packet
        stripped: Packet[Any] = Packet(data or bytes(packet))
        stripped.pts, stripped.dts, stripped.time_base = packet.pts, packet.dts, packet.time_base
        stripped.is_keyframe = packet.is_keyframe
        return stripped
