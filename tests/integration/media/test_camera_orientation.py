"""A camera's raw MJPEG says in the EXIF data of each picture how the camera was held."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from nightreel.domain import SamplingPlan, Segment
from nightreel.media.probe import MediaLimits
from nightreel.media.sandbox import DecoderPool
from nightreel.settings import Settings

_ORIENTATION = 0x112
_FRAMES = 10


def camera_picture(orientation: int) -> bytes:
    """A JPEG with red in a corner and green along a side, both off the symmetry axes."""
    pixels = np.zeros((64, 96, 3), np.uint8)
    pixels[:24, :32] = (255, 0, 0)
    pixels[:, 80:] = (0, 255, 0)
    exif = Image.Exif()
    exif[_ORIENTATION] = orientation
    written = io.BytesIO()
    Image.fromarray(pixels).save(written, "JPEG", exif=exif, quality=95)
    return written.getvalue()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_turned_as_their_exif_data_say(tmp_path: Path, orientation: int) -> None:
    picture = camera_picture(orientation)
    path = tmp_path / "camera.mjpeg"
    path.write_bytes(picture * _FRAMES)
    upright = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(picture))).convert("RGB")).astype(int)
    with DecoderPool(limits=MediaLimits.from_settings(Settings()), workers=1, timeout_s=60) as pool:
        probe = pool.probe(path)
        segment = Segment(index=0, start_s=0.0, end_s=probe.duration_s)
        batch = pool.decode(path, probe=probe, plan=SamplingPlan.parse("uniform:4"), segment=segment)
    assert probe.frame_count == _FRAMES
    assert batch.frames_thwc.shape[1:] == upright.shape
    for frame in batch.frames_thwc.astype(int):
        assert np.abs(frame - upright).mean() < 12
