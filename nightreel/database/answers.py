"""The answers of segments: written once, copied for the same bytes under another key, read back for judging."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, Select, func, literal, or_, select
from sqlalchemy.dialects.postgresql import insert

from nightreel.database import schema
from nightreel.database.recipes import Recipe
from nightreel.database.results import storable
from nightreel.database.statements import statement
from nightreel.domain import (
    Answer,
    AnswerState,
    BothVerdicts,
    PromptSet,
    Segment,
    SegmentAnswers,
    Verdict,
    Window,
    probability,
)

_features, _segments, _answers = schema.features.c, schema.segments.c, schema.answers.c
MEASURED = (
    _answers.id.label("answer_id"),
    func.coalesce(_answers.reused_from, _answers.id).label("original_id"),
    _answers.question_id,
    _answers.state,
    _answers.text,
    _answers.scores,
    _answers.mass,
    _answers.bounds,
    _answers.reason,
    _answers.prompt_tokens,
    _answers.generated_tokens,
    _answers.look,
    _answers.windows,
    func.coalesce(
        _answers.covered_s,
        func.nightreel.seen_s(
            _features.covered_s,
            _segments.end_s - _segments.start_s,
            _features.damaged_frames,
            func.cardinality(_features.pts_s),
        ),
    ).label("covered_s"),
    func.greatest(_segments.end_s - _segments.start_s, _segments.promised_s).label("expected_s"),
)
"""The columns from which `answer_of` makes an Answer. The query joins `answers`, `segments` and `features`."""


class StoredAnswer(NamedTuple):
    """An answer, the id of its row, and that of the answer that it is a copy of, or its own."""

    id: int
    answer: Answer
    original_id: int


class GivenAnswers(NamedTuple):
    """The answers of one segment: by question hash; those of second looks by question hash and `LookAgain.key`."""

    first: dict[str, StoredAnswer]
    looks: dict[tuple[str, str], StoredAnswer]

    def without_errors(self) -> GivenAnswers:
        return GivenAnswers(
            {key: one for key, one in self.first.items() if one.answer.state is not AnswerState.ERROR},
            {key: one for key, one in self.looks.items() if one.answer.state is not AnswerState.ERROR},
        )

    def verdicts(self, prompts: PromptSet) -> dict[str, Verdict]:
        """The verdicts of these prompts, by name."""
        return {name: both.decisive for name, both in self.both_verdicts(prompts).items()}

    def both_verdicts(self, prompts: PromptSet) -> dict[str, BothVerdicts]:
        """The verdicts of these prompts on first and second looks, by name."""
        return prompts.judge_both(
            {key: stored.answer for key, stored in self.first.items()},
            {key: stored.answer for key, stored in self.looks.items()},
        )


def answer_of(row: Row[Any], question_hash: str) -> StoredAnswer:
    """The answer of a row with the columns `MEASURED`."""
    windows = tuple(_window_of(window, question_hash) for window in row.windows or ())
    return StoredAnswer(row.answer_id, measured_of(row, question_hash, look=row.look, windows=windows), row.original_id)


def measured_of(row: Row[Any], question_hash: str, **of_look: Any) -> Answer:
    """What a row of an answer measured, about a segment or a whole video.

    Args:
        of_look: `look` and `windows` of an answer about a segment.
    """
    return Answer(
        question_hash=question_hash,
        state=AnswerState(row.state),
        text=row.text,
        scores=row.scores,
        mass=row.mass,
        bounds=_pairs(row.bounds),
        reason=row.reason,
        prompt_tokens=row.prompt_tokens,
        generated_tokens=row.generated_tokens,
        covered_s=row.covered_s,
        expected_s=row.expected_s,
        **of_look,
    )


def _pairs(bounds: Mapping[str, Sequence[float]] | None) -> dict[str, tuple[float, float]] | None:
    return {name: (low, high) for name, (low, high) in bounds.items()} if bounds else None


def _window_of(values: Mapping[str, Any], question_hash: str) -> Window:
    """The window of JSON values from `_window_values`."""
    measured = dict(values["measured"])
    answer = Answer(
        question_hash=question_hash,
        **measured | {"state": AnswerState(measured["state"]), "bounds": _pairs(measured["bounds"])},
    )
    return Window(start_s=values["start_s"], end_s=values["end_s"], feature_key=values["feature_key"], answer=answer)


def _window_values(window: Window) -> dict[str, Any]:
    kept = ("state", "text", "scores", "mass", "bounds", "reason", "covered_s", "expected_s")
    return {
        "start_s": window.start_s,
        "end_s": window.end_s,
        "feature_key": window.feature_key,
        "measured": {name: getattr(window.answer, name) for name in kept},
    }


def joined_answers(*columns: Any) -> Select[Any]:
    """A query of answers with their segments and features."""
    answers, segments, features = schema.answers, schema.segments, schema.features
    return (
        select(*MEASURED, *columns)
        .select_from(answers)
        .join(segments, segments.c.id == answers.c.segment_id)
        .join(features, features.c.key == answers.c.feature_key)
    )


def answers_given(
    connection: Connection, video_ids: Sequence[int], recipe: Recipe, *, errors: bool = False
) -> dict[int, dict[int, GivenAnswers]]:
    """The answers that these videos have under a recipe.

    Args:
        errors: with those that are errors, and will be asked again.

    Returns:
        `{video id: {segment index: GivenAnswers}}`; a segment without any is empty.
    """
    hashes = {question_id: key for key, question_id in recipe.question_ids.items()}
    rows = connection.execute(
        joined_answers(_segments.video_id, _segments.index.label("segment")).where(
            _segments.video_id.in_(video_ids),
            _segments.plan_hash == recipe.plan.hash,
            _answers.model_id == recipe.model_id,
            _answers.question_id.in_(recipe.question_ids.values()),
            or_(_answers.state != AnswerState.ERROR, literal(errors)),
            ~_answers.superseded,
        )
    )
    given: dict[int, dict[int, GivenAnswers]] = defaultdict(lambda: defaultdict(lambda: GivenAnswers({}, {})))
    for row in rows:
        key = hashes[row.question_id]
        own, stored = given[row.video_id][row.segment], answer_of(row, key)
        if row.look:
            own.looks[key, row.look] = stored
        else:
            own.first[key] = stored
    return given


def reuse_answers(connection: Connection, *, video_id: int, content_sha256: str, recipe: Recipe, run_id: int) -> int:
    """Copy segments and answers from other videos with the same bytes. Returns the number of copied answers.

    Answers that were drawn at random are not copied: the same bytes could get other ones.
    """
    questions = {prompt.question for prompt in recipe.prompts.prompts if not prompt.question.sampled}
    reusable = sorted(recipe.question_ids[question.hash] for question in questions)
    parameters = {"video_id": video_id, "content_sha256": content_sha256, "plan_hash": recipe.plan.hash}
    connection.execute(statement("reuse_segments"), parameters)
    return connection.execute(
        statement("reuse_answers"),
        parameters | {"model_id": recipe.model_id, "question_ids": reusable, "run_id": run_id},
    ).rowcount


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
    questions = {prompt.question.hash: prompt.question for prompt in recipe.prompts.prompts}
    rows = [
        {
            "segment_id": segment_ids[video_ids[item.segment.analysis_id], item.segment.segment.index],
            "question_id": recipe.question_ids[answer.question_hash],
            "model_id": recipe.model_id,
            "state": answer.state,
            "text": storable(answer.text),
            "p": probability(questions[answer.question_hash], answer),
            "scores": storable(answer.scores),
            "mass": storable(answer.mass),
            "bounds": storable(answer.bounds),
            "reason": storable(answer.reason),
            "prompt_tokens": answer.prompt_tokens,
            "generated_tokens": answer.generated_tokens,
            "look": answer.look,
            "windows": storable([_window_values(window) for window in answer.windows]) if answer.look else None,
            "covered_s": answer.covered_s if answer.look else None,
            "feature_key": item.segment.feature.key,
            "run_id": run_id,
        }
        for item in own
        for answer in item.answers
    ]
    if not rows:
        return 0
    new = insert(schema.answers)
    kept = ("segment_id", "question_id", "model_id", "look")
    written = connection.execute(
        new.on_conflict_do_update(
            index_elements=kept,
            index_where=~schema.answers.c.superseded,
            set_={name: new.excluded[name] for name in rows[0] if name not in kept} | {"answered_at": func.now()},
            where=schema.answers.c.state == AnswerState.ERROR,
        ).returning(schema.answers.c.id),
        sorted(rows, key=lambda row: (row["segment_id"], row["question_id"], row["look"])),
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
