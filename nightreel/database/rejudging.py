"""Which stored answers are judged again after a change of policy, in batches, and how far that is.

A change is applied in passes: over each range of p that it can touch, over answers without p, over those with bounds,
over videos. Each pass reads by an index, in its order, after the last row of the batch before.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import Connection, Row, Select, and_, func, literal, or_, select, tuple_, update

from nightreel.database import schema
from nightreel.database.answers import joined_answers
from nightreel.database.policies import InForce
from nightreel.database.statements import statement
from nightreel.database.verdicts import made_verdict
from nightreel.domain import EVERYTHING, Policy, Prompt, Question, Touched, Verdict, touched

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
)


def stored_verdict(row: Row[Any]) -> Verdict:
    """The verdict of a row with the columns `MEASURED` and `STORED`."""
    return made_verdict(
        row, state=row.verdict_state, text=row.verdict_text, reason=row.verdict_reason, answer_text=row.text
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A policy that came into force, and those by which stored answers may still be judged.

    Args:
        earlier: the last one that was applied, and those after it; empty: no answer is judged yet.
        questions: all questions that the prompt has ever asked, by the id of their row.
    """

    prompt_id: int
    set_name: str
    name: str
    policy: InForce
    earlier: tuple[Policy, ...]
    questions: dict[int, Question]

    @property
    def touches(self) -> dict[int, Touched]:
        """What may differ, by question id."""
        found = {}
        for question_id, question in self.questions.items():
            parts = [touched(question, old, self.policy.policy) for old in self.earlier or (None,)]
            found[question_id] = Touched.any_of(parts)
        return found

    @property
    def conditions_changed(self) -> bool:
        return any(old.when != self.policy.policy.when for old in self.earlier)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass:
    """One pass over answers of a question; or over videos: all their answers, or only their roll-up."""

    kind: Literal["all", "range", "unscored", "bounded", "videos"]
    question_id: int = 0
    low: float = 0.0
    high: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a change is applied: `passes` are finished, and the one after them is at (`p`, `id`)."""

    passes: int = 0
    p: float = -1.0
    id: int = 0
    judged: int = 0
    changed: int = 0


def passes_of(change: Change) -> list[Pass]:
    """The passes of a change, in their order."""
    found: list[Pass] = []
    touches = change.touches
    if EVERYTHING in touches.values():
        return [Pass(kind="all")]
    for question_id, what in sorted(touches.items()):
        found += [Pass(kind="range", question_id=question_id, low=low, high=high) for low, high in what.ranges]
        if what.unscored:
            found.append(Pass(kind="unscored", question_id=question_id))
        if what.bounded:
            found.append(Pass(kind="bounded", question_id=question_id))
    if change.conditions_changed or any(what.videos for what in touches.values()):
        found.append(Pass(kind="videos"))
    return found


def pending_changes(connection: Connection) -> list[Change]:
    """The policies in force by which not all stored answers are judged yet."""
    prompts, policies = schema.prompts, schema.policies
    rows = connection.execute(
        select(
            prompts.c.id, prompts.c.set_name, prompts.c.name, policies.c.id.label("policy_id"), policies.c.definition
        )
        .join(policies, policies.c.id == prompts.c.policy_id)
        .where(policies.c.applied_at.is_(None))
        .order_by(prompts.c.id)
    ).all()
    return [
        Change(
            prompt_id=row.id,
            set_name=row.set_name,
            name=row.name,
            policy=InForce(row.policy_id, Policy.from_json(row.definition)),
            earlier=_earlier(connection, row.id, row.policy_id),
            questions=questions_of(connection, row.id),
        )
        for row in rows
    ]


def _earlier(connection: Connection, prompt_id: int, policy_id: int) -> tuple[Policy, ...]:
    policies = schema.policies
    rows = connection.execute(
        select(policies.c.definition, policies.c.applied_at)
        .where(policies.c.prompt_id == prompt_id, policies.c.id < policy_id, policies.c.origin != "upgrade")
        .order_by(policies.c.id.desc())
    )
    found = []
    for row in rows:
        found.append(Policy.from_json(row.definition))
        if row.applied_at is not None:
            break
    return tuple(found)


def questions_of(connection: Connection, prompt_id: int) -> dict[int, Question]:
    """All questions that a prompt has ever asked, by the id of their row."""
    questions, asked, prompts = schema.questions, schema.recipe_prompts, schema.prompts
    used = select(asked.c.question_id).where(asked.c.prompt_id == prompt_id)
    current = select(prompts.c.question_id).where(prompts.c.id == prompt_id)
    rows = connection.execute(
        select(questions.c.id, questions.c.definition).where(or_(questions.c.id.in_(used), questions.c.id.in_(current)))
    )
    return {row.id: Question.from_json(row.definition) for row in rows}


def lock_progress(connection: Connection, policy_id: int) -> Progress | None:
    """How far a policy is applied, locked until the transaction ends; None if all of it is, or it is not in force."""
    policies, prompts = schema.policies, schema.prompts
    row = connection.execute(
        select(policies.c.progress)
        .join(prompts, prompts.c.policy_id == policies.c.id)
        .where(policies.c.id == policy_id, policies.c.applied_at.is_(None))
        .with_for_update(of=policies)
    ).first()
    return None if row is None else Progress(**(row.progress or {}))


def record_progress(connection: Connection, policy_id: int, progress: Progress) -> None:
    policies = schema.policies
    connection.execute(update(policies).where(policies.c.id == policy_id).values(progress=asdict(progress)))


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
        joined_answers(*STORED, _answers.p, segments.video_id, segments.start_s, segments.end_s, videos.c.uri)
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


def videos_of(connection: Connection, prompt_ids: Collection[int], *, after: int, limit: int) -> list[int]:
    """The next videos that have a verdict for one of these prompts, by id."""
    table = schema.video_verdicts.c
    query = select(table.video_id).where(table.prompt_id.in_(prompt_ids), table.video_id > after).distinct()
    return list(connection.execute(query.order_by(table.video_id).limit(limit)).scalars())


def shown_answers(connection: Connection, video_ids: Collection[int], prompt_id: int) -> Sequence[Row[Any]]:
    """The answers on show of videos for a prompt, with their stored verdicts (`STORED`) and facts of their videos."""
    segments, verdicts, videos = schema.segments.c, schema.verdicts, schema.videos
    runs, analyses, failed = schema.runs, schema.analyses, schema.failed_segments
    query = (
        joined_answers(
            *STORED,
            segments.video_id,
            segments.start_s,
            segments.end_s,
            func.coalesce(analyses.c.covered_s, videos.c.duration_s).label("video_covered_s"),
            videos.c.expected_s.label("video_expected_s"),
            _answers.p,
            select(func.count())
            .select_from(failed)
            .where(failed.c.analysis_id == analyses.c.id)
            .scalar_subquery()
            .label("failed"),
        )
        .join(verdicts, and_(verdicts.c.answer_id == _answers.id, verdicts.c.prompt_id == prompt_id))
        .join(videos, videos.c.id == segments.video_id)
        .join(runs, runs.c.id == _answers.run_id)
        .join(
            analyses,
            and_(analyses.c.video_id == videos.c.id, analyses.c.recipe_id == runs.c.recipe_id),
            isouter=True,
        )
        .where(segments.video_id == func.any(sorted(video_ids)), verdicts.c.shown, verdicts.c.due)
        .order_by(segments.video_id, segments.start_s)
    )
    return connection.execute(query).all()


def find_prompts(connection: Connection, prompts: Sequence[Prompt]) -> dict[tuple[str, str], Row[Any]]:
    """The rows of these prompts, with `question_hash`, by set and name; without those that no run has asked."""
    table, questions = schema.prompts, schema.questions
    rows = connection.execute(
        select(table, questions.c.hash.label("question_hash"))
        .join(questions, questions.c.id == table.c.question_id)
        .where(tuple_(table.c.set_name, table.c.name).in_([(one.set_name, one.name) for one in prompts]))
    )
    return {(row.set_name, row.name): row for row in rows}


def prompts_of_set(connection: Connection, set_name: str) -> dict[int, Prompt]:
    """The prompts of a set as they are now, by the id of their row."""
    prompts, policies, questions = schema.prompts, schema.policies, schema.questions
    rows = connection.execute(
        select(prompts.c.id, prompts.c.name, policies.c.definition, questions.c.definition.label("question"))
        .join(policies, policies.c.id == prompts.c.policy_id)
        .join(questions, questions.c.id == prompts.c.question_id)
        .where(prompts.c.set_name == set_name)
        .order_by(prompts.c.id)
    )
    return {
        row.id: Prompt(
            name=row.name,
            set_name=set_name,
            question=Question.from_json(row.question),
            policy=Policy.from_json(row.definition),
        )
        for row in rows
    }


def verdicts_of(connection: Connection, video_ids: Collection[int], prompt_ids: Collection[int]) -> Sequence[Row[Any]]:
    """The verdicts that the segments of these videos have for prompts: by segment, model and prompt, the newest."""
    segments, answers, verdicts = schema.segments.c, schema.answers, schema.verdicts
    query = (
        select(
            segments.video_id,
            segments.id.label("segment_id"),
            segments.plan_hash,
            _answers.model_id,
            _answers.text.label("answer_text"),
            verdicts,
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
