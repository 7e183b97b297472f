"""An error in a decode process becomes the fault of the file, of the disk or of the memory limit, whichever it is."""

import errno

import av
import pytest

from nightreel.errors import PermanentError, TransientError
from nightreel.media import decoder_process
from nightreel.media.media_file import MediaFile


class _Confined:
    def __init__(self, left_bytes):
        self.least_address_space_left_bytes = lambda: left_bytes


REQUEST = {"op": "probe", "limits": {"max_pixels": 1000}, "memory_mib": 2048}


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "video.mp4"
    path.write_bytes(bytes(100))
    with path.open("rb") as file:
        yield MediaFile(file.fileno(), path.name)


@pytest.mark.parametrize(
    ("error", "kind", "reason"),
    [
        (OSError(errno.EIO, "Input/output error"), TransientError, "file_unreadable"),
        (av.error.InvalidDataError(1, "Invalid data", "video.mp4"), PermanentError, "decoder_failed"),
        (av.error.FFmpegError(errno.ENOTSUP, "Operation not supported"), PermanentError, "decoder_failed"),
        (KeyError("pts"), PermanentError, "decoder_failed"),
        (MemoryError(), PermanentError, "decode_memory"),
    ],
)
def test_an_error_is_blamed_on_disk_memory_or_file(file, error, kind, reason):
    explained = decoder_process._explain(REQUEST, file, _Confined(0), error)
    assert (type(explained), explained.reason) == (kind, reason)
    assert explained.detail.startswith("video.mp4")


@pytest.mark.parametrize(("left", "reason"), [(10**9, "unreadable"), (5000, "decode_memory")])
def test_ffmpeg_lacks_memory_only_if_a_picture_would_not_fit(file, left, reason):
    error = av.error.MemoryError(errno.ENOMEM, "Cannot allocate memory")
    explained = decoder_process._explain(REQUEST, file, _Confined(left), error)
    assert explained.reason == reason
    assert file.name in explained.detail
