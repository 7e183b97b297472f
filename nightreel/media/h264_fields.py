"""Recognise packets of H.264 that hold one field, and which two fields are one frame.

Cameras (AVCHD) and broadcasts store interlaced pictures as two packets, one for each field. A decoder makes one frame
of them. Called by `bitstream`. Source: ITU-T H.264 7.3.2.1.1, 7.3.2.2, 7.3.3 and 7.4.1.2.4.
"""

from __future__ import annotations

from dataclasses import dataclass

from nightreel.media.nal_units import nal_units

_SLICE, _IDR_SLICE, _SPS, _PPS = 1, 5, 7, 8
_SLICE_HEADER_BYTES = 64
_HIGH_PROFILES = frozenset({100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135})
_MOST_SETS = 256


class _Bits:
    """Reads bits and Exp-Golomb numbers.

    Raises:
        ValueError: from any method, past the end or at a number of more than 32 bits.
    """

    def __init__(self, unit: memoryview) -> None:
        data = bytes(unit).replace(b"\0\0\3", b"\0\0")  # emulation prevention
        self._value, self._left = int.from_bytes(data, "big"), 8 * len(data)

    def u(self, count: int) -> int:
        if count > self._left:
            raise ValueError("the unit is too short")
        self._left -= count
        return (self._value >> self._left) & ((1 << count) - 1)

    def ue(self) -> int:
        zeros = 0
        while not self.u(1):
            zeros += 1
            if zeros > 32:
                raise ValueError("a number of more than 32 bits")
        return (1 << zeros) - 1 + self.u(zeros)

    def se(self) -> int:
        number = self.ue()
        return (number + 1) // 2 if number % 2 else -(number // 2)


@dataclass(frozen=True, slots=True)
class _SequenceParameters:
    separate_planes: bool
    frame_num_bits: int
    has_fields: bool


@dataclass(frozen=True, slots=True)
class _Field:
    frame_num: int
    is_bottom: bool
    is_reference: bool
    is_idr: bool


class FieldPairs:
    """Tells the second field of a frame from the packet before it.

    Args:
        extradata: parameter sets of the container, as avcC or with start codes; None if packets carry them.
        length_size: from `nal_length_size`.
    """

    def __init__(self, extradata: bytes | None, length_size: int) -> None:
        self._sequences: dict[int, _SequenceParameters] = {}
        self._pictures: dict[int, int] = {}  # picture parameter set -> its sequence parameter set
        self._first: _Field | None = None
        if extradata:
            units = _avcc_units(extradata) if length_size else nal_units(memoryview(extradata), 0)[0]
            self._remember(units)

    def is_second(self, units: list[memoryview]) -> bool:
        """Whether the packet of these NAL units holds the second field of the frame that the packet before it began.

        ffmpeg's decoder pairs two fields under the same conditions (`h264_field_start`).
        """
        self._remember(units)
        slices = [unit for unit in units if unit[0] & 0x1F in (_SLICE, _IDR_SLICE)]
        if not slices or not any(parameters.has_fields for parameters in self._sequences.values()):
            self._first = None
            return False
        first = self._first
        self._first = own = self._field(slices[0])
        if own is None or any(self._is_other_parity(unit, own) for unit in slices[1:]):
            self._first = None  # a whole frame
            return False
        if first is None or first.is_bottom == own.is_bottom or first.frame_num != own.frame_num:
            return False
        if first.is_reference != own.is_reference or (own.is_idr and not first.is_idr):
            return False
        self._first = None
        return True

    def _is_other_parity(self, unit: memoryview, own: _Field) -> bool:
        other = self._field(unit)
        return other is not None and other.is_bottom != own.is_bottom

    def _remember(self, units: list[memoryview]) -> None:
        for unit in units:
            kind = unit[0] & 0x1F
            try:
                if kind == _SPS:
                    number, parameters = _read_sequence(unit)
                    if number < _MOST_SETS:
                        self._sequences[number] = parameters
                elif kind == _PPS:
                    bits = _Bits(unit[1:])
                    number, sequence = bits.ue(), bits.ue()
                    if number < _MOST_SETS:
                        self._pictures[number] = sequence
            except ValueError:
                continue  # a broken set: its slices are taken for whole frames

    def _field(self, unit: memoryview) -> _Field | None:
        """The field of a slice; None for a slice of a whole frame, and for one that cannot be read."""
        try:
            bits = _Bits(unit[1:_SLICE_HEADER_BYTES])
            bits.ue()  # first_mb_in_slice
            bits.ue()  # slice_type
            sequence = self._sequences.get(self._pictures.get(bits.ue(), -1))
            if sequence is None or not sequence.has_fields:
                return None
            if sequence.separate_planes:
                bits.u(2)
            frame_num = bits.u(sequence.frame_num_bits)
            if not bits.u(1):  # field_pic_flag
                return None
            return _Field(frame_num, bool(bits.u(1)), unit[0] & 0x60 != 0, unit[0] & 0x1F == _IDR_SLICE)
        except ValueError:
            return None


def _avcc_units(extradata: bytes) -> list[memoryview]:
    """The parameter sets of an avcC record."""
    data, units, at = memoryview(extradata), [], 5
    for mask in (0x1F, 0xFF):  # number of sequence parameter sets, number of picture parameter sets
        if at >= len(data):
            break
        count, at = data[at] & mask, at + 1
        for _ in range(count):
            size = int.from_bytes(data[at : at + 2], "big")
            unit, at = data[at + 2 : at + 2 + size], at + 2 + size
            if len(unit):
                units.append(unit)
    return units


def _read_sequence(unit: memoryview) -> tuple[int, _SequenceParameters]:
    bits = _Bits(unit[1:])
    profile = bits.u(8)
    bits.u(16)  # constraint flags, level
    number, separate_planes = bits.ue(), False
    if profile in _HIGH_PROFILES:
        chroma = bits.ue()
        if chroma == 3:
            separate_planes = bool(bits.u(1))
        bits.ue(), bits.ue(), bits.u(1)  # bit depths, qpprime_y_zero_transform_bypass_flag
        if bits.u(1):
            for i in range(12 if chroma == 3 else 8):
                if bits.u(1):
                    _skip_scaling_list(bits, 16 if i < 6 else 64)
    frame_num_bits = bits.ue() + 4
    if frame_num_bits > 16:
        raise ValueError("frame_num of more than 16 bits")
    order = bits.ue()
    if order == 0:
        bits.ue()
    elif order == 1:
        bits.u(1), bits.se(), bits.se()
        cycle = bits.ue()
        if cycle > 255:
            raise ValueError("a cycle of more than 255 frames")
        for _ in range(cycle):
            bits.se()
    bits.ue(), bits.u(1), bits.ue(), bits.ue()  # reference frames, gaps allowed, width, height
    return number, _SequenceParameters(separate_planes, frame_num_bits, has_fields=not bits.u(1))


def _skip_scaling_list(bits: _Bits, size: int) -> None:
    last = following = 8
    for _ in range(size):
        if following:
            following = (last + bits.se()) % 256
        last = following or last
