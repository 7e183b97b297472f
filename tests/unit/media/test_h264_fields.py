"""Two packets of one field each are one frame; anything else is not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nightreel.media.h264_fields import FieldPairs


class _Writer:
    def __init__(self) -> None:
        self.bits = ""

    def u(self, value: int, count: int) -> "_Writer":
        self.bits += f"{value:0{count}b}"
        return self

    def ue(self, value: int) -> "_Writer":
        binary = f"{value + 1:b}"
        self.bits += "0" * (len(binary) - 1) + binary
        return self

    def unit(self, header: int) -> memoryview:
        bits = self.bits + "1"
        bits += "0" * (-len(bits) % 8)
        data = bytes(int(bits[i : i + 8], 2) for i in range(0, len(bits), 8))
        return memoryview(bytes([header]) + data.replace(b"\0\0", b"\0\0\3"))


def _sps(*, interlaced: bool = True) -> memoryview:
    writer = _Writer().u(77, 8).u(0, 16).ue(0)  # Main profile, so no chroma format
    writer.ue(0).ue(0).ue(4).ue(2).u(0, 1).ue(19).ue(8)  # frame_num of 4 bits, picture order, references, size
    return writer.u(not interlaced, 1).u(0, 3).unit(0x67)


def _pps() -> memoryview:
    return _Writer().ue(0).ue(0).u(0, 8).unit(0x68)


def _slice(frame_num: int, field: str | None, *, reference: bool = True, idr: bool = False) -> memoryview:
    """A slice of a whole frame (None), a top field ("t") or a bottom field ("b")."""
    writer = _Writer().ue(0).ue(7).ue(0).u(frame_num, 4)
    writer.u(field is not None, 1)
    if field:
        writer.u(field == "b", 1)
    return writer.u(0, 16).unit((0x60 if reference else 0) | (5 if idr else 1))


def _seconds(*packets: list[memoryview]) -> list[bool]:
    pairs = FieldPairs(None, 0)
    return [pairs.is_second(packet) for packet in packets]


def test_a_field_of_the_other_parity_and_the_same_number_is_the_second():
    assert _seconds([_sps(), _pps(), _slice(0, "t", idr=True)], [_slice(0, "b")], [_slice(1, "b")], [_slice(1, "t")]
                    ) == [False, True, False, True]  # fmt: skip


@pytest.mark.parametrize(
    "second",
    [
        _slice(0, "t"),  # the same parity
        _slice(1, "b"),  # another frame
        _slice(0, "b", reference=False),  # of another kind
        _slice(0, None),  # a whole frame
    ],
)
def test_a_packet_that_does_not_complete_the_field_before_is_a_frame_of_its_own(second):
    assert _seconds([_sps(), _pps(), _slice(0, "t")], [second]) == [False, False]


def test_two_fields_in_one_packet_are_a_whole_frame():
    assert _seconds([_sps(), _pps(), _slice(0, "t"), _slice(0, "b")], [_slice(0, "b")]) == [False, False]


def test_progressive_streams_and_streams_without_parameter_sets_have_no_fields():
    assert _seconds([_sps(interlaced=False), _pps(), _slice(0, "t")], [_slice(0, "b")]) == [False, False]
    assert _seconds([_slice(0, "t")], [_slice(0, "b")]) == [False, False]


@given(st.lists(st.binary(min_size=1, max_size=60), max_size=6), st.one_of(st.none(), st.binary(max_size=60)))
def test_any_units_are_read_without_an_error(units, extradata):
    pairs = FieldPairs(extradata, 4 if extradata and extradata[0] == 1 else 0)
    assert pairs.is_second([memoryview(unit) for unit in units]) in (True, False)
