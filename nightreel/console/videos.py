"""The page of a video: player, timeline, answers of a moment with their frames, provenance, copies, history."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response
from pydantic import Field

from nightreel.api.bodies import Body
from nightreel.api.pictures import Index, frame_reply
from nightreel.api.problems import Problem, not_found
from nightreel.api.rows import VideoId, find_video
from nightreel.console.access import AsViewer, Visitor
from nightreel.console.fields import query_of
from nightreel.console.finding import Lane
from nightreel.console.media import media_reply, media_type
from nightreel.console.previews import preview_reply, shown_preview
from nightreel.console.rendering import render
from nightreel.console.watching import read_moment, read_video
from nightreel.database.view_pages import PageQuery, read_page
from nightreel.database.view_rows import Filter
from nightreel.review.viewing import Viewed, note_view
from nightreel.stages.curation.webvtt import escape_text, webvtt

_MOST_CUES = 1000
_LONGEST_S = 1e7

Sha256 = Annotated[str, Path(pattern=r"^[0-9a-f]{64}$")]


class WatchForm(Body):
    """Where to look. `t`: seconds; None: nowhere in particular. `lane`: restricted videos are on show in it alone."""

    t: float | None = Field(None, ge=0, le=_LONGEST_S, allow_inf_nan=False)
    lane: Lane = ""


class RevealForm(Body):
    """What is shown as it is: the contact sheet of a segment; without one, the player."""

    segment: Index | None = None


def add_videos(router: APIRouter) -> None:
    """Add the routes."""
    router.add_api_route("/videos/{video_id}", _video, methods=["GET"])
    router.add_api_route("/videos/{video_id}/moment", _moment, methods=["GET"])
    router.add_api_route("/videos/{video_id}/media", _media, methods=["GET"])
    router.add_api_route("/videos/{video_id}/preview", _preview, methods=["GET"])
    router.add_api_route("/videos/{video_id}/preview/{key}.webm", _preview_media, methods=["GET"])
    router.add_api_route("/videos/{video_id}/revealed", _revealed, methods=["POST"])
    router.add_api_route("/videos/{video_id}/captions.vtt", _captions, methods=["GET"])
    router.add_api_route("/videos/{video_id}/flags.vtt", _flags, methods=["GET"])
    router.add_api_route("/videos/{video_id}/segments/{segment}/frames/{frame}.jpg", _frame, methods=["GET"])


def _asked(request: Request, visitor: Visitor) -> tuple[WatchForm, bool]:
    """What the address says, and whether restricted videos are on show."""
    given = query_of(request).read(WatchForm)
    return given, bool(given.lane) and visitor.user.restricted


def _video(request: Request, visitor: AsViewer, video_id: VideoId) -> Response:
    given, restricted = _asked(request, visitor)
    if visitor.user.restricted and not restricted and _is_restricted(visitor, video_id):
        return render(request, "restricted.html", video_id=video_id, t=given.t)
    with visitor.reading(restricted=restricted) as connection:
        watched = read_video(connection, video_id, restricted=restricted)
        segment = watched.at(given.t or 0.0)
        moment = read_moment(connection, video_id, segment, restricted=restricted) if segment else None
    media = media_type(watched.video)
    plays = media is not None or watched.video["gone_at"]
    return render(
        request,
        "video.html",
        watched=watched,
        video=watched.video,
        moment=moment,
        t=given.t,
        lane=given.lane if restricted else "",
        media_type=media,
        preview=None if plays else shown_preview(visitor.service.previews, watched, given.t),
    )


def _moment(request: Request, visitor: AsViewer, video_id: VideoId) -> Response:
    """The answers about a moment alone."""
    given, restricted = _asked(request, visitor)
    with visitor.reading(restricted=restricted) as connection:
        watched = read_video(connection, video_id, restricted=restricted)
        segment = watched.at(given.t or 0.0)
        if segment is None:
            raise not_found(f"video {video_id} has no segment with answers")
        moment = read_moment(connection, video_id, segment, restricted=restricted)
    return render(request, "_moment.html", video=watched.video, moment=moment, lane=given.lane if restricted else "")


def _media(request: Request, visitor: AsViewer, video_id: VideoId) -> Response:
    """The bytes of the video, by ranges. Each request is noted: the browser sends one when somebody plays or seeks.

    In the lane, they count as blurred: `_revealed` notes when the person asks to see the picture as it is.
    """
    _, restricted = _asked(request, visitor)
    with visitor.reading(restricted=restricted) as connection:
        video = find_video(connection, video_id, restricted=restricted)
    reply = media_reply(request, visitor.service, video)
    with visitor.writing() as connection:
        note_view(connection, visitor.user, video_id, Viewed.VIDEO, restricted)
    return reply


def _preview(request: Request, visitor: AsViewer, video_id: VideoId) -> Response:
    """The preview of a moment with its player, or how far it is. The page asks until it is there."""
    given, restricted = _asked(request, visitor)
    with visitor.reading(restricted=restricted) as connection:
        watched = read_video(connection, video_id, restricted=restricted)
    return render(
        request,
        "_preview.html",
        video=watched.video,
        preview=shown_preview(visitor.service.previews, watched, given.t),
        t=given.t,
        lane=given.lane if restricted else "",
    )


def _preview_media(request: Request, visitor: AsViewer, video_id: VideoId, key: Sha256) -> Response:
    """The bytes of a preview, by ranges. Each request is noted, as those for the video itself."""
    _, restricted = _asked(request, visitor)
    with visitor.reading(restricted=restricted) as connection:
        video = find_video(connection, video_id, restricted=restricted)
    reply = preview_reply(request, visitor.service.previews, video["content_sha256"], key)
    with visitor.writing() as connection:
        note_view(connection, visitor.user, video_id, Viewed.VIDEO, restricted)
    return reply


def _frame(request: Request, visitor: AsViewer, video_id: VideoId, segment: Index, frame: Index) -> Response:
    """A frame at which the model looked, decoded again."""
    _, restricted = _asked(request, visitor)
    # Pages of the lane show frames blurred alone.
    return frame_reply(
        visitor.service, visitor.user.id, video_id, segment, frame, restricted=restricted, blurred=restricted
    )


def _revealed(visitor: AsViewer, video_id: VideoId) -> Response:
    """The person asks to see a picture of the lane as it is: the page shows it after this reply."""
    segment = visitor.form.read(RevealForm).segment
    what = Viewed.VIDEO if segment is None else Viewed.CONTACT_SHEET
    with visitor.writing() as connection:
        find_video(connection, video_id, restricted=visitor.user.restricted)
        note_view(connection, visitor.user, video_id, what, False, segment=segment)
    return Response(status_code=204)


def _captions(request: Request, visitor: AsViewer, video_id: VideoId) -> Response:
    """The captions as WebVTT."""
    rows = _rows(request, visitor, video_id, "timeline", Filter("kind", "=", "caption"))
    cues = {((one["start_s"], one["end_s"]), escape_text(str(one["answer"] or ""))): None for one in rows}
    return _vtt([(times, text) for times, text in cues if text])


def _flags(request: Request, visitor: AsViewer, video_id: VideoId) -> Response:
    """The flags as WebVTT."""
    cues = []
    for one in _rows(request, visitor, video_id, "flags"):
        name = escape_text(f"{one['prompt']}: {one['found']}")
        cues += [((float(start), float(end)), name) for start, end in one["ranges"] or []]
    return _vtt(sorted(cues))


def _rows(request: Request, visitor: Visitor, video_id: int, view: str, *more: Filter) -> list[dict[str, Any]]:
    _, restricted = _asked(request, visitor)
    filters = (Filter("video_id", "=", str(video_id)), *more)
    with visitor.reading(restricted=restricted) as connection:
        find_video(connection, video_id, restricted=restricted)
        query = PageQuery(view=view, filters=filters, restricted=restricted, limit=_MOST_CUES)
        return read_page(connection, query).records


def _vtt(cues: list[tuple[tuple[float, float], str]]) -> Response:
    return Response(webvtt(cues, note="Nightreel"), media_type="text/vtt")


def _is_restricted(visitor: Visitor, video_id: int) -> bool:
    try:
        with visitor.reading() as connection:
            return bool(find_video(connection, video_id, restricted=True)["restricted"])
    except Problem as error:
        if error.status == 404:
            return False
        raise
