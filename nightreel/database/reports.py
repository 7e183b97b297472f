"""Reports for people: answers and failures, read from the views of schema `reporting`.

Only `reopen_failures` writes: it updates `nightreel.analyses`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from sqlalchemy import ColumnElement, Connection, RowMapping, and_, column, func, or_, select, table, true, update

from nightreel.database import schema

_answers = table(
    "answers",
    *map(column, ("uri", "start_s", "end_s", "prompt_set", "prompt", "kind", "state", "answer", "p", "reason",
                  "flagged", "needs_review", "severity", "lane", "labels", "due", "outdated",
                  "covered_s", "expected_s", "video_covered_s", "video_expected_s",
                  "little_of_video", "video_needs_review", "model",
                  "frame_times_s", "reused_from", "answered_at", "run_id",
                  "video_id", "segment", "sampled")),
    schema="reporting",
)  # fmt: skip
_video_answers = table(
    "video_answers",
    *map(column, ("video_id", "uri", "prompt_set", "prompt", "kind", "state", "answer", "level", "made_from")),
    schema="reporting",
)
_failures = table(
    "failures",
    *map(
        column,
        (
            "uri",
            "status",
            "reason",
            "detail",
            "attempts",
            "failed_at",
            "run_id",
            "analysis_id",
            "covered_s",
            "expected_s",
            "video_id",
            "restricted",
        ),
    ),
    schema="reporting",
)

_runs = table(
    "runs",
    *map(column, ("run_id", "status", "source", "started_at", "finished_at", "seconds", "model", "model_revision",
                  "plan", "counts", "timings", "error", "options", "flow_run_id")),
    schema="reporting",
)  # fmt: skip

_recipes = table(
    "recipes",
    *map(column, ("recipe_id", "model", "model_revision", "dtype", "plan", "window_s", "prompts", "current_for",
                  "created_at")),
    schema="reporting",
)  # fmt: skip


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
        *([_has(view.uri, uri)] if uri else []),
        *([view.prompt == prompt] if prompt else []),
        *([view.state == state] if state else []),
        *([or_(view.needs_review, and_(view.video_needs_review, view.little_of_video))] if needs_review else []),
        *([view.run_id == run_id] if run_id else []),
    ]
    query = select(_answers).where(true(), *conditions).order_by(view.video_id.desc(), view.segment, view.prompt)
    return list(connection.execute(query.limit(limit)).mappings())


def whole_video_answers(connection: Connection, *, uri: str) -> list[RowMapping]:
    """The answers about whole videos whose URI contains `uri`, by URI, prompt set and prompt."""
    columns = _video_answers.c
    query = (
        select(_video_answers)
        .where(columns.level == "video", _has(columns.uri, uri))
        .order_by(columns.uri, columns.prompt_set, columns.prompt)
    )
    return list(connection.execute(query).mappings())


def failures(
    connection: Connection, *, uri: str | None = None, reason: str | None = None, limit: int = 100
) -> list[RowMapping]:
    """Videos that could not be analysed, or only in part, the newest failure first."""
    view = _failures.c
    conditions: list[ColumnElement[bool]] = [
        *([_has(view.uri, uri)] if uri else []),
        *([view.reason == reason] if reason else []),
    ]
    query = select(_failures).where(true(), *conditions).order_by(view.failed_at.desc(), view.uri)
    return list(connection.execute(query.limit(limit)).mappings())


def runs(connection: Connection, *, run_id: int | None = None, limit: int = 1) -> list[RowMapping]:
    """The latest runs, the newest first; or one run."""
    query = select(_runs).order_by(_runs.c.run_id.desc()).limit(limit)
    return list(connection.execute(query.where(_runs.c.run_id == run_id) if run_id else query).mappings())


def recipes(connection: Connection) -> list[RowMapping]:
    """All recipes, the newest first."""
    return list(connection.execute(select(_recipes).order_by(_recipes.c.recipe_id.desc())).mappings())


def prompt_names(connection: Connection) -> set[str]:
    """The names of all prompts that were ever asked."""
    return set(connection.execute(select(schema.prompts.c.name).distinct()).scalars())


def prompt_set_names(connection: Connection) -> set[str]:
    """The names of all prompt sets that were ever asked."""
    return set(connection.execute(select(schema.prompts.c.set_name).distinct()).scalars())


def failure_reasons(connection: Connection) -> dict[str, int]:
    """The reasons of failed videos, the most frequent first, with the number of videos."""
    count = func.count()
    query = select(_failures.c.reason, count).where(_failures.c.reason.is_not(None)).group_by(_failures.c.reason)
    rows = connection.execute(query.order_by(count.desc(), _failures.c.reason))
    return {row[0]: row[1] for row in rows}


def has_video(connection: Connection, part: str) -> bool:
    """Whether a current video has this part in its key."""
    return bool(videos_with(connection, part, most=1))


def videos_with(connection: Connection, part: str, *, most: int) -> list[tuple[int, str]]:
    """Ids and keys of current videos that have this part in their key."""
    videos = schema.videos.c
    query = select(videos.id, videos.uri).where(videos.replaced_at.is_(None), _has(videos.uri, part)).limit(most)
    return [(row.id, row.uri) for row in connection.execute(query)]


def newest_videos(connection: Connection, *, most: int) -> tuple[int, Sequence[str]]:
    """The number of current videos, and the keys of the newest of them."""
    videos = schema.videos.c
    current = videos.replaced_at.is_(None)
    count = connection.execute(select(func.count()).select_from(schema.videos).where(current)).scalar_one()
    newest = select(videos.uri).where(current).order_by(videos.id.desc()).limit(most)
    return count, connection.execute(newest).scalars().all()


def _has(uri: ColumnElement[Any], part: str) -> ColumnElement[bool]:
    """Whether a key has this part, as it is or percent-encoded: people type names as they see them in a directory."""
    encoded = quote(part, errors="surrogateescape")
    return or_(*(uri.contains(text, autoescape=True) for text in {part, encoded} if text.isprintable()))


def reopen_failures(connection: Connection, *, uri: str | None = None, reason: str | None = None) -> list[str]:
    """Put failed, quarantined and partly done videos back to pending, and reset their attempts. Returns their keys.

    They keep their reason until they are claimed: a run can see that they failed before. A video that killed runs stays
    a suspect, so that it is claimed alone.
    """
    chosen = failures(connection, uri=uri, reason=reason, limit=1_000_000)
    connection.execute(
        update(schema.analyses)
        .where(
            schema.analyses.c.id.in_([row["analysis_id"] for row in chosen]),
            schema.analyses.c.status.in_(("failed", "quarantined", "partly_done")),
        )
        .values(status="pending", attempts=0, crashes=0, not_before=func.now(), updated_at=func.now())
    )
    return [row["uri"] for row in chosen]
