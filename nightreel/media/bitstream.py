"""What a compressed packet says of itself in its first bytes: may decoding start here, is a picture shown at all.

Containers lie about keyframes and count hidden pictures as frames; these few header bits do not. Called by `packets`.
Pure functions over bytes; nothing is decoded and no byte is trusted to be in range.

Sources: ITU-T H.264 7.3.1, 7.3.2.3 and D.1.8, H.265 7.3.1.2 and 7.4.2.2, ISO/IEC 14496-2 6.2.5, RFC 6386 section
9.1, VP9 bitstream specification 6.2 and annex B.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

_H264_IDR, _H264_SEI = 5, 6
_HEVC_FIRST_RANDOM_ACCESS, _HEVC_LAST_RANDOM_ACCESS, _HEVC_NO_SLICE = 16, 21, 32
_MPEG4_B_PICTURE = 2
_RECOVERY_POINT = 6


@dataclass(frozen=True, slots=True)
class PacketTraits:
    """`starts_clean`: every picture from here on, in presentation order, decodes exactly without what came before.
    `shown`: it yields a picture. `reordered`: it is decoded later than it is shown (MPEG-4 part 2 alone)."""

    starts_clean: bool
    shown: bool = True
    reordered: bool = False


def nal_length_size(codec: str, extradata: bytes | None) -> int:
    """Bytes of the length before each NAL unit, 0 for start codes (Annex B)."""
    if not extradata or extradata[0] != 1:
        return 0
    if codec == "h264" and len(extradata) >= 7:
        return (extradata[4] & 3) + 1
    if codec == "hevc" and len(extradata) >= 23:
        return (extradata[21] & 3) + 1
    return 0


def traits(codec: str, packet: memoryview, *, is_key: bool, length_size: int) -> PacketTraits:
    """Read the header bits of one packet; codecs without a reader here are taken at the container's word.

    Args:
        codec: ffmpeg's name of the coding ("h264", not "libx264").
        is_key: what the container says.
        length_size: from `nal_length_size`.
    """
    match codec:
        case "h264":
            return PacketTraits(is_key and _h264_starts_clean(packet, length_size))
        case "hevc":
            return PacketTraits(is_key and _hevc_starts_clean(packet, length_size))
        case "mpeg4":
            return PacketTraits(is_key, reordered=_MPEG4_B_PICTURE in _mpeg4_pictures(packet))
        case "vp8":
            return PacketTraits(is_key, shown=len(packet) == 0 or bool(packet[0] & 0x10))
        case "vp9":
            return PacketTraits(is_key, shown=_vp9_shown(packet))
    return PacketTraits(is_key)


def _nal_units(packet: memoryview, length_size: int) -> Iterator[memoryview]:
    """The NAL units of a packet, as far as its lengths or start codes make sense."""
    if length_size:
        at = 0
        while at + length_size < len(packet):
            size = int.from_bytes(packet[at : at + length_size], "big")
            at += length_size
            if not 0 < size <= len(packet) - at:
                return
            yield packet[at : at + size]
            at += size
        return
    data = bytes(packet)
    start = data.find(b"\0\0\1")
    while start >= 0:
        following = data.find(b"\0\0\1", start + 3)
        yield packet[start + 3 : following if following >= 0 else len(data)]
        start = following


def _h264_starts_clean(packet: memoryview, length_size: int) -> bool:
    """An IDR picture, or one with a recovery point that is reached at once (open GOP)."""
    for unit in _nal_units(packet, length_size):
        if len(unit) < 2:
            continue
        kind = unit[0] & 0x1F
        if kind == _H264_IDR:
            return True
        if kind == _H264_SEI and _recovers_at_once(unit[1:]):
            return True
        if 1 <= kind <= 4:
            return False
    return False


def _recovers_at_once(sei: memoryview) -> bool:
    at = 0
    while at + 2 < len(sei):
        numbers = []
        for _ in range(2):  # payload type, payload size: each a run of 0xff and a last byte
            number = 0
            while at < len(sei) and sei[at] == 0xFF:
                number, at = number + 255, at + 1
            if at >= len(sei):
                return False
            numbers.append(number + sei[at])
            at += 1
        kind, size = numbers
        if kind == _RECOVERY_POINT:
            return at < len(sei) and bool(sei[at] & 0x80)  # recovery_frame_cnt is ue(v): a leading 1 means 0
        at += size
    return False


def _hevc_starts_clean(packet: memoryview, length_size: int) -> bool:
    for unit in _nal_units(packet, length_size):
        kind = (unit[0] >> 1) & 0x3F if len(unit) else _HEVC_NO_SLICE
        if kind < _HEVC_NO_SLICE:
            return _HEVC_FIRST_RANDOM_ACCESS <= kind <= _HEVC_LAST_RANDOM_ACCESS
    return False


def _mpeg4_pictures(packet: memoryview) -> list[int]:
    """The coding type of each picture in the packet: 0 I, 1 P, 2 B, 3 sprite. Two in one packet: a packed bitstream."""
    data, kinds = bytes(packet), []
    at = data.find(b"\0\0\1\xb6")
    while 0 <= at < len(data) - 4:
        kinds.append(data[at + 4] >> 6)
        at = data.find(b"\0\0\1\xb6", at + 4)
    return kinds


def _vp9_shown(packet: memoryview) -> bool:
    if len(packet) == 0 or packet[-1] & 0xE0 == 0xC0:  # a superframe: hidden pictures and the one that is shown
        return True
    bits = f"{packet[0]:08b}"
    profile = int(bits[2]) + 2 * int(bits[3])
    at = 4 + (profile == 3)  # profile 3 has a reserved bit
    if bits[at] == "1":  # show_existing_frame
        return True
    return at + 2 < 8 and bits[at + 2] == "1"  # after frame_type
