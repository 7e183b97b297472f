"""Tell whether a container says that its video is encrypted, by any of the ways that containers have.

Called by `refusals`, in the sandbox. Without its key, encrypted video decodes to nothing or to noise, which looks like
damage. Reads a megabyte at most, besides the outline of an MP4 or Matroska file.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import BinaryIO
from uuid import UUID

from nightreel.media import ebml
from nightreel.media.media_file import MediaFile
from nightreel.media.mp4_boxes import Mp4Outline
from nightreel.media.signatures import ASF, MXF, PROGRAM_STREAM, transport_packets

_SAMPLES, _SAMPLE_BYTES = 8, 2**17  # read at equal distances from the whole file
_FEW = 4  # damage can set the bit in a few packets
_FLV_HEADER_BYTES, _FLV_TAG_HEADER_BYTES, _FLV_VIDEO, _FLV_FILTERED = 9, 11, 9, 0x20
_MOST_FLV_TAGS = 1000
_MXF_ENCRYPTED_TRIPLET = bytes.fromhex("060e2b34020401070d010301027e0100")  # SMPTE ST 429-6
# A packet of an MPEG-2 program stream's video: ISO/IEC 13818-1, 2.4.3.6. The two bits are PES_scrambling_control.
_PES_OF_VIDEO = re.compile(rb"\x00\x00\x01[\xe0-\xef]..([\x80-\xbf])", re.DOTALL)
_SCRAMBLED = 0x30
_MOST_CLEAR = 0.9  # a scrambled DVD has many sectors in the clear


def _guid(text: str) -> bytes:
    return UUID(text).bytes_le


_ASF_ENCRYPTION = (
    _guid("2211b3fb-bd23-11d2-b4b7-00a0c955fc6e"),  # Content Encryption Object
    _guid("298ae614-2622-4c17-b935-dae07ee9289c"),  # Extended Content Encryption Object
    _guid("43058533-6981-49e6-9b74-ad12cb86d58c"),  # Advanced Content Encryption Object
)
_ASF_STREAM = _guid("b7dc0791-a9b7-11cf-8ee6-00c00c205365")  # Stream Properties Object
_ASF_VIDEO = _guid("bc19efc0-5b4d-11cf-a8fd-00805f5c442b")
_ASF_HEADER_BYTES, _ASF_FLAGS_AT, _ASF_ENCRYPTED = 30, 72, 0x8000
_MOST_ASF_OBJECTS = 1000


def is_encrypted(file: MediaFile) -> bool:
    """Whether the video in `file` is encrypted, as far as its container tells."""
    size_bytes = file.size_bytes
    with file.open() as reader:
        head = reader.read(2**16)
        mp4 = Mp4Outline(reader, size_bytes)
        if mp4.boxes:
            return mp4.is_encrypted
        if head.startswith(ebml.MAGIC):
            return ebml.MatroskaOutline(reader, size_bytes).is_encrypted
        if head.startswith(ASF):
            return _asf_is_encrypted(reader, size_bytes)
        if head.startswith(b"FLV"):
            return _flv_is_encrypted(reader, size_bytes)
        if MXF in head:
            return any(_MXF_ENCRYPTED_TRIPLET in sample for sample in _samples(reader, size_bytes))
        if head.startswith(PROGRAM_STREAM):
            return _program_stream_is_scrambled(_samples(reader, size_bytes))
        return any(transport_packets(head)) and _transport_stream_is_scrambled(_samples(reader, size_bytes))


def _samples(file: BinaryIO, size_bytes: int) -> Iterator[bytes]:
    step = max(_SAMPLE_BYTES, size_bytes // _SAMPLES)
    for at in range(0, size_bytes, step):
        file.seek(at)
        yield file.read(_SAMPLE_BYTES)


def _asf_is_encrypted(file: BinaryIO, size_bytes: int) -> bool:
    """Whether a video stream is marked as encrypted, or, where no stream is marked, the whole file."""
    whole, at = False, _ASF_HEADER_BYTES
    marked: Counter[bool] = Counter()  # streams that are marked: whether they are videos
    for _ in range(_MOST_ASF_OBJECTS):
        if at >= size_bytes:
            break
        file.seek(at)
        data = file.read(_ASF_FLAGS_AT + 2)
        size = int.from_bytes(data[16:24], "little")
        if size < 24:
            break
        whole |= data.startswith(_ASF_ENCRYPTION)
        if data.startswith(_ASF_STREAM) and int.from_bytes(data[_ASF_FLAGS_AT:], "little") & _ASF_ENCRYPTED:
            marked[data[24:40] == _ASF_VIDEO] += 1
        at += size
    return bool(marked[True]) if marked else whole


def _flv_is_encrypted(file: BinaryIO, size_bytes: int) -> bool:
    """Whether most video tags have the filter bit, with which Adobe Access marks them (FLV 10.1, annex E.4.1)."""
    marked: Counter[bool] = Counter()
    at = _FLV_HEADER_BYTES + 4
    for _ in range(_MOST_FLV_TAGS):
        file.seek(at)
        header = file.read(_FLV_TAG_HEADER_BYTES)
        if len(header) < _FLV_TAG_HEADER_BYTES or at >= size_bytes:
            break
        if header[0] & 0x1F == _FLV_VIDEO:
            marked[bool(header[0] & _FLV_FILTERED)] += 1
        at += _FLV_TAG_HEADER_BYTES + int.from_bytes(header[1:4], "big") + 4
    return marked[True] > marked[False]


def _transport_stream_is_scrambled(samples: Iterator[bytes]) -> bool:
    """Whether most packets of the largest stream, which is the video, have transport_scrambling_control set."""
    of_stream: dict[int, Counter[bool]] = {}
    for sample in samples:
        for packet in transport_packets(sample):
            pid = int.from_bytes(packet[1:3], "big") & 0x1FFF
            if packet[3] & 0x10 and 0x1F < pid < 0x1FFF:  # with a payload that is neither a fixed table nor stuffing
                of_stream.setdefault(pid, Counter())[bool(packet[3] & 0xC0)] += 1
    if not of_stream:
        return False
    video = max(of_stream.values(), key=lambda packets: packets.total())
    return video[True] > video[False]


def _program_stream_is_scrambled(samples: Iterator[bytes]) -> bool:
    """Whether video packets have PES_scrambling_control set, as in a copied DVD."""
    scrambled: list[bool] = [
        match[1][0] & _SCRAMBLED != 0 for sample in samples for match in _PES_OF_VIDEO.finditer(sample)
    ]
    return sum(scrambled) > max(_FEW, (1 - _MOST_CLEAR) * len(scrambled))
