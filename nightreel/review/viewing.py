"""The log of what people saw. Whoever shows a person something notes it first, in the transaction before.

Browsers get the contact sheets of a case before it is on show, so that it appears quickly. A row says that a sheet was
sent, and another one that it was on show, blurred or not. Rows are added, never changed nor deleted.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from sqlalchemy import Connection, insert

from nightreel.database import schema
from nightreel.domain.users import User
from nightreel.review.scenes import Scene
from nightreel.review.showing import ShownCase


class Viewed(StrEnum):
    """What a person saw."""

    CASE = "case"  # what was found about a content, in words
    CONTACT_SHEET = "contact_sheet"
    FRAME = "frame"
    VIDEO = "video"  # moving pictures
    SHEET_SENT = "sheet_sent"  # nothing yet: the browser got a contact sheet, for a case that is on show then or later


def note_view(
    connection: Connection,
    user: User,
    video_id: int | None,
    what: Viewed,
    blurred: bool | None,
    *,
    segment: int | None = None,
    case_id: int | None = None,
) -> None:
    """Note that a person sees something now.

    Args:
        video_id: of the video, or of one copy of a case's content; None: the case has no video any more.
        blurred: whether the picture is blurred; None: no picture is on show.
        segment: number of the segment that it belongs to. case_id: the case in which it is shown.
    """
    row = {
        "user_id": user.id,
        "video_id": video_id,
        "what": what,
        "blurred": blurred,
        "segment": segment,
        "case_id": case_id,
    }
    # inline: the console may add rows and not read them, so the statement returns nothing
    connection.execute(insert(schema.views_seen).values(row).inline())


def note_case(connection: Connection, user: User, case: ShownCase) -> None:
    """Note that a person sees a case."""
    video_id = case.videos[0][0] if case.videos else None
    note_view(connection, user, video_id, Viewed.CASE, None, case_id=case.case_id)


def note_sheets(connection: Connection, user: User, case_id: int, scenes: Sequence[Scene], *, blurred: bool) -> None:
    """Note that a person sees the contact sheets of a case."""
    rows = [
        {
            "user_id": user.id,
            "video_id": scene.video_id,
            "what": Viewed.CONTACT_SHEET,
            "blurred": blurred,
            "segment": scene.segment,
            "case_id": case_id,
        }
        for scene in scenes
        if scene.has_sheet
    ]
    if rows:
        connection.execute(insert(schema.views_seen).inline(), rows)
