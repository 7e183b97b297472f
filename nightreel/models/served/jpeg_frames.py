"""Frames as JPEG: the features of a model on a server. `remote` makes them, and `layouts` shows them to the server."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from nightreel.domain import Features, FrameBatch, StoredTensor
from nightreel.errors import PermanentError
from nightreel.reasons import Reason

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


def pictures_of(features: Features) -> list[bytes]:
    """The JPEG files in the features of a segment, one for each frame.

    Raises:
        PermanentError: `stale_feature` if the features are not JPEG frames.
    """
    pictures = [tensor.data for tensor in features.tensors if tensor.name.startswith(_JPEG)]
    if not pictures or len(pictures) != len(features.pts_s) or not all(data.startswith(_START) for data in pictures):
        raise PermanentError(
            Reason.STALE_FEATURE, f"features {features.key[:12]} lack a JPEG per frame: encode them again"
        )
    return pictures


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
