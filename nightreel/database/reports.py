"""Reports for people: answers and failures, read from the views of schema `reporting`.

Only `reopen_failures` writes: it updates `nightreel.analyses`.
"""

from __future__ import annotations

from sqlalchemy import ColumnElement, Connection, RowMapping, column, func, select, table, true, update

from nightreel.database import schema

_answers = table(
    "answers",
    *map(column, ("uri", "start_s", "end_s", "prompt_set", "prompt", "kind", "state", "answer", "p", "reason",
                  "flagged", "needs_review", "model", "frame_times_s", "reused_from", "answered_at", "run_id",
                  "video_id", "segment", "sampled")),
    schema="reporting",
)  # fmt: skip
_failures = table(
    "failures",
    *map(column, ("uri", "status", "reason", "detail", "attempts", "failed_at", "run_id", "analysis_id")),
    schema="reporting",
)


def answers(
    connection: Connection,
    *,
    uri: str | None = None,
    prompt: str | None = None,
    state: str | None = None,
    needs_review: bool = False,
    run_id: int | None = None,
    limit: int = 100,
) -> list[RowMapping]:
    """Answers, the newest video first, then by time in the video.

    Args:
        uri: a part of the key.
    """
    view = _answers.c
    conditions: list[ColumnElement[bool]] = [
        *([view.uri.contains(uri, autoescape=True)] if uri else []),
        *([view.prompt == prompt] if prompt else []),
        *([view.state == state] if state else []),
        *([view.needs_review] if needs_review else []),
        *([view.run_id == run_id] if run_id else []),
    ]
    query = select(_answers).where(true(), *conditions).order_by(view.video_id.desc(), view.segment, view.prompt)
    return list(connection.execute(query.limit(limit)).mappings())


def failures(
    connection: Connection, *, uri: str | None = None, reason: str | None = None, limit: int = 100
) -> list[RowMapping]:
    """Videos that could not be analysed, the newest failure first."""
    view = _failures.c
    conditions: list[ColumnElement[bool]] = [
        *([view.uri.contains(uri, autoescape=True)] if uri else []),
        *([view.reason == reason] if reason else []),
    ]
    query = select(_failures).where(true(), *conditions).order_by(view.failed_at.desc(), view.uri)
    return list(connection.execute(query.limit(limit)).mappings())


def reopen_failures(connection: Connection, *, uri: str | None = None, reason: str | None = None) -> list[str]:
    """Put failed and quarantined videos back to pending, and reset their attempts. Returns their keys."""
    chosen = failures(connection, uri=uri, reason=reason, limit=1_000_000)
    connection.execute(
        update(schema.analyses)
        .where(
            schema.analyses.c.id.in_([row["analysis_id"] for row in chosen]),
            schema.analyses.c.status.in_(("failed", "quarantined")),
        )
        .values(status="pending", attempts=0, not_before=func.now(), reason=None, detail=None, updated_at=func.now())
    )
    return [row["uri"] for row in chosen]
