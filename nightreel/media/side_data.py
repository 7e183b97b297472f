"""What a picture carries beside its pixels. `inspection` calls this.

PyAV has no name for the kinds of side data that are newer than FFmpeg 7 (EXIF, the view of a stereo picture, LCEVC),
and then gives none of a picture's side data. So an unknown kind gets a name here.
"""

from __future__ import annotations

from typing import Any, cast

from av.sidedata.sidedata import Type
from av.video.frame import VideoFrame


def display_matrix(frame: VideoFrame) -> bytes | None:
    """The matrix that turns and mirrors a picture for display: nine int32, as `geometry.orientation_of` takes it."""
    matrix = cast(Any, frame.side_data).get(Type.DISPLAYMATRIX)  # the stubs know names only
    return None if matrix is None else bytes(matrix)


def _unnamed(kind: type[Type], value: object) -> Type:
    member = object.__new__(kind)
    member._name_, member._value_ = f"UNNAMED_{value}", value
    return member


cast(Any, Type)._missing_ = classmethod(_unnamed)  # the way of enum.Enum to make a member for a value without a name
