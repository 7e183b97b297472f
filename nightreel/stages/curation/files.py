"""Directories and names of files of an export. Keys of objects are hostile: no name comes from one alone."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from nightreel.errors import SettingsError

_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
_LONGEST = 80
MEDIA = "media"
"""The folder where a form expects objects of a bucket: media/<bucket>/<key>."""


@contextmanager
def whole_directory(path: Path) -> Iterator[Path]:
    """A new directory that has the name `path` at the end of the block. After an error, nothing is left of it.

    Raises:
        SettingsError: it exists.
    """
    if path.exists() or path.is_symlink():
        raise SettingsError(f"{path} exists: name a new directory with --to")
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    part.mkdir(parents=True)
    try:
        yield part
        part.rename(path)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def safe_name(uri: str, video_id: int, suffix: str) -> str:
    """A name of a file for a video: letters of its own name, and its id, which no other video has.

    >>> safe_name("s3://bucket/../../etc/passwd", 7, ".vtt"), safe_name("s3://bucket/=cmd()|x.mp4", 8, ".vtt")
    ('passwd-7.vtt', 'cmd_x.mp4-8.vtt')
    """
    name = unquote(uri.rsplit("/", 1)[-1])
    plain = _UNSAFE.sub("_", name).strip("._-")[:_LONGEST]
    return f"{plain}-{video_id}{suffix}" if plain else f"{video_id}{suffix}"


def local_path(uri: str) -> str | None:
    """The path of a `file://` URI; None for another one.

    >>> local_path("file:///videos/my%20clip.mp4"), local_path("s3://bucket/a.mp4")
    ('/videos/my clip.mp4', None)
    """
    return unquote(uri.removeprefix("file://")) if uri.startswith("file://") else None


def media_path(uri: str, video_id: int) -> str:
    """Where a form finds the file of a video: its path, or for an object of a bucket a path below the export.

    >>> media_path("s3://bucket/day 1/a.mp4", 7), media_path("s3://bucket/../../a.mp4", 8)
    ('media/bucket/day 1/a.mp4', 'media/a.mp4-8.mp4')
    """
    if path := local_path(uri):
        return path
    parts = uri.partition("://")[2].split("/")
    if any(part in ("", ".", "..") or "\\" in part for part in parts):
        ending = _UNSAFE.sub("", PurePosixPath(parts[-1]).suffix)[:_LONGEST]
        return f"{MEDIA}/{safe_name(uri, video_id, ending)}"
    return str(PurePosixPath(MEDIA, *parts))
