from dataclasses import replace

import pytest
from fixtures.judged import yes_no
from fixtures.work import PROMPTS, stored
from fixtures.work_answers import analyse, answered, window, write
from sqlalchemy import text

from nightreel.database.answers import answers_given, reuse_answers
from nightreel.database.coverage import record_coverage
from nightreel.database.features import forget_features, known_features
from nightreel.database.results import record_content, record_probe
from nightreel.domain import (
    Answer,
    AnswerState,
    GenerationOptions,
    Prompt,
    PromptKind,
    PromptSet,
    SegmentAnswers,
)

CAPTION, VIOLENCE, WHY = PROMPTS.prompts


def caption(said: str) -> Answer:
    return Answer(question_hash=CAPTION.question.hash, text=said, generated_tokens=3)


def violence(p: float) -> Answer:
    return yes_no(VIOLENCE.question, p)


def seen(claim, *answers: Answer, index: int = 0) -> SegmentAnswers:
    """A segment of which one of two frames was damaged."""
    frames = {"pts_s": (0.0, 1.5), "damaged_frames": 1, "covered_s": 26.25}
    return answered(claim, window(index), *answers, **frames, decoder="decord", decoder_version="0.6.0")


@pytest.fixture
def claimed(work):
    work.discover(stored("a.mp4"))
    return work.claim()[0]


def view(work, name: str = "answers") -> list:
    with work.database.begin() as connection:
        return connection.execute(text(f"SELECT * FROM reporting.{name}")).all()


def test_writing_an_answer_twice_changes_nothing(work, claimed):
    assert write(work, claimed, seen(claimed, caption("a dog"))) == 1
    before = view(work)
    assert write(work, claimed, seen(claimed, caption("another dog"))) == 0
    assert view(work) == before


def test_an_answer_replaces_only_an_error(work, claimed):
    error = Answer(question_hash=CAPTION.question.hash, state=AnswerState.ERROR, reason="empty")
    write(work, claimed, seen(claimed, error))
    assert view(work)[0].state == "error"
    write(work, claimed, seen(claimed, caption("a dog")))
    assert (view(work)[0].state, view(work)[0].answer) == ("answered", "a dog")


def test_an_answer_can_be_traced_to_frames_content_model_prompt_and_run(work, claimed):
    write(work, claimed, seen(claimed, violence(0.9)))
    row = view(work)[0]
    assert (row.p, row.flagged, row.needs_review, row.value) == (0.9, True, True, True)
    assert (row.frame_times_s, row.damaged_frames, row.decoder, row.decoder_version) == (
        [0.0, 1.5],
        1,
        "decord",
        "0.6.0",
    )
    assert (row.prompt_hash, row.model_revision, row.plan, row.run_id) == (
        VIOLENCE.question.hash,
        "1",
        "uniform:4",
        work.run.id,
    )


def test_an_unknown_answer_needs_review_and_is_not_a_no(work, claimed):
    refused = Answer(question_hash=VIOLENCE.question.hash, state=AnswerState.UNMEASURED, reason="refused")
    write(work, claimed, seen(claimed, refused))
    row = view(work)[0]
    assert (row.answer, row.flagged, row.needs_review) == (None, False, True)
    assert view(work, "video_answers")[0].answer is None


def test_a_video_is_yes_if_one_segment_is_yes(work, claimed):
    write(work, claimed, seen(claimed, violence(0.1)))
    with work.database.begin() as connection:
        record_probe(connection, claimed.video.id, {}, duration_s=30.0, expected_s=30.0)
        record_coverage(connection, [claimed.analysis_id], work.recipe)
    work.judge(claimed)
    assert view(work, "video_answers")[0].answer == "no"
    write(work, claimed, seen(claimed, violence(0.8), index=1))
    row = view(work, "video_answers")[0]
    assert (row.answer, row.max_p, row.first_flagged_s, row.segments) == ("yes", 0.8, 30.0, 2)


def test_answers_of_a_lost_claim_are_not_written(work, claimed):
    with work.database.begin() as connection:
        connection.execute(text("UPDATE nightreel.analyses SET run_id = NULL, status = 'pending'"))
    assert write(work, claimed, seen(claimed, caption("late"))) == 0
    assert view(work) == []


def test_characters_that_postgres_cannot_hold_are_replaced(work, claimed):
    write(work, claimed, seen(claimed, caption("nul \x00 surrogate \ud800 '; DROP TABLE nightreel.answers; --")))
    assert view(work)[0].answer == "nul \ufffd surrogate ? '; DROP TABLE nightreel.answers; --"


def test_the_same_bytes_under_another_key_reuse_the_answers_and_record_it(work):
    work.discover(stored("a.mp4"), stored("copy.mp4"))
    first, copy = work.claim()
    analyse(work, first, seen(first, caption("a dog"), violence(0.2)), expected_s=30.0)
    sha = "e" * 64
    with work.database.begin() as connection:
        record_content(connection, first.video.id, sha)
        record_content(connection, copy.video.id, sha)
        arguments = {"video_id": copy.video.id, "content_sha256": sha, "recipe": work.recipe, "run_id": work.run.id}
        assert reuse_answers(connection, **arguments) == 2
        assert reuse_answers(connection, **arguments) == 0
        given = answers_given(connection, [copy.video.id], work.recipe)[copy.video.id][0]
    assert work.recipe.prompts.missing(given.verdicts(work.recipe.prompts)) == ()
    work.judge(copy)
    rows = {(row.uri[-6:], row.prompt): row for row in view(work)}
    assert rows["py.mp4", "caption"].reused_from == rows["/a.mp4", "caption"].answer_id


def test_sampled_answers_are_marked_and_not_reused_for_the_same_bytes_under_another_key(open_work):
    drawn = Prompt.of(name="drawn", kind=PromptKind.CAPTION, text="Tell.", decoding=GenerationOptions(temperature=0.7))
    scored = Prompt.of(
        name="scored", kind=PromptKind.YES_NO, text="Is it?", decoding=GenerationOptions(temperature=0.7)
    )
    work = open_work(prompts=PromptSet("test", (CAPTION, drawn, scored)))
    work.discover(stored("a.mp4"), stored("copy.mp4"))
    first, copy = work.claim()
    said = [caption("a dog"), replace(caption("a cat"), question_hash=drawn.question.hash)]
    write(work, first, seen(first, *said, replace(violence(0.2), question_hash=scored.question.hash)))
    assert {row.prompt: row.sampled for row in view(work)} == {"caption": False, "drawn": True, "scored": False}
    sha = "e" * 64
    with work.database.begin() as connection:
        record_content(connection, first.video.id, sha)
        record_content(connection, copy.video.id, sha)
        reuse_answers(connection, video_id=copy.video.id, content_sha256=sha, recipe=work.recipe, run_id=work.run.id)
        given = answers_given(connection, [copy.video.id], work.recipe)[copy.video.id][0]
    assert set(given.first) == {CAPTION.question.hash, scored.question.hash}
    assert [one.name for one in work.recipe.prompts.missing(given.verdicts(work.recipe.prompts))] == ["drawn"]


def test_a_forgotten_feature_keeps_its_row_for_its_answers(work, claimed):
    write(work, claimed, seen(claimed, caption("a dog")))
    key = f"{claimed.video.id}-0"
    with work.database.begin() as connection:
        assert known_features(connection, [key])[key].ref is not None
        forget_features(connection, key)
        assert known_features(connection, [key])[key].ref is None
    assert view(work)[0].frame_times_s == [0.0, 1.5]
