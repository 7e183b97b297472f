"""Decode a still image: JPEG, PNG or WebP, upright, as 8-bit RGB, on white where it is transparent.

Runs in the sandbox; called by `decoder_process`. Images of a bucket are refused (`refusals`): this is for questions
about one file. Pillow decodes, because it refuses files that end too early: ffmpeg's decoders fill these up silently.
"""

from __future__ import annotations

from typing import BinaryIO, cast

import numpy as np
from PIL import Image, TiffImagePlugin  # noqa: F401 - for Exif: a confined process cannot import it later
from PIL.Image import Transpose
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from nightreel.errors import PermanentError
from nightreel.media.decode_job import fit
from nightreel.media.media_file import MediaFile
from nightreel.media.probe import MediaLimits
from nightreel.media.refusals import image_in
from nightreel.reasons import Reason

_READERS: dict[str, type[ImageFile]] = {
    "a JPEG image": JpegImageFile,
    "a PNG image": PngImageFile,
    "a WebP image": WebPImageFile,
}
_BACKGROUND = (255, 255, 255)
_ORIENTATION = 0x0112
_TURNS = {  # Exif 2.32, tag Orientation
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_270,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_90,
}
Image.MAX_IMAGE_PIXELS = None  # the limit of the settings counts


def decode_image(file: MediaFile, limits: MediaLimits, *, short_side: int | None) -> tuple[np.ndarray, tuple[int, int]]:
    """The picture of an image, and its height and width in the file, upright.

    Args:
        short_side: as in `DecoderPool.decode`.

    Returns:
        uint8 RGB (H, W, 3), (height, width).

    Raises:
        PermanentError: `image_file`: another format, or several pictures; `damaged`; `limit_bytes`, `limit_pixels`.
    """
    limits.check("bytes", file.size_bytes, f"{file.name}: the size in bytes is")
    found = image_in(file)
    if found not in _READERS:
        raise _refused(file, f"holds {found or 'no image'}")
    with file.open() as reader:
        try:
            with _READERS[found](cast(BinaryIO, reader)) as image:
                return _decoded(file, image, limits, short_side=short_side)
        except (PermanentError, MemoryError):
            raise
        except Exception as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise  # of the disk
            what = f"{file.name} is damaged: its picture cannot be decoded ({type(error).__name__}: {error})"
            raise PermanentError(Reason.DAMAGED, f"{what}: repeat the upload") from None


def _decoded(
    file: MediaFile, image: ImageFile, limits: MediaLimits, *, short_side: int | None
) -> tuple[np.ndarray, tuple[int, int]]:
    limits.check(
        "pixels",
        image.width * image.height,
        f"{file.name}: the picture size in pixels is {image.width} x {image.height} =",
    )
    if getattr(image, "n_frames", 1) > 1:
        raise _refused(file, "has several pictures")
    turn = _TURNS.get(image.getexif().get(_ORIENTATION, 1))
    picture = _opaque(image).resize(fit(image.width, image.height, short_side=short_side), Image.Resampling.BICUBIC)
    height, width = image.height, image.width
    if turn is not None:
        picture = picture.transpose(turn)
        if turn in (Transpose.ROTATE_90, Transpose.ROTATE_270, Transpose.TRANSPOSE, Transpose.TRANSVERSE):
            height, width = width, height
    return np.asarray(picture), (height, width)


def _opaque(image: Image.Image) -> Image.Image:
    """The image in RGB."""
    if image.mode.startswith("I"):  # 16 bits of grey, of which `convert` would keep the lower 8
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if not image.has_transparency_data:
        return image.convert("RGB")
    picture = Image.new("RGB", image.size, _BACKGROUND)
    rgba = image.convert("RGBA")
    picture.paste(rgba, mask=rgba.getchannel("A"))
    return picture


def _refused(file: MediaFile, what: str) -> PermanentError:
    return PermanentError(
        Reason.IMAGE_FILE, f"{file.name} {what}: only JPEG, PNG and WebP images with one picture can be asked about"
    )
