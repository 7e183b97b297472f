"""Videos and what is derived from them: objects, sampling plans, segments, frames, features."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

import numpy as np

from nightreel.domain.identity import content_hash
from nightreel.errors import SettingsError


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredObject:
    """One entry of an object listing. `archived`: the store says that it cannot be read before it is restored."""

    uri: str
    etag: str
    size_bytes: int
    modified_at: datetime
    archived: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Video:
    """One version of one object: the row `(uri, etag)` of table `videos`."""

    id: int
    uri: str
    etag: str
    size_bytes: int


class PlanKind(StrEnum):
    UNIFORM = "uniform"
    FPS = "fps"
    KEYFRAMES = "keyframes"


@dataclass(frozen=True, slots=True)
class SamplingPlan:
    """Which frames of a video are sampled, and how the video is cut into segments.

    Args:
        kind: `uniform` samples `frames` frames, evenly spaced; `fps` samples `rate` frames per second, at most
            `frames`; `keyframes` samples the keyframes of the stream, at most `frames`.
        frames: number of frames per segment (uniform), or the cap (fps, keyframes).
        rate: frames per second, only for `fps`.
        window_s: length of a segment in seconds.

    >>> SamplingPlan.parse("fps:2:32")
    SamplingPlan(kind=<PlanKind.FPS: 'fps'>, frames=32, rate=2.0, window_s=30.0)
    >>> str(SamplingPlan.parse("uniform:8"))
    'uniform:8'
    """

    kind: PlanKind
    frames: int
    rate: float | None = None
    window_s: float = 30.0

    def __post_init__(self) -> None:
        if not 1 <= self.frames <= 1024:
            raise SettingsError(f"a sampling plan takes 1 to 1024 frames per segment, got {self.frames}")
        if (self.kind is PlanKind.FPS) != (self.rate is not None):
            raise SettingsError(f"only sampling plan fps:RATE:CAP takes a rate, got {self.kind}:{self.rate}")
        if self.rate is not None and not (math.isfinite(self.rate) and 0 < self.rate <= 60):
            raise SettingsError(f"an fps plan takes more than 0 and at most 60 frames per second, got {self.rate}")
        if not (math.isfinite(self.window_s) and 1 <= self.window_s <= 3600):
            raise SettingsError(f"a segment lasts 1 to 3600 seconds, got {self.window_s}")

    @classmethod
    def parse(cls, text: str, window_s: float = 30.0) -> SamplingPlan:
        """Parse `uniform:N`, `fps:RATE:CAP` or `keyframes:CAP`.

        Raises:
            SettingsError: on any other text.
        """
        kind, *numbers = text.strip().split(":")
        try:
            match kind, numbers:
                case (("uniform" | "keyframes"), [frames]):
                    return cls(PlanKind(kind), int(frames), None, window_s)
                case "fps", [rate, cap]:
                    return cls(PlanKind.FPS, int(cap), float(rate), window_s)
        except ValueError:
            pass
        raise SettingsError(f"sampling plan {text!r}: expected uniform:N, fps:RATE:CAP or keyframes:CAP")

    def __str__(self) -> str:
        rate = "" if self.rate is None else f":{self.rate:g}"
        return f"{self.kind}{rate}:{self.frames}"

    @property
    def most_frames(self) -> int:
        """The largest number of frames that it takes from one segment. A last segment may have 4/3 of a window.

        >>> SamplingPlan.parse("fps:0.5:64", window_s=30).most_frames, SamplingPlan.parse("fps:2:16").most_frames
        (20, 16)
        """
        if self.rate is None:
            return self.frames
        return min(self.frames, math.ceil(self.rate * self.window_s * 4 / 3))

    @property
    def hash(self) -> str:
        return content_hash(asdict(self))


@dataclass(frozen=True, slots=True)
class Segment:
    """A window of a video: `start_s <= t < end_s`, on a clock that is 0 at the first frame shown.

    Args:
        promised_s: seconds that the window should hold; more than `duration_s` if the file ends too early, else None.
    """

    index: int
    start_s: float
    end_s: float
    promised_s: float | None = None

    @property
    def duration_s(self) -> float:
        return self.end_s - self.start_s

    @property
    def expected_s(self) -> float:
        """Seconds that the window should hold. At least `duration_s`."""
        return max(self.duration_s, self.promised_s or 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameBatch:
    """The frames sampled from one segment.

    Args:
        frames_thwc: uint8 RGB, upright, (T, H, W, 3).
        pts_s: float64 (T,), the true presentation time of each frame on the segment's clock, ascending.
        flags: one tuple of words per frame, empty if the frame is good: `corrupt`, `missing`.
        decoder: `decord`, `pyav` or, for a still image, `pillow`; decoder_version: its version.
        fps: average frames per second of the video; source_hw: its height and width before any resizing, upright.
        covered_s: seconds of the segment that the good frames stand for (`media.coverage`); None if the frames are not
            those of a segment.
    """

    frames_thwc: np.ndarray = field(repr=False)
    pts_s: np.ndarray
    flags: tuple[tuple[str, ...], ...]
    decoder: str
    decoder_version: str
    fps: float
    source_hw: tuple[int, int]
    covered_s: float | None = None

    @classmethod
    def blank(cls, frames: int, *, height: int, width: int, level: int) -> FrameBatch:
        """Frames of one grey level (0 to 255), one a second, to try a model with."""
        return cls(
            frames_thwc=np.full((frames, height, width, 3), level, np.uint8),
            pts_s=np.arange(frames, dtype=np.float64),
            flags=((),) * frames,
            decoder="none",
            decoder_version="",
            fps=1.0,
            source_hw=(height, width),
        )

    def __post_init__(self) -> None:
        shape = self.frames_thwc.shape
        assert self.frames_thwc.dtype == np.uint8, f"{self.frames_thwc.dtype = }"
        assert len(shape) == 4, f"{shape = }"
        assert shape[3] == 3, f"{shape = }"
        assert len(self.pts_s) == len(self.flags) == shape[0] > 0, f"{shape = }, {len(self.pts_s) = }"


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """A tensor as bytes, because numpy has no bfloat16.

    `dtype` is torch's name without its prefix ("bfloat16"); `data` is row-major, little-endian.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Features:
    """The vision tower's output for one segment, with everything that the language side needs to read it.

    Args:
        key: the feature key, hex SHA-256, from `cache.features.feature_key`.
        tensors: encoder outputs, and processor outputs other than pixels; names are unique.
        pts_s: presentation time of each frame, seconds.
        metadata: small JSON values (decoder, versions, source size) that make the file self-describing.
    """

    key: str
    tensors: tuple[StoredTensor, ...]
    pts_s: tuple[float, ...]
    metadata: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureRef:
    """Location and checksum of features: the row of table `features`."""

    key: str
    uri: str
    size_bytes: int
    sha256: str
