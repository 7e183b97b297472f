"""The bytes of a video for the player: through the console, by ranges, never from the storage's own address.

They are those of the version that was analysed. Their type is one of a short list: nothing in a file decides how a
browser reads it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from fastapi import Request, Response
from fastapi.responses import StreamingResponse

from nightreel.api.fetched import gone
from nightreel.api.problems import Problem
from nightreel.api.service import Service
from nightreel.errors import NightreelError
from nightreel.storage import Storage, open_storage

_BLOCK_BYTES = 1 << 20
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")
_TYPES = {
    "mov": ("video/mp4", {"h264", "av1", "vp9"}),
    "matroska": ("video/webm", {"vp8", "vp9", "av1", "h264"}),
    "webm": ("video/webm", {"vp8", "vp9", "av1"}),
    "ogg": ("video/ogg", {"theora", "vp8"}),
}
"""By container: the type, and the codecs that browsers of today play in it."""


def media_type(video: dict[str, Any]) -> str | None:
    """The type with which browsers play a video; None: they play no such file.

    >>> media_type({"container": "mov", "codec": "h264"}), media_type({"container": "mov", "codec": "hevc"})
    ('video/mp4', None)
    """
    kind, codecs = _TYPES.get(str(video["container"]).partition(",")[0], (None, ()))
    return kind if video["codec"] in codecs else None


def media_reply(request: Request, service: Service, video: dict[str, Any]) -> Response:
    """The part of a video that the header `Range` names, or all of it.

    Raises:
        Problem: 404 if browsers play no such file; 410 if the object is gone or has changed; 416 for a wrong range.
        NightreelError: as `Storage.read_part`.
    """
    kind = media_type(video)
    if kind is None:
        raise Problem(404, "browsers play no such file: look at its contact sheets and frames")
    storage = open_storage(video["uri"].rpartition("/")[0], service.settings)
    try:
        return ranged_reply(
            request, kind, int(video["size_bytes"]), lambda start, end: _blocks(storage, video, start, end)
        )
    except NightreelError as error:
        raise gone(video["uri"], error) or error from error


def ranged_reply(
    request: Request, kind: str, size_bytes: int, blocks_of: Callable[[int, int], Iterator[bytes]]
) -> Response:
    """The part of a file that the header `Range` names, or all of it.

    Args:
        kind: its type. blocks_of: the bytes from the first to the last, both included.

    Raises:
        Problem: 416 for a wrong range.
        NightreelError: of the first block, so that an object that is gone has a status.
    """
    asked = request.headers.get("range")
    start, end = _asked(asked, size_bytes) if asked else (0, size_bytes - 1)
    blocks = blocks_of(start, end)
    first = next(blocks, b"")
    headers = {
        "Accept-Ranges": "bytes",
        "Cache-Control": "no-store",
        "Content-Disposition": "inline",
        "Content-Length": str(end - start + 1),
        "Content-Security-Policy": "default-src 'none'",
    }
    if asked:
        headers["Content-Range"] = f"bytes {start}-{end}/{size_bytes}"
    return StreamingResponse(_chain(first, blocks), status_code=206 if asked else 200, media_type=kind, headers=headers)


def _asked(header: str, size_bytes: int) -> tuple[int, int]:
    """The first and the last byte of a range.

    >>> _asked("bytes=0-", 100), _asked("bytes=10-19", 100), _asked("bytes=-5", 100), _asked("bytes=90-200", 100)
    ((0, 99), (10, 19), (95, 99), (90, 99))

    Raises:
        Problem: 416.
    """
    found = _RANGE.fullmatch(header.replace(" ", ""))
    if found and any(found.groups()):
        first, last = found.groups()
        if not first:
            start, end = max(0, size_bytes - int(last)), size_bytes - 1
        else:
            start, end = int(first), min(int(last) if last else size_bytes - 1, size_bytes - 1)
        if start <= end:
            return start, end
    raise Problem(
        416,
        f"the file has {size_bytes:,} bytes: ask for some of them",
        headers={"Content-Range": f"bytes */{size_bytes}"},
    )


def _blocks(storage: Storage, video: dict[str, Any], start: int, end: int) -> Iterator[bytes]:
    while start <= end:
        wanted = min(_BLOCK_BYTES, end - start + 1)
        block = storage.read_part(video["uri"], etag=video["etag"], start=start, most_bytes=wanted)
        if not block:
            return  # the reply is shorter than it said: the connection breaks off
        yield block
        start += len(block)


def _chain(first: bytes, blocks: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from blocks
