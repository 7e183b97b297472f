"""The write stage: done means complete, a repeated write changes nothing, and a lost claim is left alone."""

from __future__ import annotations

from collections import Counter

import pytest
from fixtures.work import PROMPTS, stored
from sqlalchemy import text

from nightreel.database.features import record_features
from nightreel.domain import (
    Answer,
    AnsweredChunk,
    AnswerState,
    ChunkCounts,
    EncodedSegment,
    FeatureRef,
    Outcome,
    OutcomeState,
    Segment,
    SegmentAnswers,
    VideoEnd,
)
from nightreel.errors import PermanentError
from nightreel.reasons import Reason
from nightreel.stages.recorder import RunRecorder
from nightreel.stages.videos import OpenVideos
from nightreel.stages.write import Writing

CAPTION, VIOLENCE, _ = PROMPTS.prompts
NO = Answer(prompt_hash=VIOLENCE.hash, state=AnswerState.ANSWERED, text="no", value=False, p=0.1)
SAID = Answer(prompt_hash=CAPTION.hash, state=AnswerState.ANSWERED, text="a dog", value="a dog")


@pytest.fixture
def writing(work):
    return Writing(
        database=work.database,
        recipe=work.recipe,
        run_id=work.run.id,
        max_attempts=3,
        videos=OpenVideos(),
        recorder=RunRecorder(),
    )


@pytest.fixture
def claimed(work, writing):
    work.discover(stored("a.mp4"))
    claim = work.claim()[0]
    writing.videos.open(claim).segments = (Segment(0, 0, 30), Segment(1, 30, 60))
    return claim


def answered(work, claim, index: int, *answers: Answer) -> SegmentAnswers:
    segment = EncodedSegment(
        analysis_id=claim.analysis_id,
        video_id=claim.video.id,
        segment=Segment(index, index * 30.0, index * 30.0 + 30),
        feature=FeatureRef(key=f"key-{index}", uri="file:///f", size_bytes=1, sha256="0"),
        pts_s=(0.0,),
        damaged_frames=0,
        decoder="pyav",
        decoder_version="18",
    )
    with work.database.begin() as connection:
        record_features(connection, [segment], recipe=work.recipe, evictions={})
    return SegmentAnswers(segment=segment, answers=answers)


def write(writing, claim, *items: SegmentAnswers, state: OutcomeState = OutcomeState.DONE) -> ChunkCounts:
    outcome = Outcome(analysis_id=claim.analysis_id, state=state, segments=2)
    return writing.write_chunk([claim], [outcome], AnsweredChunk(answered=items))


def status(work) -> tuple[str, str | None]:
    with work.database.begin() as connection:
        return tuple(connection.execute(text("SELECT status, reason FROM nightreel.analyses")).one())


def test_done_means_that_every_segment_has_every_answer(work, writing, claimed):
    counts = write(writing, claimed, answered(work, claimed, 0, SAID, NO))
    assert counts.videos == {VideoEnd.RETRIED: 1}
    assert status(work) == ("pending", "incomplete")


def test_a_long_video_is_done_with_its_last_chunk(work, writing, claimed):
    write(writing, claimed, answered(work, claimed, 0, SAID, NO), state=OutcomeState.CONTINUES)
    assert status(work) == ("claimed", None)
    assert write(writing, claimed, answered(work, claimed, 1, SAID, NO)).videos == {VideoEnd.DONE: 1}
    assert status(work) == ("done", None)


def test_a_bad_segment_fails_its_video_and_keeps_the_answers_of_the_others(work, writing, claimed):
    video = writing.videos.find(claimed.analysis_id)
    for _ in range(2):  # its stage was tried twice
        video.fail(video.segments[1], PermanentError(Reason.DAMAGED, "2 of 8 frames good"))
    assert write(writing, claimed, answered(work, claimed, 0, SAID, NO)).reasons == {Reason.DAMAGED: 1}
    assert status(work) == ("failed", "damaged")
    with work.database.begin() as connection:
        detail = connection.execute(text("SELECT detail FROM reporting.failures")).scalar()
        assert connection.execute(text("SELECT count(*) FROM reporting.answers")).scalar() == 2
    assert detail == "1 of 2 segments (30-60 s): 2 of 8 frames good"


def test_an_error_answer_fails_its_video(work, writing, claimed):
    error = Answer(prompt_hash=CAPTION.hash, state=AnswerState.ERROR, reason="empty")
    write(writing, claimed, answered(work, claimed, 0, error, NO), answered(work, claimed, 1, SAID, NO))
    assert status(work) == ("failed", "answer_error")


def test_analyses_that_another_run_took_over_are_left_alone(work, writing, claimed):
    with work.database.begin() as connection:
        connection.execute(text("UPDATE nightreel.analyses SET status = 'pending', run_id = NULL"))
    assert write(writing, claimed, answered(work, claimed, 0, SAID, NO)) == ChunkCounts(
        videos=Counter({VideoEnd.LOST: 1})
    )
    assert status(work) == ("pending", None)
