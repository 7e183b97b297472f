"""What the write stage promises: done means complete, a repeated write changes nothing, a lost claim is left alone."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from fixtures.work import PROMPTS, stored
from sqlalchemy import text

from nightreel.database.features import record_features
from nightreel.domain import (
    Answer,
    AnsweredChunk,
    AnswerState,
    EncodedSegment,
    FeatureRef,
    Outcome,
    OutcomeState,
    Segment,
    SegmentAnswers,
)
from nightreel.errors import PermanentError
from nightreel.metrics import RunMetrics
from nightreel.stages.timings import StageTimings
from nightreel.stages.video import OpenVideo
from nightreel.stages.write import write_chunk

CAPTION, VIOLENCE, _ = PROMPTS.prompts
NO = Answer(prompt_hash=VIOLENCE.hash, state=AnswerState.ANSWERED, text="no", value=False, p=0.1)
SAID = Answer(prompt_hash=CAPTION.hash, state=AnswerState.ANSWERED, text="a dog", value="a dog")


class Bench(SimpleNamespace):
    """What the write stage needs of a workbench."""

    def close_video(self, analysis_id: int) -> None:
        self.open_videos.pop(analysis_id, None)


@pytest.fixture
def bench(work):
    return Bench(
        database=work.database,
        recipe=work.recipe,
        run_id=work.run.id,
        settings=SimpleNamespace(max_attempts=3),
        timings=StageTimings(),
        metrics=RunMetrics(),
        open_videos={},
    )


@pytest.fixture
def claimed(work, bench):
    work.discover(stored("a.mp4"))
    claim = work.claim()[0]
    bench.open_videos[claim.analysis_id] = OpenVideo(claim, segments=(Segment(0, 0, 30), Segment(1, 30, 60)))
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
        from_cache=False,
    )
    with work.database.begin() as connection:
        record_features(connection, [segment], recipe=work.recipe, evictions={})
    return SegmentAnswers(segment=segment, answers=answers)


def write(bench, claim, *items: SegmentAnswers, state: OutcomeState = OutcomeState.DONE) -> dict[str, int]:
    outcome = Outcome(analysis_id=claim.analysis_id, state=state, segments=2)
    return write_chunk(bench, [claim], [outcome], AnsweredChunk(answered=items))


def status(work) -> tuple[str, str | None]:
    with work.database.begin() as connection:
        return tuple(connection.execute(text("SELECT status, reason FROM nightreel.analyses")).one())


def test_done_means_that_every_segment_has_every_answer(work, bench, claimed):
    counts = write(bench, claimed, answered(work, claimed, 0, SAID, NO))
    assert counts["videos.retried"] == 1
    assert status(work) == ("pending", "incomplete")


def test_a_long_video_is_done_with_its_last_chunk(work, bench, claimed):
    write(bench, claimed, answered(work, claimed, 0, SAID, NO), state=OutcomeState.CONTINUES)
    assert status(work) == ("claimed", None)
    assert write(bench, claimed, answered(work, claimed, 1, SAID, NO))["videos.done"] == 1
    assert status(work) == ("done", None)


def test_a_bad_segment_fails_its_video_and_the_answers_of_the_others_are_kept(work, bench, claimed):
    video = bench.open_videos[claimed.analysis_id]
    for _ in range(2):  # its stage was tried twice
        video.note(video.segments[1], PermanentError("damaged", "2 of 8 frames good"))
    assert write(bench, claimed, answered(work, claimed, 0, SAID, NO))["reasons.damaged"] == 1
    assert status(work) == ("failed", "damaged")
    with work.database.begin() as connection:
        detail = connection.execute(text("SELECT detail FROM reporting.failures")).scalar()
        assert connection.execute(text("SELECT count(*) FROM reporting.answers")).scalar() == 2
    assert detail == "1 of 2 segments (30-60 s): 2 of 8 frames good"


def test_an_answer_that_is_an_error_fails_its_video(work, bench, claimed):
    error = Answer(prompt_hash=CAPTION.hash, state=AnswerState.ERROR, reason="empty")
    write(bench, claimed, answered(work, claimed, 0, error, NO), answered(work, claimed, 1, SAID, NO))
    assert status(work) == ("failed", "answer_error")


def test_what_another_run_took_over_is_left_to_it(work, bench, claimed):
    with work.database.begin() as connection:
        connection.execute(text("UPDATE nightreel.analyses SET status = 'pending', run_id = NULL"))
    assert write(bench, claimed, answered(work, claimed, 0, SAID, NO)) == {"lost": 1, "segments": 0}
    assert status(work) == ("pending", None)
