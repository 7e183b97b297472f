"""Facts and answers about videos: reads before the work, upserts after it.

Every write here may be repeated: a second time changes nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, func, select, update
from sqlalchemy.dialects.postgresql import insert

from nightreel.database import schema
from nightreel.database.recipes import Recipe
from nightreel.database.statements import statement
from nightreel.domain import Answer, AnswerState, Segment, SegmentAnswers

_MAX_TEXT = 100_000  # characters of one answer or detail: a looping model must not fill the disk


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownVideo:
    """Known facts about a version of an object."""

    content_sha256: str | None
    probe: Mapping[str, Any] | None


def storable(value: Any) -> Any:
    """`value`, with characters that Postgres cannot store (NUL, lone surrogates) replaced in all strings."""
    if isinstance(value, str):
        return value[:_MAX_TEXT].replace("\x00", "\ufffd").encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, Mapping):
        return {storable(key): storable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [storable(item) for item in value]
    return value


# -- videos ------------------------------------------------------------------------------------------------------


def known_video(connection: Connection, video_id: int) -> KnownVideo:
    videos = schema.videos
    row = connection.execute(select(videos.c.content_sha256, videos.c.probe).where(videos.c.id == video_id)).one()
    return KnownVideo(content_sha256=row.content_sha256, probe=row.probe)


def probe_of_content(connection: Connection, content_sha256: str) -> Mapping[str, Any] | None:
    """The probe of any video with these bytes."""
    videos = schema.videos
    return connection.execute(
        select(videos.c.probe).where(videos.c.content_sha256 == content_sha256, videos.c.probe.is_not(None)).limit(1)
    ).scalar()


def record_content(connection: Connection, video_id: int, content_sha256: str) -> None:
    connection.execute(
        update(schema.videos).where(schema.videos.c.id == video_id).values(content_sha256=content_sha256)
    )


def record_probe(
    connection: Connection,
    video_id: int,
    probe: Mapping[str, Any],
    *,
    duration_s: float | None,
    expected_s: float | None,
) -> None:
    connection.execute(
        update(schema.videos)
        .where(schema.videos.c.id == video_id)
        .values(probe=storable(dict(probe)), duration_s=duration_s, expected_s=expected_s)
    )


# -- answers -----------------------------------------------------------------------------------------------------


def reuse_answers(connection: Connection, *, video_id: int, content_sha256: str, recipe: Recipe, run_id: int) -> int:
    """Copy segments and answers from other videos with the same bytes. Returns the number of copied answers.

    Answers that were drawn at random are not copied: the same bytes could get other ones.
    """
    reusable = sorted(recipe.prompt_ids[prompt.hash] for prompt in recipe.prompts.prompts if not prompt.sampled)
    parameters = {"video_id": video_id, "content_sha256": content_sha256, "plan_hash": recipe.plan.hash}
    connection.execute(statement("reuse_segments"), parameters)
    return connection.execute(
        statement("reuse_answers"),
        parameters | {"model_id": recipe.model_id, "prompt_ids": reusable, "run_id": run_id},
    ).rowcount


def answers_given(
    connection: Connection, video_ids: Sequence[int], recipe: Recipe
) -> dict[int, dict[int, dict[str, Answer]]]:
    """The answers that these videos have under a recipe, without errors.

    Returns:
        `{video id: {segment index: {prompt hash: Answer}}}`.
    """
    segments, answers, prompts = schema.segments, schema.answers, schema.prompts
    rows = connection.execute(
        select(segments.c.video_id, segments.c.index.label("segment"), prompts.c.hash, answers)
        .join(segments, segments.c.id == answers.c.segment_id)
        .join(prompts, prompts.c.id == answers.c.prompt_id)
        .where(
            segments.c.video_id.in_(video_ids),
            segments.c.plan_hash == recipe.plan.hash,
            answers.c.model_id == recipe.model_id,
            answers.c.prompt_id.in_(recipe.prompt_ids.values()),
            answers.c.state != AnswerState.ERROR,
        )
    )
    given: dict[int, dict[int, dict[str, Answer]]] = defaultdict(lambda: defaultdict(dict))
    for row in rows:
        given[row.video_id][row.segment][row.hash] = Answer(
            prompt_hash=row.hash,
            state=AnswerState(row.state),
            text=row.text,
            value=row.value,
            p=row.p,
            scores=row.scores,
            reason=row.reason,
            prompt_tokens=row.prompt_tokens,
            generated_tokens=row.generated_tokens,
        )
    return given


def write_answers(
    connection: Connection,
    answered: Sequence[SegmentAnswers],
    *,
    video_ids: Mapping[int, int],
    recipe: Recipe,
    run_id: int,
) -> int:
    """Upsert segments and answers. An answer replaces only an error.

    Args:
        video_ids: video id by analysis id, of the claims that this run still holds; other answers are left out.

    Returns:
        The number of written answers.
    """
    own = [item for item in answered if item.segment.analysis_id in video_ids]
    if not own:
        return 0
    segment_ids = _segment_ids(
        connection, {(video_ids[item.segment.analysis_id], item.segment.segment) for item in own}, recipe.plan.hash
    )
    rows = [
        {
            "segment_id": segment_ids[video_ids[item.segment.analysis_id], item.segment.segment.index],
            "prompt_id": recipe.prompt_ids[answer.prompt_hash],
            "model_id": recipe.model_id,
            "state": answer.state,
            "text": storable(answer.text),
            "value": storable(answer.value),
            "p": answer.p,
            "scores": None if answer.scores is None else storable(answer.scores),
            "reason": storable(answer.reason),
            "prompt_tokens": answer.prompt_tokens,
            "generated_tokens": answer.generated_tokens,
            "feature_key": item.segment.feature.key,
            "run_id": run_id,
        }
        for item in own
        for answer in item.answers
    ]
    if not rows:
        return 0
    new = insert(schema.answers)
    kept = ("segment_id", "prompt_id", "model_id")
    written = connection.execute(
        new.on_conflict_do_update(
            index_elements=kept,
            set_={name: new.excluded[name] for name in rows[0] if name not in kept} | {"answered_at": func.now()},
            where=schema.answers.c.state == AnswerState.ERROR,
        ).returning(schema.answers.c.id),
        sorted(rows, key=lambda row: (row["segment_id"], row["prompt_id"])),
    )
    return len(written.all())


def _segment_ids(
    connection: Connection, wanted: set[tuple[int, Segment]], plan_hash: str
) -> dict[tuple[int, int], int]:
    segments = schema.segments
    rows = [
        {
            "video_id": video_id,
            "plan_hash": plan_hash,
            "index": segment.index,
            "start_s": segment.start_s,
            "end_s": segment.end_s,
            "promised_s": segment.promised_s,
        }
        for video_id, segment in sorted(wanted, key=lambda item: (item[0], item[1].index))
    ]
    connection.execute(insert(segments).values(rows).on_conflict_do_nothing())
    found = connection.execute(
        select(segments.c.id, segments.c.video_id, segments.c.index.label("segment")).where(
            segments.c.video_id.in_({video_id for video_id, _ in wanted}), segments.c.plan_hash == plan_hash
        )
    )
    return {(row.video_id, row.segment): row.id for row in found}
