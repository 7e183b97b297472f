"""Read a packet's first bytes: whether decoding can start here, and whether the packet shows a picture.

Containers mislabel keyframes and count hidden pictures as frames; these few header bits are reliable. Called by
`inspection`. Pure functions over bytes: they decode nothing and check every value's range.

Sources: ITU-T H.264 7.3.1, 7.3.2.3 and D.1.8, H.265 7.3.1.2 and 7.4.2.2, ISO/IEC 14496-2 6.2.5, RFC 6386 section
9.1, VP9 bitstream specification 6.2 and annex B.
"""

from __future__ import annotations

from dataclasses import dataclass

_H264_SLICES, _H264_IDR, _H264_SEI = range(1, 6), 5, 6
_HEVC_FIRST_RANDOM_ACCESS, _HEVC_LAST_RANDOM_ACCESS, _HEVC_NO_SLICE = 16, 21, 32
_MPEG4_B_PICTURE = 2
_START_CODE = b"\0\0\1"
_RECOVERY_POINT = 6


@dataclass(frozen=True, slots=True)
class PacketTraits:
    """Facts from a packet's headers.

    Args:
        starts_clean: every picture from here on, in presentation order, decodes exactly without earlier packets.
        shown: the packet yields a picture.
        unreferenced: no other picture is predicted from it, so all others decode exactly without it (known only for
            H.264 and MPEG-4 part 2).
        packed: it holds two pictures, and a later packet stands for the second (MPEG-4 part 2 in AVI).
        intact: the lengths of its parts add up (known for H.264 and HEVC where parts have lengths).
    """

    starts_clean: bool
    shown: bool = True
    unreferenced: bool = False
    packed: bool = False
    intact: bool = True


def nal_length_size(codec: str, extradata: bytes | None) -> int:
    """Size in bytes of the length field before each NAL unit; 0 for start codes (Annex B)."""
    if not extradata or extradata[0] != 1:
        return 0
    if codec == "h264" and len(extradata) >= 7:
        return (extradata[4] & 3) + 1
    if codec == "hevc" and len(extradata) >= 23:
        return (extradata[21] & 3) + 1
    return 0


def traits(codec: str, packet: memoryview, *, is_key: bool, length_size: int) -> PacketTraits:
    """Read the header bits of one packet. For codecs without a reader here, believe the container.

    Args:
        codec: ffmpeg's name of the coding ("h264", not "libx264").
        is_key: whether the container marks the packet as a keyframe.
        length_size: from `nal_length_size`.
    """
    match codec:
        case "h264":
            return _h264_traits(packet, length_size, is_key=is_key)
        case "hevc":
            return _hevc_traits(packet, length_size, is_key=is_key)
        case "mpeg4":
            pictures = _mpeg4_pictures(packet)
            return PacketTraits(is_key, unreferenced=pictures == [_MPEG4_B_PICTURE], packed=len(pictures) > 1)
        case "vp8":
            return PacketTraits(is_key, shown=len(packet) == 0 or bool(packet[0] & 0x10))
        case "vp9":
            return PacketTraits(is_key, shown=_vp9_shown(packet))
    return PacketTraits(is_key)


def _nal_units(packet: memoryview, length_size: int) -> tuple[list[memoryview], bool]:
    """The NAL units of a packet up to the first invalid length, and whether all lengths are valid."""
    units = []
    if length_size:
        at = 0
        while at + length_size < len(packet):
            size = int.from_bytes(packet[at : at + length_size], "big")
            if not 0 < size <= len(packet) - at - length_size:
                break
            at += length_size
            units.append(packet[at : at + size])
            at += size
        return units, at == len(packet)
    data = bytes(packet)
    start = data.find(_START_CODE)
    while start >= 0:
        following = data.find(_START_CODE, start + 3)
        units.append(packet[start + 3 : following if following >= 0 else len(data)])
        start = following
    return [unit for unit in units if len(unit)], True


def _h264_traits(packet: memoryview, length_size: int, *, is_key: bool) -> PacketTraits:
    """Decoding starts clean at an IDR picture, or at a picture with an immediate recovery point (open GOP)."""
    clean, slices, referenced = False, False, False
    units, intact = _nal_units(packet, length_size)
    for unit in units:
        kind = unit[0] & 0x1F
        if kind in _H264_SLICES:
            slices = True
            referenced |= unit[0] & 0x60 != 0  # nal_ref_idc
            clean |= kind == _H264_IDR
        elif kind == _H264_SEI and is_key and not slices:
            clean |= _recovers_at_once(unit[1:])
    return PacketTraits(is_key and clean, unreferenced=slices and not referenced, intact=intact)


def _hevc_traits(packet: memoryview, length_size: int, *, is_key: bool) -> PacketTraits:
    units, intact = _nal_units(packet, length_size)
    kinds = [(unit[0] >> 1) & 0x3F for unit in units]
    slices = [kind for kind in kinds if kind < _HEVC_NO_SLICE]
    clean = bool(slices) and _HEVC_FIRST_RANDOM_ACCESS <= slices[0] <= _HEVC_LAST_RANDOM_ACCESS
    return PacketTraits(is_key and clean, intact=intact)


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


def _mpeg4_pictures(packet: memoryview) -> list[int]:
    """The coding type of each picture in the packet: 0 I, 1 P, 2 B, 3 sprite."""
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
