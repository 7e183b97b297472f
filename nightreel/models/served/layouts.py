"""The message that shows a segment's frames to a server: as one video, or as pictures after their times.

    timed_video   one video, with the exact time of each frame
    video         one video; the server takes its frames for one a second
    pictures      each frame as a picture after its time, for servers that take no video of JPEG frames

All questions of a segment share the message up to the question, byte for byte, so that they hit the server's prefix
cache and its cache of encoded frames. `probe` chooses the layout. If you change what a model sees, raise its version.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, StrEnum, auto
from typing import Any

from nightreel.domain import Features
from nightreel.models.served.jpeg_frames import pictures_of


class Layout(StrEnum):
    TIMED_VIDEO = "timed_video"
    VIDEO = "video"
    PICTURES = "pictures"


VERSIONS = {Layout.PICTURES: 1, Layout.VIDEO: "video 1", Layout.TIMED_VIDEO: "timed_video 1"}
"""Part of a remote model's `processor_hash`, so that features and answers of another layout are not reused."""

_CLOCK_HZ = 1000  # times are counted in milliseconds: exact for variable frame rates too


class Sending(Enum):
    """What is sent of pictures and videos."""

    BYTES = auto()
    BYTES_WITH_NAME = auto()  # the server keeps them under that name
    NAME = auto()  # the server has them


@dataclass(frozen=True, slots=True)
class Shown:
    """The frames of one segment, or the notes on a video, as a request shows them.

    Args:
        parts: of the message, before the question.
        frames: number of them.
        options: other fields of the request.
        before_question: what separates the question from the frames.
    """

    parts: Sequence[Mapping[str, Any]] = field(repr=False)
    frames: int = 0
    options: Mapping[str, Any] = field(default_factory=dict)
    before_question: str = ""

    @property
    def name(self) -> str:
        """A name for the parts, made of what is sent. SHA-256 (hex)."""
        return _name(*(part.get("uuid") or hashlib.sha256(part["text"].encode()).hexdigest() for part in self.parts))

    def request(self, question: str, *, sending: Sending = Sending.BYTES) -> dict[str, Any]:
        """The fields of a request that ask a question about the frames."""
        parts = [_sent(part, sending) for part in self.parts]
        content = [*parts, _text(f"{self.before_question}{question}")]
        return {"messages": [{"role": "user", "content": content}], **self.options}


def show(features: Features, layout: Layout, *, least: int = 1) -> Shown:
    """Show the frames of a segment in a layout.

    Args:
        least: frames of a video: one with fewer repeats its last frame.

    Raises:
        PermanentError: `stale_feature` if the features are not JPEG frames.
    """
    pictures = pictures_of(features)
    _, start_s, end_s = features.metadata["segment"]
    times_s = [pts_s - start_s for pts_s in features.pts_s]
    if layout is Layout.PICTURES:
        return _as_pictures(pictures, times_s, duration_s=end_s - start_s)
    for repeated in (pictures, times_s):
        repeated += [repeated[-1]] * (least - len(repeated))
    options = _timing(times_s, duration_s=end_s - start_s) if layout is Layout.TIMED_VIDEO else {}
    encoded = ",".join(base64.b64encode(data).decode() for data in pictures)
    return Shown([_media("video_url", f"data:video/jpeg;base64,{encoded}", *pictures)], len(pictures), options)


def show_notes(text: str) -> Shown:
    """Show what was said of a video, in place of frames."""
    return Shown([_text(text)])


def _as_pictures(pictures: Sequence[bytes], times_s: Sequence[float], *, duration_s: float) -> Shown:
    parts = [_text(f"{len(pictures)} frames of a video of {duration_s:.1f} seconds, each after its time.\n")]
    for time_s, data in zip(times_s, pictures, strict=True):
        url = f"data:image/jpeg;base64,{base64.b64encode(data).decode()}"
        parts += [_text(f"{time_s:.2f} s: "), _media("image_url", url, data)]
    return Shown(parts, len(pictures), before_question="\n")


def _timing(times_s: Sequence[float], *, duration_s: float) -> dict[str, Any]:
    """The times of a video's frames, in the fields of vLLM, as `inprocess.vision` gives them to a processor."""
    ticks = [max(0, round(time_s * _CLOCK_HZ)) for time_s in times_s]
    return {
        "media_io_kwargs": {
            "video": {
                "num_frames": -1,  # all
                "fps": float(_CLOCK_HZ),
                "frames_indices": ticks,
                "total_num_frames": max(len(ticks), ticks[-1] + 1, round(duration_s * _CLOCK_HZ)),
                "duration": duration_s,
            }
        }
    }


def _media(kind: str, url: str, *data: bytes) -> dict[str, Any]:
    return {"type": kind, kind: {"url": url}, "uuid": _name(*(hashlib.sha256(one).hexdigest() for one in data))}


def _name(*hashes: str) -> str:
    return hashlib.sha256(" ".join(hashes).encode()).hexdigest()


def _sent(part: Mapping[str, Any], sending: Sending) -> dict[str, Any]:
    sent = dict(part)
    if sending is Sending.BYTES:
        sent.pop("uuid", None)
    elif sending is Sending.NAME and "uuid" in sent:
        sent[sent["type"]] = None
    return sent


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}
