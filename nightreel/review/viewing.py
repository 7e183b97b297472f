"""The log of what people saw. Whoever shows a person something notes it first, in the transaction before.

Browsers get the contact sheets of a case before it is on show, so that it appears quickly. A row says that a sheet was
sent, and another one that it was on show, blurred or not. Rows are added, never changed nor deleted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

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
    video_id: int,
    what: Viewed,
    blurred: bool | None,
    *,
    segment: int | None = None,
) -> None:
    """Note that a person sees something now.

    Args:
        blurred: whether the picture is blurred; None: no picture is on show.
        segment: number of the segment that it belongs to.
    """
    row = {
        "user_id": user.id,
        "video_id": video_id,
        "what": what,
        "blurred": blurred,
        "segment": segment,
        "case_id": None,
    }
    _add(connection, [row])


def note_case(
    connection: Connection, user: User, case: ShownCase, scenes: Sequence[Scene] = (), *, blurred: bool | None = None
) -> None:
    """Note that a person sees a case.

    Args:
        scenes: of which the contact sheets are on show with it. blurred: whether they are; None: there are none.
    """
    video_id = case.videos[0][0] if case.videos else None
    words = {"video_id": video_id, "what": Viewed.CASE, "segment": None, "blurred": None}
    rows = [words, *_sheets(scenes, blurred)]
    _add(connection, [{"user_id": user.id, "case_id": case.case_id, **row} for row in rows])


def note_sheets(connection: Connection, user: User, case: ShownCase, scenes: Sequence[Scene], *, blurred: bool) -> None:
    """Note that a person sees the contact sheets of a case otherwise than before."""
    rows = _sheets(scenes, blurred)
    _add(connection, [{"user_id": user.id, "case_id": case.case_id, **row} for row in rows])


def _sheets(scenes: Sequence[Scene], blurred: bool | None) -> list[dict[str, Any]]:
    return [
        {"video_id": scene.video_id, "what": Viewed.CONTACT_SHEET, "segment": scene.segment, "blurred": blurred}
        for scene in scenes
        if scene.has_sheet
    ]


def _add(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    # inline: the console may add rows and not read them, so the statement returns nothing
    if rows:
        connection.execute(insert(schema.views_seen).inline(), rows)
