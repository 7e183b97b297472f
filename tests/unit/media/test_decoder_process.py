"""An error in a decode process becomes the fault of the file, of the disk or of the memory limit, whichever it is."""

import errno
from pathlib import Path

import av
import pytest

from nightreel.errors import PermanentError, TransientError
from nightreel.media import decoder_process


@pytest.fixture
def request_for(tmp_path):
    path = tmp_path / "video.mp4"
    path.write_bytes(bytes(100))
    return {"op": "probe", "path": str(path), "limits": {"max_pixels": 1000}, "memory_mib": 2048}


@pytest.mark.parametrize(
    ("error", "kind", "reason"),
    [
        (OSError(errno.EIO, "Input/output error", "/spool/video.mp4"), TransientError, "file_unreadable"),
        (FileNotFoundError(errno.ENOENT, "No such file", "/spool/video.mp4"), TransientError, "file_unreadable"),
        (av.error.InvalidDataError(1, "Invalid data", "file:/spool/video.mp4"), PermanentError, "decoder_failed"),
        (av.error.FFmpegError(errno.ENOTSUP, "Operation not supported"), PermanentError, "decoder_failed"),
        (KeyError("pts"), PermanentError, "decoder_failed"),
        (MemoryError(), PermanentError, "decode_memory"),
    ],
)
def test_an_error_is_blamed_on_disk_memory_or_file(request_for, error, kind, reason):
    explained = decoder_process._explain(request_for | {"path": "/spool/video.mp4"}, error)
    assert (type(explained), explained.reason) == (kind, reason)
    assert explained.detail.count("video.mp4") == 1
    assert "/spool" not in explained.detail


@pytest.mark.parametrize(("left", "reason"), [(10**9, "unreadable"), (5000, "decode_memory")])
def test_ffmpeg_lacks_memory_only_if_a_picture_would_not_fit(request_for, monkeypatch, left, reason):
    monkeypatch.setattr(decoder_process, "least_address_space_left_bytes", lambda: left)
    error = av.error.MemoryError(errno.ENOMEM, "Cannot allocate memory")
    explained = decoder_process._explain(request_for, error)
    assert explained.reason == reason
    assert Path(request_for["path"]).name in explained.detail
