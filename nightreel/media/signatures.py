"""Recognise what a file is by its first bytes: containers, images, other formats, text.

Called by `refusals` and `encryption`, in the sandbox. It knows nothing of reasons and reads no file itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

ASF = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
MXF = bytes.fromhex("060e2b34020501010d0102")  # start of a partition pack's key; a run-in may precede it
PROGRAM_STREAM = b"\0\0\1\xba"
JPEG = b"\xff\xd8\xff"
_WTV = bytes.fromhex("b7d800203749da11a64e0007e95ead8d")
_SYNC_BYTE, _TRANSPORT_PACKET_BYTES = 0x47, 188
_STRIDES = (188, 192, 204)  # of transport packets: bare, with a time before each, with error correction after each
_SURE_PACKETS = 5
_LATEST_SYNC = 4096  # a capture may begin inside a packet, or after a few damaged ones
_MOST_JPEG_SEGMENTS = 1000
_MOST_PADDING = 2**16  # between two JPEGs
_ENOUGH_JPEGS = 3

IMAGES: tuple[tuple[bytes, str], ...] = (
    (b"\x89PNG\r\n\x1a\n", "a PNG image"),
    (b"BM", "a BMP image"),
    (b"II*\0", "a TIFF image"),
    (b"MM\0*", "a TIFF image"),
    (b"8BPS", "a Photoshop image"),
    (b"\xff\x0a", "a JPEG XL image"),
    (b"\0\0\0\x0cJXL \r\n\x87\n", "a JPEG XL image"),
    (b"\0\0\0\x0cjP  \r\n\x87\n\0\0\0\x14ftypjp2 ", "a JPEG 2000 image"),
)
SOUNDS: tuple[tuple[bytes, str], ...] = (
    (b"ID3", "an MP3 sound file"),
    (b"fLaC", "a FLAC sound file"),
    (b"#!AMR", "an AMR sound file"),
)
OTHERS: tuple[tuple[bytes, str], ...] = (
    (b"PK\x03\x04", "a ZIP archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"7z\xbc\xaf", "a 7-Zip archive"),
    (b"Rar!", "a RAR archive"),
    (b"%PDF", "a PDF document"),
    (b"\x7fELF", "a Linux program"),
    (b"MZ", "a Windows program"),
)
_CONTAINERS: tuple[tuple[bytes, str], ...] = (
    (b"OggS", "Ogg"),
    (b"DHAV", "Dahua DAV"),
    (b"\x1a\x45\xdf\xa3", "Matroska or WebM"),
    (ASF, "ASF (WMV)"),
    (b"FLV", "FLV"),
    (PROGRAM_STREAM, "MPEG program stream"),
    (b".RMF", "RealMedia"),
    (b"DKIF", "IVF"),
    (b"nut/multimedia container\0", "NUT"),
    (_WTV, "WTV"),
    (b"GIF8", "GIF"),
    (JPEG, "raw MJPEG"),
    (b"\0\0\1", "raw video"),
    (b"\0\0\0\1", "raw video"),
)


def found_in(signatures: tuple[tuple[bytes, str], ...], head: bytes) -> str | None:
    """The name beside the signature that `head` starts with."""
    return next((name for magic, name in signatures if head.startswith(magic)), None)


def container_of(head: bytes) -> str | None:
    """The name of the container that the first bytes of a file show, except MP4, which has no signature."""
    if head[:4] == b"RIFF" and head[8:12] in (b"AVI ", b"AVIX"):
        return "AVI"
    if MXF in head:
        return "MXF"
    return found_in(_CONTAINERS, head) or ("MPEG transport stream" if any(transport_packets(head)) else None)


def transport_packets(data: bytes) -> Iterator[bytes]:
    """The packets of an MPEG transport stream (ISO/IEC 13818-1), from the first of five in a row on; none if no stream.

    Args:
        data: a part of a file, which may begin inside a packet.
    """
    for stride in _STRIDES:
        for first in range(min(len(data), _LATEST_SYNC)):
            if data[first : first + _SURE_PACKETS * stride : stride] == bytes([_SYNC_BYTE]) * _SURE_PACKETS:
                for at in range(first, len(data) - _TRANSPORT_PACKET_BYTES + 1, stride):
                    if data[at] == _SYNC_BYTE:
                        yield data[at : at + _TRANSPORT_PACKET_BYTES]
                return


def is_raw_mjpeg(data: bytes) -> bool:
    """Whether `data` starts with at least three JPEGs of the same size, one after another: frames of a raw stream.

    A photo may hold more JPEGs: previews have other sizes, and Multi-Picture Format (CIPA DC-007) lists its pictures in
    a segment of the first.
    """
    at, sizes = 0, set()
    for _ in range(_ENOUGH_JPEGS):
        read = _read_jpeg(data, at)
        if read is None:
            return False
        size, end = read
        sizes.add(size)
        at = data.find(JPEG, end, end + _MOST_PADDING)
        if len(sizes) > 1 or (at >= 0 and data[end:at].strip(b"\0\xff")):
            return False
    return True


def _read_jpeg(data: bytes, start: int) -> tuple[bytes, int] | None:
    """(height and width as stored, end) of the JPEG at `start`; None if there is none, or if it lists more pictures."""
    if start < 0 or not data.startswith(JPEG, start):
        return None
    at, size = start + 2, b""
    for _ in range(_MOST_JPEG_SEGMENTS):
        if at + 4 > len(data) or data[at] != 0xFF:
            return None
        kind, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        if kind == 0xFF:  # fill byte
            at += 1
            continue
        if kind == 0xE2 and data.startswith(b"MPF\0", at + 4):
            return None
        if 0xC0 <= kind <= 0xCF and kind not in (0xC4, 0xC8, 0xCC):  # start of frame
            size = data[at + 5 : at + 9]
        if kind == 0xDA:  # start of scan: the end of the image is the next such marker, because coded data has none
            end = data.find(b"\xff\xd9", at)
            return (size, end + 2) if end >= 0 else None
        at += 2 + max(2, length)
    return None


def text_of(head: bytes) -> str | None:
    """What kind of text `head` is; None if it is none."""
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
