"""Pictures of videos: the stored contact sheet of a segment, and each sampled frame.

The content type is always image/jpeg: nothing in a file decides how a browser reads it.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from sqlalchemy import Connection

from nightreel.api.access import Caller, needs
from nightreel.api.fetched import AnalysedVideo
from nightreel.api.problems import described, not_found
from nightreel.api.reading import reading, writing
from nightreel.api.rows import VideoId, find_video
from nightreel.api.service import Service, service_of
from nightreel.cache.features import LARGEST_THUMBNAIL
from nightreel.database.users import get_user
from nightreel.database.view_pages import PageQuery, read_page
from nightreel.database.view_rows import Filter
from nightreel.domain.tokens import Scope
from nightreel.errors import PermanentError
from nightreel.reasons import Reason
from nightreel.review.viewing import Viewed, note_view
from nightreel.storage import open_storage

_JPEG = b"\xff\xd8\xff"
_LARGEST_INDEX = 2**31 - 1
_PLANS = 100  # a video has a segment of each number for each sampling plan
_HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Content-Disposition": "inline",
    "Content-Security-Policy": "default-src 'none'",
}

MaySee = Annotated[Caller, Depends(needs(Scope.MEDIA))]
Index = Annotated[int, Path(ge=0, le=_LARGEST_INDEX)]


def add_pictures(router: APIRouter) -> None:
    """Add the routes."""
    router.add_api_route(
        "/videos/{video_id}/thumbnail",
        _thumbnail,
        response_class=Response,
        operation_id="get_thumbnail",
        responses=_JPEG_OR | described(401, 403, 404, 422, 429),
    )
    router.add_api_route(
        "/videos/{video_id}/segments/{segment}/frames/{frame}.jpg",
        _frame,
        response_class=Response,
        operation_id="get_frame",
        responses=_JPEG_OR | described(401, 403, 404, 410, 422, 429),
    )


_JPEG_OR: dict[int | str, dict[str, Any]] = {200: {"description": "A JPEG", "content": {"image/jpeg": {}}}}


def _thumbnail(
    request: Request,
    caller: MaySee,
    video_id: VideoId,
    segment: Annotated[int, Query(ge=0, le=_LARGEST_INDEX, description="number of the segment")] = 0,
) -> Response:
    """The contact sheet of a segment: all its sampled frames in one picture."""
    return thumbnail_reply(service_of(request), caller.token.user_id, video_id, segment, restricted=caller.restricted)


def _frame(request: Request, caller: MaySee, video_id: VideoId, segment: Index, frame: Index) -> Response:
    """A sampled frame, decoded again from the video. The first frame of a segment has number 0."""
    return frame_reply(
        service_of(request), caller.token.user_id, video_id, segment, frame, restricted=caller.restricted
    )


def thumbnail_reply(
    service: Service,
    user_id: int,
    video_id: int,
    segment: int,
    *,
    restricted: bool,
    viewed: Viewed = Viewed.CONTACT_SHEET,
    blurred: bool | None = False,
) -> Response:
    """The stored contact sheet of a segment, as a reply. It is noted that this person gets it.

    Args:
        restricted: the caller may see restricted videos. viewed, blurred: what is noted.

    Raises:
        Problem: 404.
    """
    with reading(service.database, restricted=restricted) as connection:
        find_video(connection, video_id, restricted=restricted)
        found = find_segment(connection, video_id, segment, restricted=restricted)
    none = not_found(f"no thumbnail of segment {segment} of video {video_id} is stored")
    if found["thumbnail_uri"] is None:
        raise none
    try:
        data = _stored(service, found["thumbnail_uri"])
    except PermanentError as error:
        if error.reason in (Reason.OBJECT_GONE, Reason.OUTSIDE_PREFIX, Reason.LIMIT_BYTES, Reason.NO_SUCH_SOURCE):
            raise none from error
        raise
    if not data.startswith(_JPEG):
        raise none
    _note(service, user_id, video_id, viewed, segment, restricted=restricted, blurred=blurred)
    return Response(data, media_type="image/jpeg", headers=_HEADERS)


def frame_reply(
    service: Service, user_id: int, video_id: int, segment: int, frame: int, *, restricted: bool, blurred: bool = False
) -> Response:
    """A sampled frame, decoded again, as a reply. Arguments as `thumbnail_reply`.

    Raises:
        Problem: 404; 410 and 429 as `FrameReader.jpeg`.
    """
    with reading(service.database, restricted=restricted) as connection:
        video = find_video(connection, video_id, restricted=restricted)
        times_s = find_segment(connection, video_id, segment, restricted=restricted)["frame_times_s"]
    if frame >= len(times_s):
        raise not_found(f"segment {segment} of video {video_id} has {len(times_s)} frames, the first is 0")
    data = service.frames.jpeg(analysed(video), times_s[frame])
    _note(service, user_id, video_id, Viewed.FRAME, segment, restricted=restricted, blurred=blurred)
    return Response(data, media_type="image/jpeg", headers=_HEADERS)


def analysed(video: dict[str, Any]) -> AnalysedVideo:
    """The version of an object that was analysed, from a row of `videos`."""
    return AnalysedVideo(uri=video["uri"], etag=video["etag"], content_sha256=video["content_sha256"])


def find_segment(connection: Connection, video_id: int, segment: int, *, restricted: bool) -> dict[str, Any]:
    """The row of a segment; of several sampling plans, the newest.

    Raises:
        Problem: 404.
    """
    query = PageQuery(
        view="segments",
        filters=(Filter("video_id", "=", str(video_id)), Filter("segment", "=", str(segment))),
        restricted=restricted,
        limit=_PLANS,
    )
    found = read_page(connection, query)
    if not found.rows:
        raise not_found(f"video {video_id} has no segment {segment} with answers; the first is 0")
    return found.records[-1]


def _note(
    service: Service, user_id: int, video_id: int, what: Viewed, segment: int, *, restricted: bool, blurred: bool | None
) -> None:
    """Note that a person gets a picture. It is sent only then."""
    with writing(service.database, restricted=restricted) as connection:
        note_view(connection, get_user(connection, user_id), video_id, what, blurred, segment=segment)


def _stored(service: Service, uri: str) -> bytes:
    return open_storage(service.settings.cache_prefix, service.settings).read(uri, max_bytes=LARGEST_THUMBNAIL)
