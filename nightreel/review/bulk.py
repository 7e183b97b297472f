"""Bulk decisions: one ruling for all labels that a filter hits, after a preview, with one batch to undo.

Leads make them. They hit open cases that nobody has; cases that wait for a second person, a lead or an appeal are never
decided in bulk.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Connection, Row, insert, text, update

from nightreel.database import schema
from nightreel.database.case_rows import NewEvent, add_events, facts_of, lock_cases
from nightreel.database.statements import statement
from nightreel.domain.cases import Ruling
from nightreel.domain.findings import Label
from nightreel.domain.users import User
from nightreel.review.access import find_queue, require_lead
from nightreel.review.deciding import NewRuling, ruled
from nightreel.review.desk import FRESH
from nightreel.review.refusals import ConflictError, NotFoundError
from nightreel.review.showing import findings_of_cases, shown_values

_EXAMPLES = 10
_BATCH = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkFilter:
    """Which labels are decided: all conditions must hold. None: any.

    Args:
        queue: the name of one.
        category, prompt, tag, found: of a finding.
        under: only contents with a copy whose key starts with this.
    """

    queue: str
    category: str | None = None
    prompt: str | None = None
    tag: str | None = None
    found: str | None = None
    min_severity: int | None = None
    max_severity: int | None = None
    min_p: float | None = None
    max_p: float | None = None
    under: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkPreview:
    """What a bulk decision would hit.

    Args:
        videos: copies count. labels: how many of each, by its name, the most frequent first.
        examples: keys of a few videos. digest: names exactly these hits.
    """

    cases: int
    videos: int
    labels: Mapping[str, int]
    examples: Sequence[str]
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkDone:
    """What a bulk decision did. `batch_id`: to undo all of it."""

    batch_id: UUID
    cases: int
    decisions: int


def preview_bulk(connection: Connection, user: User, wanted: BulkFilter) -> BulkPreview:
    """What a bulk decision would hit. It changes nothing.

    Raises:
        NotAllowedError: the person is no lead. NotFoundError: as `find_queue`.
    """
    hits = _hits(connection, user, wanted)
    case_ids = sorted({hit.case_id for hit in hits})
    findings = findings_of_cases(connection, case_ids)
    names = Counter(findings[hit.case_id][hit.prompt_id, hit.tag].name for hit in hits)
    videos = connection.execute(
        text("SELECT count(*) FROM nightreel.case_videos WHERE case_id = ANY (:ids)"), {"ids": case_ids}
    ).scalar_one()
    examples = connection.execute(
        text("SELECT min(uri) FROM nightreel.case_videos WHERE case_id = ANY (:ids) GROUP BY case_id ORDER BY case_id"),
        {"ids": case_ids[:_EXAMPLES]},
    ).scalars()
    return BulkPreview(
        cases=len(case_ids),
        videos=videos,
        labels=dict(names.most_common()),
        examples=list(examples),
        digest=_digest(hits),
    )


def decide_bulk(
    connection: Connection, user: User, wanted: BulkFilter, *, ruling: Ruling, note: str, digest: str
) -> BulkDone:
    """Decide all labels that a preview has shown.

    Args:
        digest: of the preview.

    Raises:
        ConflictError: the filter hits something else by now. NotFoundError: it hits nothing.
    """
    queue, queues = find_queue(connection, user, wanted.queue)
    cases = lock_cases(connection, {hit.case_id for hit in _hits(connection, user, wanted)})
    hits = _hits(connection, user, wanted)
    if not hits:
        raise NotFoundError("this filter hits nothing")
    if _digest(hits) != digest:
        raise ConflictError("the filter hits something else than the preview showed: preview it again")
    labels: dict[int, list[Label]] = defaultdict(list)
    for hit in hits:
        labels[hit.case_id].append((hit.prompt_id, hit.tag))
    batch_id = uuid4()
    ids = sorted(labels)
    for start in range(0, len(ids), _BATCH):
        some = ids[start : start + _BATCH]
        facts = facts_of(connection, [cases[case_id] for case_id in some])
        findings = findings_of_cases(connection, some)
        rows, events = [], []
        for case_id in some:
            content = cases[case_id].content
            rulings = [
                NewRuling(prompt_id=prompt_id, tag=tag, ruling=ruling, note=note) for prompt_id, tag in labels[case_id]
            ]
            own = findings[case_id]
            after, made = ruled(facts[case_id], rulings, user=user, queue=queue, content=content, findings=own)
            shared = {
                "batch_id": batch_id,
                "case_id": case_id,
                "content": content,
                "user_id": user.id,
                "queue_policy_id": queues.id,
            }
            rows += [shared | row | {"shown": shown_values(own[row["prompt_id"], row["tag"]])} for row in made]
            detail = {"stage": "first", "labels": len(made), "in_bulk": True}
            events.append(
                NewEvent(
                    case_id=case_id,
                    kind="decided",
                    state=after.state,
                    user_id=user.id,
                    batch_id=batch_id,
                    detail=detail,
                )
            )
        connection.execute(insert(schema.decisions), rows)
        add_events(connection, events)
        connection.execute(update(schema.cases).where(schema.cases.c.id.in_(some)).values(**FRESH))
    return BulkDone(batch_id=batch_id, cases=len(ids), decisions=len(hits))


def _hits(connection: Connection, user: User, wanted: BulkFilter) -> Sequence[Row[Any]]:
    require_lead(user, "a decision in bulk")
    queue, queues = find_queue(connection, user, wanted.queue)
    parameters = asdict(wanted) | {"queue_id": queues.ids[queue.name], "sees_restricted": user.restricted}
    return connection.execute(statement("bulk_hits"), parameters).all()


def _digest(hits: Sequence[Row[Any]]) -> str:
    return hashlib.sha256(repr([tuple(hit) for hit in hits]).encode()).hexdigest()
