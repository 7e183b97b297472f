"""Golden items: contents of which the right decision is known, mixed into queues so that nobody notices.

Each person gets an item once, as a case of its own with a content of its own. So a decision about it is about no video:
it counts in no view but `reporting.reviewer_accuracy`, and no webhook is told.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Any

from sqlalchemy import Connection, Row, func, insert, select, text, update

from nightreel.database import schema
from nightreel.database.audits import AuditedLabel, auditable_labels
from nightreel.database.case_rows import NewEvent, add_events
from nightreel.database.cases import OPENED
from nightreel.database.queues import QueuesInForce
from nightreel.database.statements import statement
from nightreel.domain.cases import CaseState
from nightreel.domain.findings import Finding, blind_finding
from nightreel.domain.policies import Policy
from nightreel.domain.queues import Queue
from nightreel.domain.users import User
from nightreel.errors import SettingsError
from nightreel.review.refusals import NotFoundError
from nightreel.review.showing import label_name
from nightreel.suggestions import refusal

_OPEN = text("SELECT nightreel.open_golden_case(:golden, :queue, :person, CAST(:labels AS jsonb))")
_items, _labels = schema.golden_items, schema.golden_labels


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldenItem:
    """A golden item.

    Args:
        labels: whether each is right, by its name. given: to how many people it was given.
    """

    golden_id: int
    uri: str | None
    labels: Mapping[str, bool]
    given: int
    made_by: str
    created_at: datetime


def open_golden_case(connection: Connection, user: User, queue: Queue, queues: QueuesInForce) -> int | None:
    """Make the case of a golden item for a person, with its labels that belong to a queue.

    Returns:
        Its number; None if the person had all items of the queue.
    """
    rows = connection.execute(
        statement("golden_for_person"), {"user_id": user.id, "sees_restricted": user.restricted}
    ).all()
    for golden_id, own in groupby(rows, key=lambda row: row.golden_id):
        found = [finding for finding in map(_finding, own) if queues.queues.queue_of(finding).name == queue.name]
        if not found:
            continue
        given = {
            "golden": golden_id,
            "queue": queues.ids[queue.name],
            "person": user.id,
            "labels": json.dumps([_values(finding) for finding in found]),
        }
        case_id = connection.execute(_OPEN, given).scalar()
        if case_id is not None:
            counts = {"findings": len(found), "to_decide": len(found)}
            add_events(connection, [NewEvent(case_id=case_id, kind=OPENED, state=CaseState.OPEN, detail=counts)])
            return int(case_id)
    return None


def add_golden_item(connection: Connection, video_id: int, labels: Mapping[str, bool], *, made_by: str) -> int:
    """Keep a video as a golden item. It replaces an earlier one of the same content.

    Args:
        labels: whether each is right, by its name or SET/NAME.

    Raises:
        SettingsError: a label is unknown, there is none, or the content is not known yet.
    """
    videos = schema.videos.c
    content = connection.execute(select(videos.content_sha256).where(videos.id == video_id)).scalar()
    if content is None:
        raise SettingsError(f"video {video_id} was not fetched yet: its content is not known")
    found = _resolved(auditable_labels(connection), labels)
    connection.execute(
        update(_items).where(_items.c.content == content, _items.c.removed_at.is_(None)).values(removed_at=func.now())
    )
    golden_id: int = connection.execute(
        insert(_items).values(content=content, made_by=made_by).returning(_items.c.id)
    ).scalar_one()
    rows = [
        {"golden_id": golden_id, "prompt_id": label.prompt_id, "tag": label.tag, "is_right": is_right}
        for label, is_right in found.items()
    ]
    connection.execute(insert(_labels), rows)
    return golden_id


def remove_golden_item(connection: Connection, golden_id: int) -> None:
    """Give an item to nobody any more. What people decided about it stays.

    Raises:
        NotFoundError: there is none with this number.
    """
    removing = update(_items).where(_items.c.id == golden_id, _items.c.removed_at.is_(None))
    if not connection.execute(removing.values(removed_at=func.now())).rowcount:
        raise NotFoundError(f"there is no golden item {golden_id}")


def golden_items(connection: Connection) -> list[GoldenItem]:
    """The items that people get."""
    rows = connection.execute(statement("golden_items")).all()
    return [
        GoldenItem(
            golden_id=row.golden_id,
            uri=row.uri,
            labels={label_name(one["prompt"], one["tag"]): one["is_right"] for one in row.labels},
            given=row.given,
            made_by=row.made_by,
            created_at=row.created_at,
        )
        for row in rows
    ]


def _resolved(known: list[AuditedLabel], labels: Mapping[str, bool]) -> dict[AuditedLabel, bool]:
    if not labels:
        raise SettingsError("no label: name at least one that is right or wrong in this video")
    found: dict[AuditedLabel, bool] = {}
    for name, is_right in labels.items():
        own = [one for one in known if name in (_name(one), f"{one.prompt_set}/{_name(one)}")]
        if len(own) != 1:
            names = sorted({f"{one.prompt_set}/{_name(one)}" for one in known})
            what = "is several labels" if own else "is no label that people judge"
            raise SettingsError(refusal(f"{name!r} {what}", name, names))
        found[own[0]] = is_right
    return found


def _name(label: AuditedLabel) -> str:
    return label_name(label.prompt, label.tag)


def _finding(row: Row[Any]) -> Finding:
    return blind_finding(
        Policy.from_json(row.policy),
        prompt_id=row.prompt_id,
        tag=row.tag,
        prompt_set=row.prompt_set,
        prompt=row.prompt,
        policy_id=row.policy_id,
        video_id=row.video_id,
    )


def _values(finding: Finding) -> dict[str, Any]:
    names = ("prompt_id", "tag", "category", "lane", "policy_id", "video_id")
    return {name: getattr(finding, name) for name in names}
