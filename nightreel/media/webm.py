"""Encode the frames of a preview as WebM with VP8. Runs in the sandbox; called by `decoder_process`.

All browsers of today play it, and the encoder, libvpx, has a BSD licence.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise

import av
import numpy as np
from av.container import OutputContainer
from av.packet import Packet
from av.video.frame import PictureType
from av.video.stream import VideoStream

from nightreel.errors import PermanentError
from nightreel.media.preview_plan import DARK, FRAMES_PER_S, ShownFrame
from nightreel.reasons import Reason

_ENCODER = "libvpx"
_BITS_PER_S = 1_000_000
# `lag-in-frames`: each frame gives one packet, at the frame's own time.
_OPTIONS = {"deadline": "realtime", "cpu-used": "6", "lag-in-frames": "0", "auto-alt-ref": "0", "crf": "12"}
_CLOCK = Fraction(1, 1000)
_KEYFRAME_EVERY = 4 * FRAMES_PER_S
_DARK_LEVEL = 24


def encode_webm(frames_thwc: np.ndarray, shown: Sequence[ShownFrame], end_ms: int) -> bytes:
    """Encode frames at their times.

    Args:
        frames_thwc: uint8 RGB (T, height, width, 3), from which `shown` takes frames. end_ms: as in `PreviewPlan`.

    Raises:
        PermanentError: `no_encoder`.
    """
    file = io.BytesIO()
    with av.open(file, "w", format="webm") as container:
        stream = _stream(container, frames_thwc.shape[2], frames_thwc.shape[1])
        dark = np.full(frames_thwc.shape[1:], _DARK_LEVEL, np.uint8)
        ends = {one.at_ms: following for one, following in pairwise([*shown, ShownFrame(DARK, end_ms)])}
        previous = DARK
        for one in shown:
            frame = av.VideoFrame.from_ndarray(dark if one.slot == DARK else frames_thwc[one.slot], format="rgb24")
            frame.pts, frame.time_base = one.at_ms, _CLOCK
            if DARK in (one.slot, previous):  # so that a player can seek there
                frame.pict_type = PictureType.I
            previous = one.slot
            _write(container, stream.encode(frame), ends)
        _write(container, stream.encode(None), ends)
    return file.getvalue()


def _stream(container: OutputContainer, width: int, height: int) -> VideoStream:
    try:
        stream = container.add_stream(_ENCODER, rate=FRAMES_PER_S, options=dict(_OPTIONS))
    except av.codec.codec.UnknownCodecError as error:
        raise PermanentError(
            Reason.NO_ENCODER, f"the installed PyAV has no encoder {_ENCODER}, of which previews are made"
        ) from error
    assert isinstance(stream, VideoStream)
    stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
    context = stream.codec_context
    context.time_base = stream.time_base = _CLOCK
    context.bit_rate, context.gop_size, context.thread_count = _BITS_PER_S, _KEYFRAME_EVERY, 1
    return stream


def _write(container: OutputContainer, packets: Sequence[Packet[VideoStream]], ends: dict[int, ShownFrame]) -> None:
    for packet in packets:
        assert packet.pts is not None
        packet.duration = ends[packet.pts].at_ms - packet.pts  # the last one makes the length of the film
        container.mux(packet)
