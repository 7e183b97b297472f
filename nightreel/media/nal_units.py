"""Split a packet of H.264 or HEVC into its NAL units, and join units to a packet again. Pure functions over bytes.

Called by `bitstream`, `h264_fields` and `essence`. Sources: ITU-T H.264 annex B and 7.3.2.3, ISO/IEC 14496-15 5.2.3.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

_START_CODE = b"\0\0\1"


def nal_length_size(codec: str, extradata: bytes | None) -> int:
    """Size in bytes of the length field before each NAL unit; 0 for start codes (Annex B)."""
    if not extradata or extradata[0] != 1:
        return 0
    if codec == "h264" and len(extradata) >= 7:
        return (extradata[4] & 3) + 1
    if codec == "hevc" and len(extradata) >= 23:
        return (extradata[21] & 3) + 1
    return 0


def nal_units(packet: memoryview, length_size: int) -> tuple[list[memoryview], bool]:
    """The NAL units of a packet up to the first invalid length, none empty, and whether all lengths are valid."""
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


def join_nal_units(units: Iterable[memoryview], length_size: int) -> bytes:
    """The inverse of `nal_units`."""
    if length_size:
        return b"".join(len(unit).to_bytes(length_size, "big") + bytes(unit) for unit in units)
    return b"".join(b"\0" + _START_CODE + bytes(unit).rstrip(b"\0") for unit in units)  # zeros belong to no unit


def sei_payloads(sei: memoryview) -> Iterator[tuple[int, memoryview]]:
    """(type, body) of each whole message of an SEI unit, without the unit's header."""
    at = 0
    while at + 2 < len(sei):
        numbers = []
        for _ in range(2):  # payload type, payload size: each a run of 0xff and a last byte
            number = 0
            while at < len(sei) and sei[at] == 0xFF:
                number, at = number + 255, at + 1
            if at >= len(sei):
                return
            numbers.append(number + sei[at])
            at += 1
        kind, size = numbers
        if at + size > len(sei):
            return
        yield kind, sei[at : at + size]
        at += size
