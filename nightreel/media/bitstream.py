"""Read a packet's first bytes: whether decoding can start here, and whether the packet shows a picture.

Containers mislabel keyframes and count hidden pictures and fields as frames; these few header bits are reliable. Called
by `inspection`. It decodes nothing and checks every value's range.

Sources: ITU-T H.264 7.3.1 and D.1.8, H.265 7.3.1.2 and 7.4.2.2, ISO/IEC 14496-2 6.2.5, RFC 6386 section 9.1, VP9
bitstream specification 6.2 and annex B, Theora specification 6.1 and 7.1.
"""

from __future__ import annotations

from dataclasses import dataclass

from nightreel.media.h264_fields import FieldPairs
from nightreel.media.nal_units import nal_length_size, nal_units, sei_payloads

_H264_SLICES, _H264_IDR, _H264_SEI = range(1, 6), 5, 6
_HEVC_FIRST_RANDOM_ACCESS, _HEVC_LAST_RANDOM_ACCESS, _HEVC_NO_SLICE = 16, 21, 32
_MPEG4_I_PICTURE, _MPEG4_B_PICTURE = 0, 2
_RECOVERY_POINT = 6
_THEORA_HEADER, _THEORA_INTER = 0x80, 0x40


@dataclass(frozen=True, slots=True)
class PacketTraits:
    """Facts from a packet's headers.

    Args:
        starts_clean: every picture from here on, in presentation order, decodes exactly without earlier packets.
        shown: the packet yields a picture.
        unreferenced: no other picture is predicted from it, so all others decode exactly without it (known only for
            H.264 and MPEG-4 part 2).
        packed: it holds two pictures, and a later packet stands for the second (MPEG-4 part 2 in AVI).
        second_field: it holds the second field of the frame whose first field the packet before it holds (H.264).
        intact: the lengths of its parts add up (known for H.264 and HEVC where parts have lengths).
    """

    starts_clean: bool
    shown: bool = True
    unreferenced: bool = False
    packed: bool = False
    second_field: bool = False
    intact: bool = True


class BitstreamReader:
    """Reads the header bits of the packets of one stream, in decoding order.

    Args:
        codec: ffmpeg's name of the coding ("h264", not "libx264").
        extradata: the decoder configuration of the container, None if it has none.
    """

    READS_STARTS = frozenset({"h264", "hevc", "mpeg4", "theora"})
    """Codecs of which `starts_clean` is read from the packet itself."""

    def __init__(self, codec: str, extradata: bytes | None) -> None:
        self._codec = codec
        self._length_size = nal_length_size(codec, extradata)
        self._fields = FieldPairs(extradata, self._length_size) if codec == "h264" else None

    def read(self, packet: memoryview, *, is_key: bool) -> PacketTraits:
        """Read one packet. For codecs without a reader here, believe the container.

        Args:
            is_key: whether the container marks the packet as a keyframe.
        """
        match self._codec:
            case "h264":
                assert self._fields is not None
                units, intact = nal_units(packet, self._length_size)
                second_field = self._fields.is_second(units)
                return _h264_traits(units, is_key=is_key, second_field=second_field, intact=intact)
            case "hevc":
                return _hevc_traits(*nal_units(packet, self._length_size), is_key=is_key)
            case "mpeg4":
                pictures = _mpeg4_pictures(packet)
                return PacketTraits(
                    is_key and pictures[:1] == [_MPEG4_I_PICTURE],
                    unreferenced=pictures == [_MPEG4_B_PICTURE],
                    packed=len(pictures) > 1,
                )
            case "theora":  # joined Ogg files repeat the headers, which are packets
                first = packet[0] if len(packet) else _THEORA_INTER
                return PacketTraits(not first & (_THEORA_HEADER | _THEORA_INTER), shown=not first & _THEORA_HEADER)
            case "vp8":
                return PacketTraits(is_key, shown=len(packet) == 0 or bool(packet[0] & 0x10))
            case "vp9":
                return PacketTraits(is_key, shown=_vp9_shown(packet))
        return PacketTraits(is_key)


def _h264_traits(units: list[memoryview], *, is_key: bool, second_field: bool, intact: bool) -> PacketTraits:
    """Decoding starts clean at an IDR picture, or at a picture with an immediate recovery point (open GOP)."""
    clean, slices, referenced = False, False, False
    for unit in units:
        kind = unit[0] & 0x1F
        if kind in _H264_SLICES:
            slices = True
            referenced |= unit[0] & 0x60 != 0  # nal_ref_idc
            clean |= kind == _H264_IDR
        elif kind == _H264_SEI and is_key and not slices:
            clean |= _recovers_at_once(unit)
    return PacketTraits(
        is_key and clean and not second_field,
        unreferenced=slices and not referenced,
        second_field=second_field,
        intact=intact,
    )


def _hevc_traits(units: list[memoryview], intact: bool, *, is_key: bool) -> PacketTraits:
    kinds = [(unit[0] >> 1) & 0x3F for unit in units]
    slices = [kind for kind in kinds if kind < _HEVC_NO_SLICE]
    clean = bool(slices) and _HEVC_FIRST_RANDOM_ACCESS <= slices[0] <= _HEVC_LAST_RANDOM_ACCESS
    return PacketTraits(is_key and clean, intact=intact)


def _recovers_at_once(sei: memoryview) -> bool:
    """Whether the SEI holds a recovery point whose recovery_frame_cnt, an ue(v), is 0: its first bit is 1."""
    return any(kind == _RECOVERY_POINT and bool(body[:1]) and body[0] & 0x80 for kind, body in sei_payloads(sei[1:]))


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
