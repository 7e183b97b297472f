"""Frames as JPEG, and the message that shows them to a server: each picture after its time, the question last.

All questions of a segment share the message up to the question, byte for byte, so that they hit the server's prefix
cache and its cache of encoded pictures. `remote` calls it. If you change what a model sees, raise LAYOUT_VERSION.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from nightreel.domain import Features, FrameBatch, StoredTensor
from nightreel.errors import PermanentError
from nightreel.reasons import Reason

LAYOUT_VERSION = 1
"""Part of a remote model's `processor_hash`, so that features and answers of another layout are not reused."""

_JPEG = "jpeg/"
_START = b"\xff\xd8"


def to_jpegs(batch: FrameBatch, *, short_side: int, quality: int) -> tuple[StoredTensor, ...]:
    """One uint8 tensor (bytes,) per frame: its JPEG file, shrunk if the shorter side exceeds `short_side` pixels.

    Raises:
        PermanentError: `unencodable_frames` if a frame is too large for a JPEG.
    """
    return tuple(
        StoredTensor(name=f"{_JPEG}{index:04d}", dtype="uint8", shape=(len(data),), data=data)
        for index, frame in enumerate(batch.frames_thwc)
        for data in [_to_jpeg(frame, short_side, quality)]
    )


def conversation(features: Features) -> list[dict[str, Any]]:
    """The parts of a message before the question.

    Raises:
        PermanentError: `stale_feature` if the features are not JPEG frames.
    """
    pictures = [tensor.data for tensor in features.tensors if tensor.name.startswith(_JPEG)]
    if len(pictures) != len(features.pts_s) or not all(data.startswith(_START) for data in pictures):
        raise PermanentError(
            Reason.STALE_FEATURE, f"features {features.key[:12]} lack a JPEG per frame: encode them again"
        )
    _, start_s, end_s = features.metadata["segment"]
    parts = [_text(f"{len(pictures)} frames of a video of {end_s - start_s:.1f} seconds, each after its time.\n")]
    for pts_s, data in zip(features.pts_s, pictures, strict=True):
        url = f"data:image/jpeg;base64,{base64.b64encode(data).decode()}"
        parts += [_text(f"{pts_s - start_s:.2f} s: "), {"type": "image_url", "image_url": {"url": url}}]
    return parts


def with_question(parts: Sequence[dict[str, Any]], question: str) -> list[dict[str, Any]]:
    """The messages of one request."""
    return [{"role": "user", "content": [*parts, _text(f"\n{question}")]}]


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def _to_jpeg(frame: np.ndarray, short_side: int, quality: int) -> bytes:
    height, width, _ = frame.shape
    picture = Image.fromarray(frame)
    scale = short_side / min(height, width)
    if scale < 1:
        picture = picture.resize((round(width * scale), round(height * scale)), Image.Resampling.BICUBIC)
    file = io.BytesIO()
    try:
        picture.save(file, "JPEG", quality=quality)
    except (OSError, ValueError) as error:
        raise PermanentError(
            Reason.UNENCODABLE_FRAMES, f"a frame of {width}x{height} cannot become a JPEG: {error}"
        ) from error
    return file.getvalue()
