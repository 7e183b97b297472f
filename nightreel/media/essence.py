"""A packet without the parts on which no picture depends: messages, user data, application segments.

Decoders complain about such parts where cameras write them wrong. If a decoder does not complain about a packet without
them, the packet is not damaged. Called by `feeding`. Pure functions over bytes.

Sources: ITU-T H.264 table 7-1, H.265 table 7-1, T.81 table B.1.
"""

from __future__ import annotations

from collections.abc import Callable

from nightreel.media.nal_units import join_nal_units, nal_length_size, nal_units, sei_payloads

_H264_KEPT = frozenset({1, 2, 3, 4, 5, 7, 8, 13, 14, 15, 19, 20})  # slices, parameter sets, prefixes of layers
_HEVC_KEPT = frozenset({*range(32), 32, 33, 34, 36, 37})  # slices, parameter sets, ends of sequence and stream
_H264_SEI, _RECOVERY_POINT = 6, 6
_JPEG_ADOBE, _JPEG_SCAN = 0xEE, 0xDA  # APP14 tells how colours are stored

Strip = Callable[[memoryview], bytes]


def essence_of(codec: str, extradata: bytes | None) -> Strip | None:
    """A function that strips a packet of `codec`; None for codecs in which nothing can be left out."""
    length_size = nal_length_size(codec, extradata)
    match codec:
        case "h264":
            return lambda packet: _strip_h264(packet, length_size)
        case "hevc":
            return lambda packet: _strip_hevc(packet, length_size)
        case "mjpeg":
            return _strip_jpeg
    return None


def _strip_h264(packet: memoryview, length_size: int) -> bytes:
    units, _ = nal_units(packet, length_size)
    return join_nal_units([unit for unit in units if unit[0] & 0x1F in _H264_KEPT or _is_recovery(unit)], length_size)


def _is_recovery(unit: memoryview) -> bool:
    """Whether the unit is an SEI that begins with a recovery point: a decoder starts at it."""
    if unit[0] & 0x1F != _H264_SEI:
        return False
    kind, _ = next(sei_payloads(unit[1:]), (None, None))
    return kind == _RECOVERY_POINT


def _strip_hevc(packet: memoryview, length_size: int) -> bytes:
    units, _ = nal_units(packet, length_size)
    return join_nal_units([unit for unit in units if (unit[0] >> 1) & 0x3F in _HEVC_KEPT], length_size)


def _strip_jpeg(packet: memoryview) -> bytes:
    """The picture without comments and application segments, except APP0 and APP14. Unchanged if it is not a JPEG."""
    data, kept, at = bytes(packet), bytearray(packet[:2]), 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if marker == _JPEG_SCAN:
            return bytes(kept + data[at:])
        dropped = marker == 0xFE or (0xE1 <= marker <= 0xEF and marker != _JPEG_ADOBE)
        if not dropped:
            kept += data[at:end]
        at = end
    return data
