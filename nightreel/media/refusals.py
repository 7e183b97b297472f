"""Explain why a file is not a decodable video: text, an image, a lost index, encryption.

Called by `inspection` and `demuxing`, in the sandbox: before a file is opened, and when ffmpeg's demuxers refuse it or
find nothing in it. Reads a few kilobytes and the outline of an MP4's boxes, and checks every number in them before use.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from nightreel.errors import PermanentError
from nightreel.reasons import Reason

_HEAD_BYTES = 4096
_MOOV_BYTES = 64 * 2**20
_MAX_BOXES = 10_000
_MAGIC: tuple[tuple[bytes, Reason, str], ...] = (
    (b"\xff\xd8\xff", Reason.IMAGE_FILE, "a JPEG image"),
    (b"\x89PNG\r\n\x1a\n", Reason.IMAGE_FILE, "a PNG image"),
    (b"BM", Reason.IMAGE_FILE, "a BMP image"),
    (b"II*\0", Reason.IMAGE_FILE, "a TIFF image"),
    (b"MM\0*", Reason.IMAGE_FILE, "a TIFF image"),
    (b"PK\x03\x04", Reason.NOT_A_VIDEO, "a ZIP archive"),
    (b"\x1f\x8b", Reason.NOT_A_VIDEO, "a gzip archive"),
    (b"7z\xbc\xaf", Reason.NOT_A_VIDEO, "a 7-Zip archive"),
    (b"Rar!", Reason.NOT_A_VIDEO, "a RAR archive"),
    (b"%PDF", Reason.NOT_A_VIDEO, "a PDF document"),
    (b"\x7fELF", Reason.NOT_A_VIDEO, "a Linux program"),
    (b"MZ", Reason.NOT_A_VIDEO, "a Windows program"),
    (b"ID3", Reason.NO_VIDEO_STREAM, "an MP3 sound file"),
    (b"fLaC", Reason.NO_VIDEO_STREAM, "a FLAC sound file"),
)
_MP4_FIRST_BOXES = frozenset({b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot", b"moof", b"styp", b"sidx"})


def refuse_by_content(path: Path, *, gif: bool) -> None:
    """Raise if the first bytes show that the file is not a video.

    Args:
        gif: whether a GIF is accepted as a video.

    Raises:
        PermanentError: `empty_file`, `not_a_video`, `image_file`, `animated_image`, `no_video_stream`.
    """
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    if not head:
        raise PermanentError(Reason.EMPTY_FILE, f"{path.name} has 0 bytes: upload it again")
    if head[:6] in (b"GIF87a", b"GIF89a") and not gif:
        detail = "is a GIF, an image format: set NIGHTREEL_GIF=true to analyse GIFs as videos"
        raise PermanentError(Reason.ANIMATED_IMAGE, f"{path.name} {detail}")
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        raise PermanentError(Reason.IMAGE_FILE, f"{path.name} holds a WebP image, not a video")
    for magic, reason, what in _MAGIC:
        if head.startswith(magic):
            raise PermanentError(reason, f"{path.name} holds {what}, not a video")
    if text := _as_text(head):
        raise PermanentError(Reason.NOT_A_VIDEO, f"{path.name} holds {text}, not a video")


def explain_refusal(path: Path, demuxer_says: str) -> PermanentError:
    """The error that explains why no demuxer accepted `path`: `no_index`, `encrypted`, `not_a_video`, `unreadable`."""
    with path.open("rb") as file:
        size = path.stat().st_size
        boxes = list(_boxes(file, size))
        kinds = [kind for kind, _, _ in boxes]
        if not kinds or kinds[0] not in _MP4_FIRST_BOXES:
            return PermanentError(
                Reason.NOT_A_VIDEO, f"{path.name}: no container format recognised in its {size} bytes"
            )
        if b"moov" not in kinds and b"moof" not in kinds:
            cut = next((f": its {str(kind)[2:-1]} box should end at byte {end}, the file ends at {size}"
                        for kind, _, end in boxes if end > size), "")  # fmt: skip
            return PermanentError(Reason.NO_INDEX, f"{path.name} has no index (moov){cut}: repeat the upload")
        if is_encrypted(file, boxes):
            return PermanentError(
                Reason.ENCRYPTED, f"{path.name} is encrypted (DRM): only its owner's player can decode it"
            )
        if b"moov" in kinds and any(end > size for kind, _, end in boxes if kind == b"moov"):
            return PermanentError(Reason.NO_INDEX, f"{path.name}: its index (moov) is cut off: repeat the upload")
    return PermanentError(Reason.UNREADABLE, f"{path.name}: its container cannot be read ({demuxer_says})")


def is_encrypted_mp4(path: Path) -> bool:
    """Whether an MP4's sample descriptions are those of Common Encryption (ISO/IEC 23001-7)."""
    with path.open("rb") as file:
        boxes = list(_boxes(file, path.stat().st_size))
        return bool(boxes) and boxes[0][0] in _MP4_FIRST_BOXES and is_encrypted(file, boxes)


def is_encrypted(file: BinaryIO, boxes: list[tuple[bytes, int, int]]) -> bool:
    for kind, start, end in boxes:
        if kind == b"moov":
            file.seek(start)
            moov = file.read(min(end - start, _MOOV_BYTES))
            return b"encv" in moov and b"sinf" in moov
    return False


def _boxes(file: BinaryIO, size: int) -> Iterator[tuple[bytes, int, int]]:
    """(type, start, end) of each top-level box; the last one may end beyond the file."""
    at = 0
    for _ in range(_MAX_BOXES):
        file.seek(at)
        header = file.read(16)
        if len(header) < 8:
            return
        length, kind = int.from_bytes(header[:4], "big"), header[4:8]
        if length == 1 and len(header) == 16:
            length = int.from_bytes(header[8:16], "big")
        elif length == 0:  # to the end of the file
            length = size - at
        if length < 8:
            return
        yield kind, at, at + length
        at += length
        if at >= size:
            return


def _as_text(head: bytes) -> str | None:
    if head.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer (fetch the video itself with `git lfs pull`)"
    try:
        text = head.decode()
    except UnicodeDecodeError as error:
        if error.start < len(head) - 4:  # the error is not just a cut last character
            return None
        text = head[: error.start].decode()
    if any(ord(character) < 32 and character not in "\t\r\n\f" for character in text):
        return None
    if re.match(r"\s*(<!doctype|<html|<\?xml|<head|<body)", text, re.IGNORECASE):
        return "an HTML or XML page (an error page saved under a video's name?)"
    if text.startswith("#EXTM3U"):
        return "an HLS playlist, a list of addresses"
    return "text"
