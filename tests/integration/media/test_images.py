"""Still images for questions: what comes out of the sandbox, and what is refused there."""

from __future__ import annotations

import io
import struct
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fixtures.clips import encode_numbers
from PIL import Image

from nightreel.errors import PermanentError
from nightreel.media.probe import MediaLimits
from nightreel.media.sandbox import DecoderPool
from nightreel.settings import Settings

WIDTH, HEIGHT = 96, 64
RED, GREEN, BLUE, YELLOW = (220, 30, 30), (30, 180, 30), (30, 30, 220), (220, 220, 30)
LIMITS = MediaLimits.from_settings(Settings())
ORIENTATION = 0x0112


@pytest.fixture(scope="module")
def pool():
    with DecoderPool(limits=LIMITS, workers=1, timeout_s=60) as pool:
        yield pool


def quarters() -> Image.Image:
    """Red and green above blue and yellow."""
    pixels = np.empty((HEIGHT, WIDTH, 3), np.uint8)
    for number, colour in enumerate((RED, GREEN, BLUE, YELLOW)):
        row, column = divmod(number, 2)
        pixels[row * HEIGHT // 2 :, column * WIDTH // 2 :] = colour
    pixels[HEIGHT // 2 :, : WIDTH // 2] = BLUE
    return Image.fromarray(pixels)


def encoded(form: str, image: Image.Image | None = None, **options: Any) -> bytes:
    file = io.BytesIO()
    (image or quarters()).save(file, form, **options)
    return file.getvalue()


def turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return exif


def corners(frame: np.ndarray) -> list[tuple[int, ...]]:
    """The colours of the four quarters, row by row."""
    height, width, _ = frame.shape
    return [tuple(frame[y, x].tolist()) for y in (height // 4, -height // 4) for x in (width // 4, -width // 4)]


def decode(pool: DecoderPool, directory: Path, data: bytes, *, name: str = "image", **options: Any) -> Any:
    path = directory / name
    path.write_bytes(data)
    return pool.decode_image(path, **options)


def refused(pool: DecoderPool, directory: Path, data: bytes) -> PermanentError:
    with pytest.raises(PermanentError) as caught:
        decode(pool, directory, data)
    return caught.value


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(encoded("PNG"), id="PNG"),
        pytest.param(encoded("PNG", quarters().quantize(4)), id="PNG with a palette"),
        pytest.param(encoded("JPEG", quality=95), id="JPEG"),
        pytest.param(encoded("JPEG", quality=95, progressive=True), id="progressive JPEG"),
        pytest.param(encoded("JPEG", quarters().convert("CMYK"), quality=95), id="JPEG for print"),
        pytest.param(encoded("WEBP", quality=95), id="WebP"),
        pytest.param(encoded("WEBP", lossless=True), id="lossless WebP"),
        pytest.param(encoded("PNG") + b"%PDF-1.4 <script>PK\3\4", id="with another file behind it"),
    ],
)
def test_a_picture_comes_out_as_it_is(pool, tmp_path, data):
    batch = decode(pool, tmp_path, data, name="whatever.mp4")
    assert (batch.frames_thwc.shape, batch.source_hw) == ((1, HEIGHT, WIDTH, 3), (HEIGHT, WIDTH))
    assert (batch.pts_s.tolist(), batch.flags, batch.decoder) == ([0.0], ((),), "pillow")
    for found, colour in zip(corners(batch.frames_thwc[0]), (RED, GREEN, BLUE, YELLOW), strict=True):
        assert found == pytest.approx(colour, abs=12)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize(
    ("orientation", "expected"),
    [
        (1, (RED, GREEN, BLUE, YELLOW)),
        (2, (GREEN, RED, YELLOW, BLUE)),
        (3, (YELLOW, BLUE, GREEN, RED)),
        (4, (BLUE, YELLOW, RED, GREEN)),
        (5, (RED, BLUE, GREEN, YELLOW)),
        (6, (BLUE, RED, YELLOW, GREEN)),
        (7, (YELLOW, GREEN, BLUE, RED)),
        (8, (GREEN, YELLOW, RED, BLUE)),
        (99, (RED, GREEN, BLUE, YELLOW)),
    ],
)
def test_a_picture_is_turned_upright_as_its_exif_says(pool, tmp_path, form, orientation, expected):
    batch = decode(pool, tmp_path, encoded(form, exif=turned(orientation)), short_side=32)
    sideways = orientation in (5, 6, 7, 8)
    assert batch.source_hw == ((WIDTH, HEIGHT) if sideways else (HEIGHT, WIDTH))
    assert batch.frames_thwc.shape == ((1, 48, 32, 3) if sideways else (1, 32, 48, 3))
    for found, colour in zip(corners(batch.frames_thwc[0]), expected, strict=True):
        assert found == pytest.approx(colour, abs=45), "JPEG and WebP store colours coarsely"


@pytest.mark.parametrize(
    ("image", "level"),
    [
        pytest.param(Image.new("RGBA", (8, 8), (0, 0, 0, 0)), 255, id="RGB"),
        pytest.param(Image.new("RGBA", (8, 8), (0, 0, 0, 51)), 204, id="in part"),
        pytest.param(Image.new("LA", (8, 8), (0, 0)), 255, id="grey"),
    ],
)
@pytest.mark.parametrize("form", ["PNG", "WEBP"])
def test_what_is_transparent_is_white(pool, tmp_path, image, level, form):
    options = {"lossless": True, "exact": True} if form == "WEBP" else {}
    assert decode(pool, tmp_path, encoded(form, image, **options)).frames_thwc[0, 4, 4].tolist() == [level] * 3


def test_a_transparent_colour_of_a_palette_is_white(pool, tmp_path):
    image = quarters().quantize(4)
    data = encoded("PNG", image, transparency=image.getpixel((0, 0)))
    assert corners(decode(pool, tmp_path, data).frames_thwc[0]) == [(255, 255, 255), GREEN, BLUE, YELLOW]


def test_sixteen_bits_of_grey_keep_the_upper_ones(pool, tmp_path):
    deep = Image.fromarray(np.full((8, 8), 0x80FF, np.uint16))
    assert decode(pool, tmp_path, encoded("PNG", deep)).frames_thwc[0, 4, 4].tolist() == [0x80] * 3


def png(width: int, height: int, *chunks: tuple[bytes, bytes]) -> bytes:
    header = (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    made = (header, *chunks, (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in made
    )


def claiming(width: int, height: int) -> bytes:
    """A small JPEG whose header claims this size."""
    data = bytearray(encoded("JPEG"))
    struct.pack_into(">HH", data, data.index(b"\xff\xc0") + 5, height, width)
    return bytes(data)


@pytest.mark.parametrize(
    ("data", "reason", "said"),
    [
        pytest.param(encoded("JPEG")[:-20], "damaged", "truncated", id="a JPEG without its end"),
        pytest.param(encoded("PNG")[:-60], "damaged", "truncated", id="a PNG without its end"),
        pytest.param(encoded("WEBP")[:-40], "damaged", "cannot be decoded", id="a WebP without its end"),
        pytest.param(b"\xff\xd8\xff", "damaged", "cannot be decoded", id="three bytes of a JPEG"),
        pytest.param(b"\x89PNG\r\n\x1a\n", "damaged", "cannot be decoded", id="the first bytes of a PNG"),
        pytest.param(b"RIFF\x10\0\0\0WEBPVP8X", "damaged", "cannot be decoded", id="the first bytes of a WebP"),
        pytest.param(png(30_000, 30_000), "limit_pixels", "30000 x 30000", id="a PNG that claims a huge size"),
        pytest.param(png(2**31 - 1, 2**31 - 1), "limit_pixels", "2147483647", id="a PNG with the largest numbers"),
        pytest.param(claiming(30_000, 30_000), "limit_pixels", "30000 x 30000", id="a JPEG that claims a huge size"),
        pytest.param(png(5000, 5000), "damaged", "cannot be decoded", id="a PNG of 25 million pixels without data"),
        pytest.param(
            encoded("PNG", save_all=True, append_images=[quarters().rotate(90)]), "image_file", "several pictures",
            id="an animated PNG",
        ),
        pytest.param(
            encoded("WEBP", save_all=True, append_images=[quarters().rotate(90)]), "image_file", "several pictures",
            id="an animated WebP",
        ),
        pytest.param(encoded("BMP"), "image_file", "holds a BMP image", id="BMP"),
        pytest.param(encoded("AVIF"), "image_file", "holds an AVIF image", id="AVIF"),
        pytest.param(encoded("GIF"), "image_file", "only JPEG, PNG and WebP", id="GIF"),
        pytest.param(b"<svg xmlns='http://www.w3.org/2000/svg'/>", "image_file", "holds no image", id="SVG"),
        pytest.param(b"", "image_file", "holds no image", id="nothing"),
    ],
)  # fmt: skip
def test_what_cannot_be_shown_is_refused_with_the_cause(pool, tmp_path, data, reason, said):
    error = refused(pool, tmp_path, data)
    assert (error.reason, said in error.detail) == (reason, True), error


def test_a_video_under_the_name_of_an_image_holds_no_image(pool, tmp_path):
    encode_numbers(tmp_path / "clip.mp4", range(10), "-c:v", "libx264", "-pix_fmt", "yuv420p")
    assert "holds no image" in refused(pool, tmp_path, (tmp_path / "clip.mp4").read_bytes()).detail


def test_text_that_unpacks_to_gigabytes_costs_the_file_only(pool, tmp_path):
    packed = zlib.compressobj(9)
    bomb = b"".join(packed.compress(bytes(2**24)) for _ in range(128)) + packed.flush()  # 2 GiB
    error = refused(pool, tmp_path, png(8, 8, (b"zTXt", b"comment\0\0" + bomb), (b"iCCP", b"profile\0\0" + bomb)))
    assert error.reason in ("damaged", "decode_memory")
    assert decode(pool, tmp_path, encoded("PNG")).frames_thwc.shape == (1, HEIGHT, WIDTH, 3)


@pytest.mark.parametrize("seed", range(3))
def test_changed_bytes_cost_the_file_only(pool, tmp_path, seed):
    dice = np.random.default_rng(seed)
    for form in ("JPEG", "PNG", "WEBP"):
        data = np.frombuffer(encoded(form, exif=turned(6)), np.uint8)
        for _ in range(25):
            broken = data.copy()
            places = dice.integers(12, len(broken), 8)
            broken[places] = dice.integers(0, 256, len(places))
            with suppress(PermanentError):  # a reason of the file, whichever
                assert decode(pool, tmp_path, broken.tobytes()).frames_thwc.shape[0] == 1
