"""Parse what a decoder process replies. A hostile file may control that process, so nothing in a reply is believed.

Every field has a type and a bound, every number that follows from others is computed again, and a reason comes from a
closed list. A reply that cannot be true is the file's error `decoder_lied`. Called by `sandbox`, which also limits the
bytes of a reply.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal, TypeVar

import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, TypeAdapter, ValidationError

from nightreel.errors import PermanentError
from nightreel.media.decode_job import DecodeJob, fit
from nightreel.media.packets import ALL_FLAGS, PACKET_BYTES, PacketIndex
from nightreel.media.preview_plan import MOST_BYTES
from nightreel.media.probe import MediaLimits, Probe
from nightreel.reasons import Reason

MOST_TEXT_BYTES = 2 * 2**20
_MOST_TICKS = 2**61  # so that differences and sums fit in 64 bits
_MOST_SECONDS = 1e9
_SAME_S = 1e-6  # relative
_WEBM = b"\x1a\x45\xdf\xa3"

_REASONS = frozenset(
    {
        Reason.EMPTY_FILE, Reason.ANIMATED_IMAGE, Reason.IMAGE_FILE, Reason.NO_VIDEO_STREAM, Reason.NOT_A_VIDEO,
        Reason.ENCRYPTED, Reason.INIT_SEGMENT_MISSING, Reason.NO_INDEX, Reason.UNREADABLE, Reason.MEDIA_DATA_MISSING,
        Reason.NO_FRAMES, Reason.NO_DECODER, Reason.NO_ENCODER, Reason.UNSUPPORTED_COLOURS, Reason.DAMAGED,
        Reason.LIMIT_BYTES, Reason.LIMIT_PIXELS, Reason.LIMIT_DURATION, Reason.LIMIT_STREAMS, Reason.LIMIT_FRAMES,
        Reason.DECODE_MEMORY, Reason.DECODER_FAILED, Reason.FILE_UNREADABLE,
    }
)  # fmt: skip


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


_Word = Annotated[str, StringConstraints(max_length=64, pattern=r"^[ -~]*$")]
_Text = Annotated[str, StringConstraints(max_length=4000), AfterValidator(_printable)]
_Count = Annotated[int, Field(ge=0, le=2**31 - 1)]
_Size = Annotated[int, Field(ge=1, le=2**31 - 1)]
_Seconds = Annotated[float, Field(ge=0, le=_MOST_SECONDS)]
_Span = tuple[_Seconds, _Seconds]


class _Reply(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


class ErrorReply(_Reply):
    """Why the file could not be decoded. `error_reason` is one of those that a decoder process can know."""

    error_reason: str
    detail: _Text


class ProbeReply(_Reply):
    """The fields of `Probe`, without the packet index."""

    container: _Word
    codec: _Word
    profile: _Word | None
    pixel_format: _Word | None
    width: _Size
    height: _Size
    rotation: Literal[0, 90, 180, 270]
    mirrored: bool
    crop: tuple[_Count, _Count, _Count, _Count]
    pixel_aspect: Annotated[float, Field(ge=0.2, le=5)]
    duration_s: _Seconds
    expected_s: _Seconds
    lost: Annotated[tuple[_Span, ...], Field(max_length=10_000)]
    clock_breaks: Annotated[tuple[tuple[_Seconds, float], ...], Field(max_length=100)]
    assumed_clock: bool
    frame_count: _Size
    fps: Annotated[float, Field(gt=0)]
    variable_fps: bool
    time_base: Annotated[str, StringConstraints(pattern=r"^[1-9][0-9]{0,9}/[1-9][0-9]{0,9}$")]
    start_s: float
    edited: bool
    discarded_frames: _Count
    damaged_packets: _Count
    missing_pts: _Count
    truncated: bool
    expected_frames: Annotated[int, Field(ge=0, le=2**63 - 1)] | None
    proven_starts: bool
    hdr: Literal["pq", "hlg"] | None
    size_bytes: Annotated[int, Field(ge=0)]
    streams: _Size
    stream_index: _Count
    decoder: Literal["pyav", "decord"]
    decoder_reason: _Text
    last_duration: Annotated[int, Field(ge=0, le=_MOST_TICKS)]
    ordinal: bool


class DecodeReply(_Reply):
    """The fields of `Decoded`."""

    ticks: Annotated[tuple[int, ...], Field(max_length=2**16)]
    flags: Annotated[
        tuple[Annotated[tuple[Literal["corrupt", "missing"], ...], Field(max_length=2)], ...], Field(max_length=2**16)
    ]
    decoder: Literal["pyav", "decord"]
    version: _Word


class ImageReply(_Reply):
    """What is said of an image: height and width of the picture that follows, and of the stored one."""

    hw: tuple[_Size, _Size]
    source_hw: tuple[_Size, _Size]
    version: _Word


_PROBE: TypeAdapter[ErrorReply | ProbeReply] = TypeAdapter(ErrorReply | ProbeReply)
_DECODE: TypeAdapter[ErrorReply | DecodeReply] = TypeAdapter(ErrorReply | DecodeReply)
_IMAGE: TypeAdapter[ErrorReply | ImageReply] = TypeAdapter(ErrorReply | ImageReply)
_Parsed = TypeVar("_Parsed", ProbeReply, DecodeReply, ImageReply)


class LieError(Exception):
    """A reply cannot be true. The message says which part, and is harmless."""


def parse_probe(text: bytes, blob: bytes, *, limits: MediaLimits, size_bytes: int, name: str) -> Probe:
    """The probe in a reply.

    Args:
        size_bytes: the file's true size. name: the file's name, for messages.

    Raises:
        PermanentError: the reply is an error of the file, or the file is beyond `limits`.
        LieError.
    """
    reply = _parsed(_PROBE, text)
    values = reply.model_dump(exclude={"last_duration", "ordinal"})
    try:
        index = PacketIndex.from_bytes(blob, last_duration=reply.last_duration, ordinal=reply.ordinal)
    except ValueError as error:
        raise LieError(str(error)) from None
    limits.check("frames", len(index), f"{name}: the number of frames is")
    _demand(len(index) > 0, "it has no packets")
    _demand(bool((index.size >= 0).all()), "the size of a packet is negative")
    _demand(bool((index.flags <= ALL_FLAGS).all()), "a packet has an unknown flag")
    ticks = index.ticks
    _demand(bool(((ticks >= -_MOST_TICKS) & (ticks <= _MOST_TICKS)).all()), "a packet's time is out of range")
    _demand(len(index.shown) == reply.frame_count, "the number of frames differs from that of the shown packets")
    probe = Probe(**values, index=index)
    span_s = (index.end - index.start) * probe.seconds_per_tick
    _demand(abs(span_s - reply.duration_s) <= _SAME_S * max(1.0, span_s), "the duration is not that of the packets")
    _demand(reply.size_bytes == size_bytes, "the size is not that of the file")
    _demand(reply.stream_index < reply.streams, "the stream's number is out of range")
    _demand(all(start <= end for start, end in reply.lost), "a lost span ends before it starts")
    limits.check("duration_s", span_s, f"{name}: the duration in seconds is")
    limits.check("streams", reply.streams, f"{name}: the number of streams is")
    height, width = probe.stored_hw
    limits.check("pixels", width * height, f"{name}: the picture size in pixels is {width} x {height} =")
    return probe


def parse_decoded(text: bytes, *, job: DecodeJob) -> DecodeReply:
    """What a reply says of the frames of `job`.

    Raises:
        PermanentError: the reply is an error of the file.
        LieError.
    """
    reply = _parsed(_DECODE, text)
    _demand(len(reply.ticks) == len(reply.flags) == len(job.frames), "the number of frames is not that of the job")
    _demand(set(reply.ticks) <= set(job.ticks), "a frame has another time than those of the job")
    _demand(bool((np.diff(reply.ticks) >= 0).all()), "the frames are not in the order of time")
    return reply


def parse_preview(text: bytes, blob: bytes, *, job: DecodeJob) -> bytes:
    """The file in a reply. Only its first bytes are looked at: the browser must expect anything of the rest.

    Raises:
        As `parse_decoded`.
    """
    parse_decoded(text, job=job)
    _demand(len(blob) <= MOST_BYTES, "the preview is too large")
    _demand(blob.startswith(_WEBM), "the preview is no WebM")
    return blob


def parse_image(text: bytes, *, limits: MediaLimits, short_side: int | None, name: str) -> ImageReply:
    """What a reply says of an image. Arguments and errors as `parse_probe`; `short_side`: as asked."""
    reply = _parsed(_IMAGE, text)
    height, width = reply.source_hw
    limits.check("pixels", width * height, f"{name}: the picture size in pixels is {width} x {height} =")
    _demand(reply.hw == fit(width, height, short_side=short_side)[::-1], "the picture has another size than asked for")
    return reply


def parse_pixels(blob: bytes, image: ImageReply) -> np.ndarray:
    """uint8 (1, H, W, 3): the picture in a reply. Raises LieError if it is not of the size that the reply says."""
    shape = (1, *image.hw, 3)
    _demand(len(blob) == math.prod(shape), "the picture has another size than it says")
    return np.frombuffer(blob, np.uint8).reshape(shape).copy()  # torch takes no read-only arrays


def most_blob_bytes(limits: MediaLimits) -> int:
    """The largest packet index of a file within `limits`, or the largest picture."""
    return max(limits.max_frames * PACKET_BYTES, limits.max_pixels * 3)


def is_error(text: bytes) -> bool:
    """Whether a reply says that the file cannot be decoded. A false reply may say so or not."""
    return b'"error_reason"' in text[:100]


def _parsed(adapter: TypeAdapter[ErrorReply | _Parsed], text: bytes) -> _Parsed:
    try:
        reply = adapter.validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[-1]
        place = ".".join(map(str, first["loc"]))
        raise LieError(_printable(f"{place}: {first['msg']}")[:200]) from None
    if isinstance(reply, ErrorReply):
        reason = next((reason for reason in _REASONS if reason == reply.error_reason), None)
        if reason is None:
            raise LieError("the reason is not one that a decoder process can know")
        raise PermanentError(reason, reply.detail)
    return reply


def _demand(true: bool, otherwise: str) -> None:
    if not true:
        raise LieError(otherwise)
