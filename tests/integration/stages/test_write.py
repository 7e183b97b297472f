"""The write stage: done means complete, a repeated write changes nothing, and a lost claim is left alone."""

from __future__ import annotations

from collections import Counter

import pytest
from fixtures.judged import yes_no
from fixtures.work import PROMPTS, stored
from fixtures.work_answers import answered, window
from sqlalchemy import text

from nightreel.database import reports
from nightreel.database.features import record_features
from nightreel.domain import (
    Answer,
    AnsweredChunk,
    AnswerState,
    ChunkCounts,
    Outcome,
    OutcomeState,
    Segment,
    SegmentAnswers,
    VideoEnd,
)
from nightreel.errors import PermanentError, TransientError
from nightreel.reasons import Reason
from nightreel.stages.embed import Embedding
from nightreel.stages.recorder import RunRecorder
from nightreel.stages.videos import OpenVideos
from nightreel.stages.write import Writing

CAPTION, VIOLENCE, _ = PROMPTS.prompts
NO = yes_no(VIOLENCE.question, 0.1)
SAID = Answer(question_hash=CAPTION.question.hash, text="a dog")


@pytest.fixture
def writing(work):
    return Writing(
        database=work.database,
        recipe=work.recipe,
        run_id=work.run.id,
        max_attempts=3,
        videos=OpenVideos(),
        embedding=Embedding(spec=None, model=None, database=work.database, recipe=work.recipe, recorder=RunRecorder()),
        recorder=RunRecorder(),
    )


@pytest.fixture
def claimed(work, writing):
    work.discover(stored("a.mp4"))
    claim = work.claim()[0]
    writing.videos.open(claim).segments = (window(0), window(1))
    return claim


def cached(work, claim, index: int, *answers: Answer) -> SegmentAnswers:
    """A segment whose features are recorded, with answers that are not written yet."""
    item = answered(claim, window(index), *answers)
    with work.database.begin() as connection:
        record_features(connection, [item.segment], recipe=work.recipe, evictions={})
    return item


def write(
    writing, claim, *items: SegmentAnswers, state: OutcomeState = OutcomeState.DONE, segments: int = 2
) -> ChunkCounts:
    outcome = Outcome(analysis_id=claim.analysis_id, state=state, segments=segments)
    return writing.write_chunk([claim], [outcome], AnsweredChunk(answered=items))


def status(work) -> tuple[str, str | None]:
    with work.database.begin() as connection:
        return tuple(connection.execute(text("SELECT status, reason FROM nightreel.analyses")).one())


def test_done_means_that_every_segment_has_every_answer(work, writing, claimed):
    counts = write(writing, claimed, cached(work, claimed, 0, SAID, NO))
    assert counts.videos == {VideoEnd.RETRIED: 1}
    assert status(work) == ("pending", "incomplete")


def test_a_long_video_is_done_with_its_last_chunk(work, writing, claimed):
    write(writing, claimed, cached(work, claimed, 0, SAID, NO), state=OutcomeState.CONTINUES)
    assert status(work) == ("claimed", None)
    assert write(writing, claimed, cached(work, claimed, 1, SAID, NO)).videos == {VideoEnd.DONE: 1}
    assert status(work) == ("done", None)


def test_a_video_with_a_bad_segment_is_partly_done_and_keeps_the_answers_of_the_others(work, writing, claimed):
    video = writing.videos.find(claimed.analysis_id)
    for _ in range(2):  # its stage was tried twice
        video.fail(video.segments[1], PermanentError(Reason.DAMAGED, "2 of 8 frames good"))
    counts = write(writing, claimed, cached(work, claimed, 0, SAID, NO))
    assert (counts.videos, counts.partly_done, counts.reasons) == (
        {VideoEnd.PARTLY_DONE: 1},
        {Reason.DAMAGED: 1},
        {},
    )
    assert status(work) == ("partly_done", "damaged")
    with work.database.begin() as connection:
        detail = connection.execute(text("SELECT detail FROM reporting.failures")).scalar()
        assert connection.execute(text("SELECT count(*) FROM reporting.answers")).scalar() == 2
        failed = connection.execute(text("SELECT * FROM reporting.failed_segments")).one()
    assert detail == "1 of 2 segments (30-60 s): 2 of 8 frames good"
    assert (failed.segment, failed.start_s, failed.end_s) == (1, 30, 60)
    assert (failed.reason, failed.detail) == ("damaged", "2 of 8 frames good")


def test_a_video_without_a_good_segment_fails(work, writing, claimed):
    video = writing.videos.find(claimed.analysis_id)
    for segment in video.segments:
        video.fail(segment, PermanentError(Reason.DAMAGED, "2 of 8 frames good"))
    assert write(writing, claimed).reasons == {Reason.DAMAGED: 1}
    assert status(work) == ("failed", "damaged")


def test_a_segment_that_failed_for_now_is_tried_again_although_another_failed_for_good(work, writing, claimed):
    video = writing.videos.find(claimed.analysis_id)
    video.segments = (*video.segments, Segment(2, 60, 90))
    video.fail(video.segments[1], PermanentError(Reason.DAMAGED, "2 of 8 frames good"))
    video.fail(video.segments[2], TransientError(Reason.FILE_UNREADABLE, "the disk"))
    assert write(writing, claimed, cached(work, claimed, 0, SAID, NO), segments=3).videos == {VideoEnd.RETRIED: 1}
    assert status(work) == ("pending", "file_unreadable")


def test_a_failure_of_a_segment_that_has_all_its_answers_in_the_end_does_not_count(work, writing, claimed):
    video = writing.videos.find(claimed.analysis_id)
    video.fail(video.segments[0], PermanentError(Reason.UNENCODABLE_FRAMES, "the first try of the stage"))
    items = [cached(work, claimed, index, SAID, NO) for index in (0, 1)]
    assert write(writing, claimed, *items).videos == {VideoEnd.DONE: 1}


def test_a_retry_of_a_partly_done_video_asks_only_its_failed_segments(work, writing, claimed):
    video = writing.videos.find(claimed.analysis_id)
    video.fail(video.segments[1], PermanentError(Reason.DAMAGED, "2 of 8 frames good"))
    write(writing, claimed, cached(work, claimed, 0, SAID, NO))
    assert work.claim() == [], "a run does not claim it by itself"
    with work.database.begin() as connection:
        assert reports.reopen_failures(connection, reason="damaged") == ["s3://bucket/a.mp4"]
        before = connection.execute(text("SELECT * FROM nightreel.answers")).all()
    (again,) = work.claim()
    video = writing.videos.open(again)
    video.segments = (window(0), window(1))
    video.fail(video.segments[1], PermanentError(Reason.DAMAGED, "2 of 8 frames good"))
    assert write(writing, again).videos == {VideoEnd.PARTLY_DONE: 1}
    with work.database.begin() as connection:
        assert connection.execute(text("SELECT * FROM nightreel.answers")).all() == before
        assert connection.execute(text("SELECT count(*) FROM reporting.failed_segments")).scalar() == 1
        reports.reopen_failures(connection, reason="damaged")
    (again,) = work.claim()
    assert write(writing, again, cached(work, again, 1, SAID, NO)).videos == {VideoEnd.DONE: 1}
    with work.database.begin() as connection:
        assert connection.execute(text("SELECT count(*) FROM reporting.failed_segments")).scalar() == 0
        assert reports.failures(connection) == []


def test_an_error_answer_fails_its_segment(work, writing, claimed):
    error = Answer(question_hash=CAPTION.question.hash, state=AnswerState.ERROR, reason="empty")
    write(writing, claimed, cached(work, claimed, 0, error, NO), cached(work, claimed, 1, SAID, NO))
    assert status(work) == ("partly_done", "answer_error")


def test_an_error_answer_in_every_segment_fails_the_video(work, writing, claimed):
    error = Answer(question_hash=CAPTION.question.hash, state=AnswerState.ERROR, reason="empty")
    write(writing, claimed, *(cached(work, claimed, index, error, NO) for index in (0, 1)))
    assert status(work) == ("failed", "answer_error")


def test_analyses_that_another_run_took_over_are_left_alone(work, writing, claimed):
    with work.database.begin() as connection:
        connection.execute(text("UPDATE nightreel.analyses SET status = 'pending', run_id = NULL"))
    assert write(writing, claimed, cached(work, claimed, 0, SAID, NO)) == ChunkCounts(
        videos=Counter({VideoEnd.LOST: 1})
    )
    assert status(work) == ("pending", None)
