"""The log of what people saw. Whoever shows a person something notes it first, in the transaction before.

Rows are added, never changed nor deleted.
"""

from __future__ import annotations

from enum import StrEnum

from sqlalchemy import Connection, insert

from nightreel.database import schema
from nightreel.domain.users import User
from nightreel.review.showing import ShownCase


class Viewed(StrEnum):
    """What a person saw."""

    CASE = "case"  # what was found about a content, in words
    CONTACT_SHEET = "contact_sheet"
    FRAME = "frame"
    VIDEO = "video"  # moving pictures


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
        blurred: whether the picture is blurred; None: there is no picture, only words.
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
