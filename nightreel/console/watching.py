"""What the page of a video shows, from the views: the video, one moment of it, and what people and models said."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from nightreel.api.rows import find_video
from nightreel.console.timeline import Timeline, draw_timeline
from nightreel.database.view_pages import PageQuery, read_page
from nightreel.database.view_rows import Filter

_MOST_SEGMENTS = 1000
_MOST = 500
_MOST_COPIES = 100
_MOST_POLICIES = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchedVideo:
    """A video. `verdicts`: of the whole of it, by prompt. `copies`: other objects with the same bytes."""

    video: dict[str, Any]
    segments: list[dict[str, Any]]
    flags: list[dict[str, Any]]
    verdicts: list[dict[str, Any]]
    copies: list[dict[str, Any]]
    cases: list[dict[str, Any]]
    decisions: list[dict[str, Any]]
    timeline: Timeline

    def at(self, moment_s: float) -> dict[str, Any] | None:
        """The segment that shows a moment; the first one, if none does."""
        found = [one for one in self.segments if one["start_s"] <= moment_s < one["end_s"]]
        return next(iter(found or self.segments), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchedMoment:
    """A segment and its answers, each with the policy that judged it (`policy_text`)."""

    segment: dict[str, Any]
    answers: list[dict[str, Any]]


def read_video(connection: Connection, video_id: int, *, restricted: bool) -> WatchedVideo:
    """What the page of a video shows.

    Args:
        restricted: the reader may see restricted videos, and asks for their lane.

    Raises:
        Problem: 404.
    """
    video = find_video(connection, video_id, restricted=restricted)

    def rows(view: str, most: int, *more: Filter, newest: bool = False) -> list[dict[str, Any]]:
        filters = (Filter("video_id", "=", str(video_id)), *more)
        query = PageQuery(view=view, filters=filters, restricted=restricted, limit=most, newest=newest)
        return read_page(connection, query).records

    segments = sorted(rows("segments", _MOST_SEGMENTS), key=lambda one: one["start_s"])
    flags = rows("flags", _MOST)
    looks = [one for one in rows("answers", _MOST) if one["look"] is not None and one["due"]]
    duration_s = video["duration_s"] or max((one["end_s"] for one in segments), default=0.0)
    return WatchedVideo(
        video=video,
        segments=segments,
        flags=flags,
        verdicts=rows("video_answers", _MOST),
        copies=_copies(connection, video, restricted=restricted),
        cases=_of_video(connection, "cases", video, restricted=restricted),
        decisions=_of_video(connection, "decisions", video, restricted=restricted),
        timeline=draw_timeline(duration_s, segments=segments, flags=flags, looks=looks),
    )


def read_moment(connection: Connection, video_id: int, segment: dict[str, Any], *, restricted: bool) -> WatchedMoment:
    """The answers about a segment, with what is known of how they came about."""
    filters = (Filter("video_id", "=", str(video_id)), Filter("segment", "=", str(segment["segment"])))
    query = PageQuery(view="answers", filters=filters, restricted=restricted, limit=_MOST)
    answers = [one for one in read_page(connection, query).records if one["due"]]
    texts = _policy_texts(connection)
    for one in answers:
        one["policy_text"] = texts.get(one["policy_id"], "")
    answers.sort(key=lambda one: (not one["flagged"], one["state"] == "answered", one["prompt_set"], one["prompt"]))
    return WatchedMoment(segment=segment, answers=answers)


def _policy_texts(connection: Connection) -> dict[int, str]:
    """By policy: what counts and what does not."""
    query = PageQuery(view="policies", columns="policy_id,definition", limit=_MOST_POLICIES, newest=True)
    return {one["policy_id"]: one["definition"]["text"] for one in read_page(connection, query).records}


def _copies(connection: Connection, video: dict[str, Any], *, restricted: bool) -> list[dict[str, Any]]:
    if video["content_sha256"] is None:
        return []
    query = PageQuery(
        view="videos",
        columns="video_id,uri,restricted",
        filters=(Filter("content_sha256", "=", video["content_sha256"]),),
        restricted=restricted,
        limit=_MOST_COPIES,
    )
    return [one for one in read_page(connection, query).records if one["video_id"] != video["video_id"]]


def _of_video(connection: Connection, view: str, video: dict[str, Any], *, restricted: bool) -> list[dict[str, Any]]:
    """Rows of cases or decisions about the content of a video; without one, about the video."""
    content = video["content_sha256"]
    chosen = Filter("content_sha256", "=", content) if content else Filter("video_id", "=", str(video["video_id"]))
    query = PageQuery(view=view, filters=(chosen,), restricted=restricted, limit=_MOST, newest=True)
    return read_page(connection, query).records
