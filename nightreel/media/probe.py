"""`Probe`, the properties of a file, and `MediaLimits`, the limits for an untrusted file.

`inspection` makes a probe in the sandbox; callers get it from `DecoderPool.probe`. Decoding is planned from its packet
index, so the packets of a file are read once, however many segments it has.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from nightreel.errors import PermanentError
from nightreel.media.geometry import Geometry
from nightreel.media.packets import KEY, PacketIndex
from nightreel.reasons import Reason

if TYPE_CHECKING:  # pydantic would more than double the memory of the fork server, which every decoder process copies
    from nightreel.settings import Settings


@dataclass(frozen=True, slots=True)
class MediaLimits:
    """Limits for an untrusted file. A file beyond a limit is refused with the limit's name.

    Args:
        gif: whether a GIF is accepted as a video.
    """

    max_bytes: int
    max_pixels: int
    max_duration_s: float
    max_streams: int
    max_frames: int
    gif: bool = False

    @classmethod
    def from_settings(cls, settings: Settings) -> MediaLimits:
        return cls(
            settings.max_bytes,
            settings.max_pixels,
            settings.max_duration_s,
            settings.max_streams,
            settings.max_frames,
            settings.gif,
        )

    def check(self, name: str, value: float, what: str) -> None:
        """Raise `limit_<name>` if `value` is more than `max_<name>`.

        Args:
            what: start of the message, which continues with the value.

        Raises:
            PermanentError: it names the limit, the value and the setting.
        """
        limit = getattr(self, f"max_{name}")
        if value > limit:
            raise PermanentError(
                Reason.of(f"limit_{name.removesuffix('_s')}"),
                f"{what} {value:.12g}, more than {limit:.12g}: raise NIGHTREEL_MAX_{name.upper()} to accept it",
            )


@dataclass(frozen=True, kw_only=True)
class Probe:
    """The properties of a file. Table `videos` stores all of `to_json`.

    Args:
        container: ffmpeg's name of the demuxer, its first alias; codec: ffmpeg's name of the coding.
        width, height: upright, after `rotation`.
        rotation: degrees counter-clockwise to turn stored pictures upright: 0, 90, 180 or 270.
        mirrored: whether upright pictures are the turned ones with left and right swapped.
        crop: pixels to cut off stored pictures before they are turned: left, top, right, bottom.
        pixel_aspect: width over height of a pixel, upright; not 1 in anamorphic video.
        duration_s: from the first shown frame to the end of the last; None without any clock.
        expected_s: how much of the timeline the file should hold; more than `duration_s` if its end is missing.
        lost: spans of the timeline in which no packet could be read, (start, end) in seconds after the first frame.
        clock_breaks: where the file's own clock restarts, falls back or jumps: (seconds after the first frame, seconds
            of the jump), the first few. Times of frames go on there without a gap.
        assumed_clock: the file has no clock; times come from its frame rate.
        frame_count: number of shown frames, counted from the packets.
        fps: average frames per second; variable_fps: whether intervals differ by more than clock rounding.
        time_base: seconds per tick, as "1/90000"; start_s: when the first frame is shown on the file's own clock.
        edited: an edit list hides `discarded_frames` frames.
        damaged_packets: packets whose damage shows without decoding.
        truncated: the file ends before its last frame.
        expected_frames: number of frames in the header; None where the header has none.
        proven_starts: packets themselves or the codec tell where decoding can start, not only the container.
        hdr: "pq" or "hlg" where pictures must be tone-mapped, else None.
        decoder: the decoder that is exact for the file; decoder_reason: why.
        keyframes_s: where decoding can start, seconds after the first shown frame.
        index: every packet.
    """

    container: str
    codec: str
    profile: str | None
    pixel_format: str | None
    width: int
    height: int
    rotation: int
    mirrored: bool
    crop: tuple[int, int, int, int]
    pixel_aspect: float
    duration_s: float | None
    expected_s: float
    lost: tuple[tuple[float, float], ...]
    clock_breaks: tuple[tuple[float, float], ...]
    assumed_clock: bool
    frame_count: int
    fps: float
    variable_fps: bool
    time_base: str
    start_s: float
    edited: bool
    discarded_frames: int
    damaged_packets: int
    missing_pts: int
    truncated: bool
    expected_frames: int | None
    proven_starts: bool
    hdr: str | None
    size_bytes: int
    streams: int
    stream_index: int
    decoder: str
    decoder_reason: str
    index: PacketIndex = field(repr=False, compare=False)

    def to_json(self) -> dict[str, Any]:
        """JSON values of everything but the packet index."""
        return {**self._values(), "keyframes": len(self.keyframes_s)}

    def to_message(self) -> dict[str, Any]:
        """JSON values from which, with `index.to_bytes()`, `replies` restores the probe."""
        return {**self._values(), "last_duration": self.index.last_duration, "ordinal": self.index.ordinal}

    def _values(self) -> dict[str, Any]:
        return {name: _as_json(getattr(self, name)) for name in self.__dataclass_fields__ if name != "index"}

    @cached_property
    def seconds_per_tick(self) -> float:
        return float(Fraction(self.time_base))

    @property
    def geometry(self) -> Geometry:
        return Geometry(self.crop, self.rotation, self.mirrored)

    @property
    def stored_hw(self) -> tuple[int, int]:
        """Height and width of a stored picture, before it is cut and turned."""
        left, top, right, bottom = self.crop
        width, height = (self.height, self.width) if self.geometry.sideways else (self.width, self.height)
        return height + top + bottom, width + left + right

    @property
    def shown_size(self) -> tuple[int, int]:
        """Width and height of the picture as displayed: in square pixels, and no larger than stored."""
        if self.pixel_aspect > 1:
            return self.width, max(1, round(self.height / self.pixel_aspect))
        return max(1, round(self.width * self.pixel_aspect)), self.height

    @cached_property
    def frame_times_s(self) -> np.ndarray:
        """float64 (frame_count,): when each frame is shown; the first is 0."""
        return (self.index.timeline - self.index.start) * self.seconds_per_tick

    @cached_property
    def keyframes_s(self) -> tuple[float, ...]:
        if self.index.ordinal:
            return ()
        keys = self.index.ticks[self.index.shown][self.index.flags[self.index.shown] & KEY != 0]
        return tuple(((np.sort(keys) - self.index.start) * self.seconds_per_tick).tolist())


def _as_json(value: Any) -> Any:
    return [_as_json(item) for item in value] if isinstance(value, tuple) else value
