"""Answers about whole videos: written when they are asked, superseded when they are asked over other notes."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from sqlalchemy import Connection, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert

from nightreel.database import schema
from nightreel.database.answers import measured_of
from nightreel.database.recipes import Recipe
from nightreel.database.results import storable
from nightreel.database.statements import statement
from nightreel.domain import Answer, AnswerState, Notes, Prompt, WholeAnswers, probability

_notes, _whole = schema.notes, schema.whole_answers


class Asked(NamedTuple):
    """That a video has the answer to a question over the notes with this key."""

    video_id: int
    question_hash: str
    notes_key: str


def asked_of_whole(connection: Connection, video_ids: Collection[int], recipe: Recipe) -> set[Asked]:
    """The answers about these whole videos that a recipe has."""
    hashes = {question_id: key for key, question_id in recipe.question_ids.items()}
    rows = connection.execute(
        select(_whole.c.video_id, _whole.c.question_id, _notes.c.key)
        .join(_notes, _notes.c.id == _whole.c.notes_id)
        .where(
            _whole.c.video_id.in_(video_ids),
            _whole.c.question_id.in_(hashes),
            _whole.c.model_id == recipe.model_id,
            _whole.c.plan_hash == recipe.plan.hash,
            ~_whole.c.superseded,
        )
    )
    return {Asked(row.video_id, hashes[row.question_id], row.key) for row in rows}


def reuse_whole_answers(
    connection: Connection, *, video_id: int, notes: Notes, prompts: Iterable[Prompt], recipe: Recipe, run_id: int
) -> int:
    """Copy the answers to these prompts that were asked over the same notes. Returns the number of copied answers.

    Answers that were drawn at random are not copied.
    """
    wanted = {recipe.question_ids[one.question.hash] for one in prompts if not one.question.sampled}
    _supersede(connection, [(video_id, question_id) for question_id in wanted], recipe, but=notes)
    return connection.execute(
        statement("reuse_whole_answers"),
        {
            "video_id": video_id,
            "notes_key": notes.key,
            "question_ids": sorted(wanted),
            "model_id": recipe.model_id,
            "plan_hash": recipe.plan.hash,
            "run_id": run_id,
        },
    ).rowcount


def write_whole_answers(
    connection: Connection, answered: Sequence[WholeAnswers], *, recipe: Recipe, run_id: int
) -> None:
    """Write answers; those over other notes are superseded. An error is not written: it is asked again."""
    questions = {prompt.question.hash: prompt.question for prompt in recipe.prompts.prompts}
    for item in answered:
        given = [answer for answer in item.answers if answer.state is not AnswerState.ERROR]
        keys = [(item.video_id, recipe.question_ids[answer.question_hash]) for answer in given]
        if not keys:
            continue
        _supersede(connection, keys, recipe, but=item.notes)
        notes_id = _notes_id(connection, item.notes)
        rows = [
            {
                "video_id": item.video_id,
                "question_id": recipe.question_ids[answer.question_hash],
                "model_id": recipe.model_id,
                "plan_hash": recipe.plan.hash,
                "notes_id": notes_id,
                "state": answer.state,
                "text": storable(answer.text),
                "p": probability(questions[answer.question_hash], answer),
                "scores": storable(answer.scores),
                "mass": storable(answer.mass),
                "bounds": storable(answer.bounds),
                "reason": storable(answer.reason),
                "prompt_tokens": answer.prompt_tokens,
                "generated_tokens": answer.generated_tokens,
                "covered_s": answer.covered_s,
                "expected_s": answer.expected_s,
                "sums": storable([[one.start_s, one.end_s, *one.said] for one in item.sums]) or None,
                "run_id": run_id,
            }
            for answer in given
        ]
        connection.execute(insert(_whole).on_conflict_do_nothing(), rows)


def _supersede(connection: Connection, keys: Collection[tuple[int, int]], recipe: Recipe, *, but: Notes) -> None:
    """Supersede the answers by (video id, question id), unless they were asked over these notes."""
    same = select(_notes.c.id).where(_notes.c.key == but.key)
    connection.execute(
        update(_whole)
        .where(
            tuple_(_whole.c.video_id, _whole.c.question_id).in_(sorted(keys)),
            _whole.c.model_id == recipe.model_id,
            _whole.c.plan_hash == recipe.plan.hash,
            ~_whole.c.superseded,
            _whole.c.notes_id.not_in(same),
        )
        .values(superseded=True)
    )


def _notes_id(connection: Connection, notes: Notes) -> int:
    values = {"key": notes.key, "answer_ids": list(notes.answer_ids)}
    connection.execute(insert(_notes).values(values).on_conflict_do_nothing(index_elements=["key"]))
    return int(connection.execute(select(_notes.c.id).where(_notes.c.key == notes.key)).scalar_one())


class ShownWholeAnswer(NamedTuple):
    """An answer on show about a whole video, the id of its row, and the number of the video's segments."""

    id: int
    answer: Answer
    segments: int


def shown_whole_answers(
    connection: Connection, video_ids: Collection[int], prompts: Mapping[int, Prompt]
) -> dict[tuple[int, int], ShownWholeAnswer]:
    """The answers on show about these videos, by (video id, prompt id).

    Args:
        prompts: about whole videos, by id. An answer to another question than theirs is not on show.
    """
    if not prompts:
        return {}
    rows = connection.execute(
        statement("shown_whole_answers"), {"video_ids": sorted(video_ids), "prompt_ids": sorted(prompts)}
    )
    return {
        (row.video_id, row.prompt_id): ShownWholeAnswer(
            row.answer_id, measured_of(row, row.question_hash), row.segments
        )
        for row in rows
        if row.question_hash == prompts[row.prompt_id].question.hash
    }


def videos_asked_whole(connection: Connection, question_ids: Collection[int], *, after: int, limit: int) -> list[int]:
    """The next videos that have an answer to one of these questions about whole videos, by id."""
    query = select(_whole.c.video_id).where(_whole.c.question_id.in_(question_ids), _whole.c.video_id > after)
    return list(connection.execute(query.distinct().order_by(_whole.c.video_id).limit(limit)).scalars())
