"""What a person sees of a case before any moving picture: captions and contact sheets of segments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, text

from nightreel.review.showing import ShownFinding

_MOST = 12
_SCENES = text("SELECT * FROM nightreel.scenes_of_video(:video_id, :answer_ids, :most)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A segment of a video.

    Args:
        caption: None: there is none. prompts: those with a finding in it. has_sheet: a contact sheet is stored.
        restricted: only some people may see the video, in its own lane.
    """

    video_id: int
    segment: int
    start_s: float
    end_s: float
    caption: str | None
    prompts: Sequence[str]
    has_sheet: bool
    restricted: bool


def read_scenes(connection: Connection, findings: Sequence[ShownFinding]) -> list[Scene]:
    """At most 12 segments of the copy that the worst finding is about: those with a finding first, then from the start.

    Args:
        connection: it shows texts of restricted videos, if the person may see them.
        findings: of a case, the worst first.
    """
    if not findings:
        return []
    video_id = findings[0].video_id
    answers = [answer_id for finding in findings for answer_id in finding.answer_ids]
    parameters = {"video_id": video_id, "answer_ids": answers, "most": _MOST}
    rows = connection.execute(_SCENES, parameters).mappings()
    return [Scene(video_id=video_id, **dict(row) | {"prompts": row["prompts"] or ()}) for row in rows]
