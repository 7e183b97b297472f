"""The header bits that show where decoding can start; no bytes raise an error."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nightreel.media.bitstream import BitstreamReader, PacketTraits
from nightreel.media.nal_units import nal_length_size

SEI_RECOVERS_AT_ONCE = bytes([0x06, 6, 1, 0x84, 0x80])  # recovery point, recovery_frame_cnt 0
SEI_RECOVERS_LATER = bytes([0x06, 6, 1, 0x24, 0x80])  # recovery_frame_cnt 3
IDR, P_REFERENCE, B_SPARE, I_SLICE = bytes([0x65, 0x88]), bytes([0x41, 0x9A]), bytes([0x01, 0x9E]), bytes([0x61, 0x88])


def _avcc(*units: bytes) -> bytes:
    return b"".join(len(unit).to_bytes(4, "big") + unit for unit in units)


def _annex_b(*units: bytes) -> bytes:
    return b"".join(b"\0\0\0\1" + unit for unit in units)


_WITH_LENGTHS = {"h264": bytes([1, 0, 0, 0, 0xFF, 0xE0, 0]), "hevc": bytes([1] + [0] * 20 + [3, 0])}


def _read(codec: str, packet: bytes, *, is_key: bool, length_size: int = 0) -> PacketTraits:
    extradata = _WITH_LENGTHS[codec] if length_size else None
    return BitstreamReader(codec, extradata).read(memoryview(packet), is_key=is_key)


@pytest.mark.parametrize(("pack", "length_size"), [(_avcc, 4), (_annex_b, 0)])
@pytest.mark.parametrize(
    ("units", "is_key", "expected"),
    [
        ([IDR], True, PacketTraits(True)),
        ([IDR], False, PacketTraits(False)),
        ([P_REFERENCE], False, PacketTraits(False)),
        ([B_SPARE, B_SPARE], False, PacketTraits(False, unreferenced=True)),
        ([SEI_RECOVERS_AT_ONCE, I_SLICE], True, PacketTraits(True)),
        ([SEI_RECOVERS_LATER, P_REFERENCE], True, PacketTraits(False)),
        ([I_SLICE], True, PacketTraits(False)),
    ],
)
def test_h264_starts_clean_at_idr_and_at_immediate_recovery_points(pack, length_size, units, is_key, expected):
    assert _read("h264", pack(*units), is_key=is_key, length_size=length_size) == expected


def test_a_packet_whose_lengths_do_not_add_up_is_not_intact():
    broken = _avcc(B_SPARE) + b"\0\0\0\0"
    assert not _read("h264", broken, is_key=False, length_size=4).intact
    cut = _avcc(IDR)[:-1]
    assert not _read("h264", cut, is_key=True, length_size=4).intact


@pytest.mark.parametrize(("kind", "clean"), [(1, False), (16, True), (19, True), (21, True), (22, False)])
def test_hevc_starts_clean_at_its_random_access_pictures(kind, clean):
    packet = _avcc(bytes([32 << 1, 1]), bytes([kind << 1, 1, 0]))
    assert _read("hevc", packet, is_key=True, length_size=4).starts_clean is clean


@pytest.mark.parametrize(
    ("codec", "packet", "shown"),
    [
        ("vp8", b"\x10\0\0", True),
        ("vp8", b"\x00\0\0", False),
        ("vp9", bytes([0b10000010, 0, 0]), True),
        ("vp9", bytes([0b10000000, 0, 0]), False),
        ("vp9", bytes([0b10001000]), True),  # show_existing_frame
        ("vp9", bytes([0b10000000, 0, 0b11000001]), True),  # a superframe
    ],
)
def test_pictures_that_are_never_shown_are_detected(codec, packet, shown):
    assert _read(codec, packet, is_key=False, length_size=0).shown is shown


def test_mpeg4_b_pictures_and_packed_bitstreams_are_detected():
    i_picture, b_picture = b"\0\0\1\xb6\x10\0", b"\0\0\1\xb6\x90\0"
    assert not _read("mpeg4", i_picture, is_key=True, length_size=0).unreferenced
    assert _read("mpeg4", b_picture, is_key=False, length_size=0).unreferenced
    packed = _read("mpeg4", i_picture + b_picture, is_key=False, length_size=0)
    assert packed == PacketTraits(False, packed=True)


@given(
    st.sampled_from(["h264", "hevc", "mpeg4", "vp8", "vp9", "av1"]),
    st.binary(max_size=200),
    st.booleans(),
    st.one_of(st.none(), st.binary(max_size=40)),
)
def test_any_bytes_are_read_without_an_error(codec, packet, is_key, extradata):
    reader = BitstreamReader(codec, extradata)
    for _ in range(2):  # the reader of H.264 remembers the packet before
        assert isinstance(reader.read(memoryview(packet), is_key=is_key), PacketTraits)
    assert 0 <= nal_length_size(codec, extradata) <= 4
