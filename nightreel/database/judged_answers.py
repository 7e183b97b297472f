"""Stored answers with the verdicts on them, batch by batch: what re-judging reads, and what it marks.

Each pass of a change of policy (`rejudging`) reads by an index, in its order, after the last row of the batch before.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, Select, and_, func, literal, select, tuple_, update

from nightreel.database import schema
from nightreel.database.answers import joined_answers
from nightreel.database.rejudging import Pass
from nightreel.database.statements import statement
from nightreel.database.verdicts import made_verdict
from nightreel.domain import Verdict

_answers, _verdicts = schema.answers.c, schema.verdicts.c
STORED = (
    _verdicts.state.label("verdict_state"),
    _verdicts.text.label("verdict_text"),
    _verdicts.value,
    _verdicts.reason.label("verdict_reason"),
    _verdicts.labels,
    _verdicts.severity,
    _verdicts.lane,
    _verdicts.flagged,
    _verdicts.needs_review,
    _verdicts.due,
    _verdicts.shown,
    _verdicts.look_again,
    _verdicts.start_s.label("found_start_s"),
    _verdicts.end_s.label("found_end_s"),
)


def stored_verdict(row: Row[Any]) -> Verdict:
    """The verdict of a row with the columns `MEASURED` and `STORED`."""
    return made_verdict(
        row, state=row.verdict_state, text=row.verdict_text, reason=row.verdict_reason, answer_text=row.text
    )


def answers_of_videos(
    connection: Connection,
    video_ids: Collection[int],
    *,
    prompt_id: int,
    question_ids: Collection[int],
    new: bool = False,
    since: datetime | None = None,
) -> Sequence[Row[Any]]:
    """All answers of these videos to questions, as `answers_of` returns them."""
    query = _with_verdicts(prompt_id, new=new, since=since).where(
        schema.segments.c.video_id == func.any(sorted(video_ids)), _answers.question_id.in_(question_ids)
    )
    return connection.execute(query.order_by(_answers.id)).all()


def answers_of(
    connection: Connection,
    one: Pass,
    *,
    prompt_id: int,
    after: tuple[float, int],
    limit: int,
    since: datetime | None = None,
) -> Sequence[Row[Any]]:
    """The next answers of a pass, with their stored verdicts for a prompt (`STORED`).

    Args:
        after: p and id of the last answer of the batch before.
        since: only those that were answered since then.
    """
    query = _with_verdicts(prompt_id, new=False, since=since).where(_answers.question_id == one.question_id)
    match one.kind:
        case "range":
            is_next = tuple_(_answers.p, _answers.id) > tuple_(literal(after[0]), literal(after[1]))
            query = query.where(_answers.p.between(one.low, one.high), is_next).order_by(_answers.p, _answers.id)
        case "unscored":
            query = query.where(_answers.p.is_(None), _answers.id > after[1]).order_by(_answers.id)
        case _:
            query = query.where(_answers.bounds.is_not(None), _answers.id > after[1]).order_by(_answers.id)
    return connection.execute(query.limit(limit)).all()


def _with_verdicts(prompt_id: int, *, new: bool, since: datetime | None) -> Select[Any]:
    """A query of answers with their stored verdicts for a prompt; `new`: also of answers that have none."""
    segments, verdicts, videos = schema.segments.c, schema.verdicts, schema.videos
    query = (
        joined_answers(
            *STORED,
            _answers.p,
            _answers.segment_id,
            _answers.model_id,
            segments.video_id,
            segments.start_s,
            segments.end_s,
            videos.c.uri,
            videos.c.restricted,
        )
        .join(videos, videos.c.id == segments.video_id)
        .join(
            verdicts,
            and_(verdicts.c.answer_id == _answers.id, verdicts.c.prompt_id == prompt_id),
            isouter=new,
        )
    )
    return query if since is None else query.where(_answers.answered_at >= since)


def videos_with_segments(connection: Connection, *, after: int, limit: int) -> list[int]:
    """The next videos that have segments, by id."""
    segments = schema.segments.c
    query = select(segments.video_id).where(segments.video_id > after).distinct()
    return list(connection.execute(query.order_by(segments.video_id).limit(limit)).scalars())


def restricted_videos(connection: Connection, video_ids: Collection[int]) -> set[int]:
    """Those of these videos that only some people may see."""
    videos = schema.videos.c
    query = select(videos.id).where(videos.id == func.any(sorted(video_ids)), videos.restricted)
    return set(connection.execute(query).scalars())


def videos_of(connection: Connection, prompt_ids: Collection[int], *, after: int, limit: int) -> list[int]:
    """The next videos that have a verdict for one of these prompts, by id."""
    table = schema.video_verdicts.c
    query = select(table.video_id).where(table.prompt_id.in_(prompt_ids), table.video_id > after).distinct()
    return list(connection.execute(query.order_by(table.video_id).limit(limit)).scalars())


def verdicts_of(connection: Connection, video_ids: Collection[int], prompt_ids: Collection[int]) -> Sequence[Row[Any]]:
    """The verdicts that the segments of these videos have for prompts, by segment, model, prompt and answer."""
    segments, answers, verdicts = schema.segments.c, schema.answers, schema.verdicts
    query = (
        select(
            segments.video_id,
            segments.id.label("segment_id"),
            segments.plan_hash,
            _answers.model_id,
            _answers.text.label("answer_text"),
            _answers.look,
            _answers.question_id,
            verdicts,
            _verdicts.start_s.label("found_start_s"),
            _verdicts.end_s.label("found_end_s"),
        )
        .select_from(schema.segments)
        .join(answers, _answers.segment_id == segments.id)
        .join(verdicts, verdicts.c.answer_id == _answers.id)
        .where(
            segments.video_id == func.any(sorted(video_ids)),
            verdicts.c.prompt_id == func.any(sorted(prompt_ids)),
            ~_answers.superseded,
        )
        .order_by(segments.id, _answers.model_id, verdicts.c.prompt_id, _answers.id)
    )
    return connection.execute(query).all()


def set_due(connection: Connection, keys: Collection[tuple[int, int]], *, due: bool) -> None:
    """Mark verdicts, by (answer id, prompt id), as due or no longer due."""
    if keys:
        connection.execute(
            update(schema.verdicts).where(tuple_(_verdicts.answer_id, _verdicts.prompt_id).in_(keys)).values(due=due)
        )


def reopen_analyses(connection: Connection, video_ids: Collection[int], prompt_ids: Collection[int]) -> int:
    """Put the finished analyses of these videos back to pending, under current recipes that ask these prompts."""
    return connection.execute(
        statement("reopen_for_follow_ups"), {"video_ids": sorted(video_ids), "prompt_ids": sorted(prompt_ids)}
    ).rowcount
