"""A packet without the parts on which no picture depends."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nightreel.media.essence import essence_of

_AVCC = bytes([1, 0, 0, 0, 0xFF, 0xE0, 0])
SEI, RECOVERY, IDR, AUD = b"\x06\x05\x01a\x80", b"\x06\x06\x01\x84\x80", b"\x65\x88\x01", b"\x09\xf0"


def _annex_b(*units: bytes) -> bytes:
    return b"".join(b"\0\0\0\1" + unit for unit in units)


def _avcc(*units: bytes) -> bytes:
    return b"".join(len(unit).to_bytes(4, "big") + unit for unit in units)


def _strip(codec: str, packet: bytes, extradata: bytes | None = None) -> bytes:
    strip = essence_of(codec, extradata)
    assert strip is not None
    return strip(memoryview(packet))


@pytest.mark.parametrize(("pack", "extradata"), [(_annex_b, None), (_avcc, _AVCC)])
def test_h264_keeps_slices_and_recovery_points_and_drops_messages(pack, extradata):
    assert _strip("h264", pack(AUD, SEI, RECOVERY, IDR), extradata) == pack(RECOVERY, IDR)


def test_hevc_drops_messages_and_vendor_units():
    keyframe, sei, dolby_vision = b"\x26\x01\xaf", b"\x4e\x01\x05\x01a\x80", b"\x7c\x01\x19"
    assert _strip("hevc", _annex_b(sei, keyframe, dolby_vision)) == _annex_b(keyframe)


def test_a_jpeg_keeps_its_tables_and_scan_and_loses_application_segments():
    def segment(marker: int, body: bytes) -> bytes:
        return bytes([0xFF, marker]) + (len(body) + 2).to_bytes(2, "big") + body

    adobe, tables, scan = segment(0xEE, b"Adobe"), segment(0xDB, b"t" * 64), segment(0xDA, b"s") + b"data\xff\xd9"
    jpeg = b"\xff\xd8" + segment(0xE1, b"Exif broken") + adobe + segment(0xFE, b"a comment") + tables + scan
    assert _strip("mjpeg", jpeg) == b"\xff\xd8" + adobe + tables + scan


@given(st.sampled_from(["h264", "hevc", "mjpeg"]), st.binary(max_size=80), st.sampled_from([None, _AVCC]))
def test_any_bytes_are_stripped_without_an_error_and_never_grow(codec, packet, extradata):
    assert len(_strip(codec, packet, extradata)) <= 2 * len(packet) + 4


def test_nothing_is_left_out_of_other_codecs():
    assert essence_of("vp9", None) is None
