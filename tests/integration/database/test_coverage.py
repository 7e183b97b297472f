"""Stored answers are judged by their coverage when they are read, in the views, for segments and for videos."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace

import pytest
from fixtures.work import Work, stored
from sqlalchemy import make_url, text

from nightreel.database.claims import close_claim, lock_own
from nightreel.database.connection import Database
from nightreel.database.coverage import record_coverage, set_min_coverage
from nightreel.database.features import record_features
from nightreel.database.results import record_probe, write_answers
from nightreel.domain import (
    MIN_COVERAGE,
    Answer,
    AnswerState,
    Claim,
    EncodedSegment,
    FeatureRef,
    Outcome,
    OutcomeState,
    Prompt,
    PromptKind,
    PromptSet,
    SamplingPlan,
    Segment,
    SegmentAnswers,
    judge,
    saw,
)
from nightreel.errors import PermanentError
from nightreel.settings import load_settings
from nightreel.stages.database import open_database

WEAPON = Prompt.of(name="weapon", kind=PromptKind.YES_NO, text="Weapon?", flags=("yes",), set_name="test")
DRAWN = Prompt.of(name="drawn", kind=PromptKind.YES_NO, text="Drawn?", when=(("weapon", "yes"),), set_name="test")
TAGS = Prompt.of(name="tags", kind=PromptKind.TAGS, text="Tags?", choices=("gun", "dog"), flags=("gun",), set_name="test")
COUNT = Prompt.of(name="count", kind=PromptKind.NUMBER, text="How many?", set_name="test")
PLACE = Prompt.of(name="place", kind=PromptKind.CHOICE, text="Where?", choices=("in", "out"), set_name="test")
PROMPTS = PromptSet("test", (WEAPON, DRAWN, TAGS, COUNT, PLACE))


@pytest.fixture
def work(open_work) -> Work:
    return open_work(prompts=PROMPTS)


@pytest.fixture
def claimed(work: Work) -> Claim:
    work.discover(stored("a.mp4"))
    return work.claim()[0]


def said(prompt: Prompt, value) -> Answer:
    words = {True: "yes", False: "no"}.get(value) if isinstance(value, bool) else None
    words = words or (", ".join(value) if isinstance(value, list) else f"{value:g}" if prompt is COUNT else value)
    return Answer(prompt_hash=prompt.hash, state=AnswerState.ANSWERED, text=words, value=value)


def segment_answers(claim: Claim, segment: Segment, covered_s: float | None, *answers: Answer, **feature):
    values = {"pts_s": (0.0,), "damaged_frames": 0, "decoder": "pyav", "decoder_version": "18"} | feature
    encoded = EncodedSegment(
        analysis_id=claim.analysis_id,
        video_id=claim.video.id,
        segment=segment,
        feature=FeatureRef(key=f"{claim.video.id}-{segment.start_s}-{segment.end_s}", uri="file:///f", size_bytes=1,
                           sha256="0"),
        covered_s=covered_s,
        **values,
    )  # fmt: skip
    return SegmentAnswers(segment=encoded, answers=answers)


def write(work: Work, claim: Claim, *items: SegmentAnswers, expected_s: float | None, end: bool = True) -> None:
    with work.database.begin() as connection:
        record_probe(connection, claim.video.id, {}, duration_s=60.0, expected_s=expected_s)
        record_features(connection, [item.segment for item in items], recipe=work.recipe, evictions={})
        own = lock_own(connection, run_id=work.run.id, analysis_ids=[claim.analysis_id])
        write_answers(connection, items, video_ids=own, recipe=work.recipe, run_id=work.run.id)
        if end:
            outcome = Outcome(analysis_id=claim.analysis_id, state=OutcomeState.DONE, segments=len(items))
            close_claim(connection, outcome, attempt=1, max_attempts=3, wait_s=0)
            record_coverage(connection, [claim.analysis_id], work.recipe)


def rows(work: Work, view: str) -> dict[str, list]:
    with work.database.begin() as connection:
        found = connection.execute(text(f"SELECT * FROM reporting.{view}")).all()
    return {prompt: [row for row in found if row.prompt == prompt] for prompt in {row.prompt for row in found}}


def video(work: Work, prompt: Prompt):
    (row,) = rows(work, "video_answers")[prompt.name]
    return row


def least(work: Work, min_coverage: float) -> None:
    with work.database.begin() as connection:
        set_min_coverage(connection, min_coverage)


FIRST, SECOND = Segment(0, 0.0, 30.0), Segment(1, 30.0, 60.0)


@pytest.mark.parametrize("covered_s", [0.0, 1.25, 23.99, 24.0, 26.25, 29.99, 30.0])
@pytest.mark.parametrize("min_coverage", [0.0, 0.5, 0.8, 1.0])
def test_the_views_judge_as_the_code_does(work, claimed, covered_s, min_coverage):
    answers = [said(WEAPON, False), said(DRAWN, True), said(TAGS, []), said(COUNT, 0.0), said(PLACE, "in")]
    write(work, claimed, segment_answers(claimed, FIRST, covered_s, *answers), expected_s=30.0)
    least(work, min_coverage)
    shown, combined = rows(work, "answers"), rows(work, "video_answers")
    for prompt, answer in zip(PROMPTS.prompts, answers, strict=True):
        right = judge(answer, prompt.kind, covered_s=covered_s, expected_s=30.0, min_coverage=min_coverage)
        (row,), (rolled,) = shown[prompt.name], combined[prompt.name]
        assert (row.state, row.answer, row.value, row.reason) == (right.state, right.text, right.value, right.reason)
        assert (rolled.state, rolled.answer, rolled.reason) == (right.state, right.text, right.reason)


def test_both_have_the_same_default_and_the_same_words(work):
    with work.database.begin() as connection:
        for covered_s, expected_s in [
            (1.2, 6.2),
            (0.0, 0.04),
            (90.0, 120.0),
            (6.19, 6.2),
            (22.5, 30.0),
            (1e4, 43200.0),
        ]:
            sql = connection.execute(text("SELECT nightreel.saw(:a, :b)"), {"a": covered_s, "b": expected_s}).scalar()
            assert sql == saw(covered_s, expected_s)
    definition = "SELECT pg_get_viewdef('nightreel.newest_answers'::regclass)"
    with work.database.begin() as connection:
        assert f"({MIN_COVERAGE})::double precision" in connection.execute(text(definition)).scalar_one()


def test_a_no_never_stands_below_the_number_and_a_yes_always_stands(work, claimed):
    items = [
        segment_answers(claimed, FIRST, 30.0, said(WEAPON, False), said(TAGS, ["dog"])),
        segment_answers(claimed, SECOND, 12.0, said(WEAPON, False), said(TAGS, ["gun"])),
    ]
    write(work, claimed, *items, expected_s=60.0)
    for hundredth in range(101):
        least(work, hundredth / 100)
        no, yes = video(work, WEAPON), video(work, TAGS)
        assert (no.state == "answered") == (hundredth <= 70), hundredth
        assert no.needs_review == (hundredth > 40), "a segment, then the video, was seen too little"
        assert (yes.answer, yes.flagged, yes.needs_review) == ("dog, gun", True, True)


def test_a_video_is_judged_by_what_the_whole_file_should_hold(work, claimed):
    write(work, claimed, segment_answers(claimed, FIRST, 30.0, said(WEAPON, False)), expected_s=120.0)
    (segment,) = rows(work, "answers")["weapon"]
    assert (segment.answer, segment.needs_review, segment.little_of_video) == ("no", True, True)
    row = video(work, WEAPON)
    assert (row.answer, row.state, row.reason, row.needs_review) == (None, "unknown", "saw 30 of 120 s", True)


def test_a_cut_last_segment_is_judged_by_the_window_that_it_should_hold(work, claimed):
    last = replace(FIRST, end_s=1.2, promised_s=6.2)
    write(work, claimed, segment_answers(claimed, last, 1.2, said(WEAPON, False), said(TAGS, ["dog"])), expected_s=6.2)
    (row,) = rows(work, "answers")["weapon"]
    assert (row.state, row.reason, row.needs_review) == ("unknown", "saw 1.2 of 6.2 s", True)
    (tags,) = rows(work, "answers")["tags"]
    assert (tags.answer, tags.flagged, tags.needs_review) == ("dog", False, True), "no gun in what was seen"
    assert video(work, WEAPON).reason == "saw 1.2 of 6.2 s"


def test_segments_that_were_not_seen_count_against_a_no_of_the_video(work, claimed):
    write(work, claimed, segment_answers(claimed, FIRST, 30.0, said(WEAPON, False)), expected_s=60.0)
    assert video(work, WEAPON).reason == "saw 30 of 60 s"


def test_a_video_whose_analysis_has_not_ended_has_no_no(work, claimed):
    write(work, claimed, segment_answers(claimed, FIRST, 30.0, said(WEAPON, False)), expected_s=60.0, end=False)
    row = video(work, WEAPON)
    assert (row.answer, row.state) == (None, "unknown")


def test_a_follow_up_that_was_asked_of_few_segments_is_judged_by_the_whole_video(work, claimed):
    items = [
        segment_answers(claimed, FIRST, 30.0, said(WEAPON, True), said(DRAWN, False)),
        segment_answers(claimed, SECOND, 30.0, said(WEAPON, False)),
    ]
    write(work, claimed, *items, expected_s=60.0)
    assert video(work, DRAWN).answer == "no"


def test_segments_under_two_plans_do_not_add_up(open_work, work, claimed):
    write(work, claimed, segment_answers(claimed, FIRST, 20.0, said(WEAPON, False)), expected_s=40.0)
    finer = open_work(prompts=PROMPTS)
    finer.recipe = replace(finer.recipe, plan=SamplingPlan.parse("uniform:4", 10))
    with work.database.begin() as connection:
        connection.execute(
            text("UPDATE nightreel.analyses SET status = 'claimed', run_id = :run"), {"run": finer.run.id}
        )
    write(finer, claimed, segment_answers(claimed, Segment(0, 0.0, 20.0), 20.0, said(WEAPON, False)), expected_s=40.0)
    assert len(rows(work, "answers")["weapon"]) == 2
    assert video(work, WEAPON).state == "unknown"


def test_zero_is_a_no_only_if_every_segment_counted_zero(work, claimed):
    unsure = Answer(prompt_hash=COUNT.hash, state=AnswerState.UNKNOWN, reason="thin margin")
    items = [
        segment_answers(claimed, FIRST, 30.0, said(COUNT, 0.0)),
        segment_answers(claimed, SECOND, 30.0, unsure),
    ]
    write(work, claimed, *items, expected_s=60.0)
    row = video(work, COUNT)
    assert (row.answer, row.state, row.reason) == (None, "unknown", "1 of 2 segments have no answer")


def test_answers_from_before_coverage_was_measured_are_judged_by_their_good_frames(work, claimed):
    pts_s = tuple(float(number) for number in range(8))
    items = [
        segment_answers(claimed, FIRST, None, said(WEAPON, False), pts_s=pts_s, damaged_frames=1),
        segment_answers(claimed, SECOND, None, said(WEAPON, False), pts_s=pts_s, damaged_frames=4),
    ]
    write(work, claimed, *items, expected_s=60.0)
    first, second = sorted(rows(work, "answers")["weapon"], key=lambda row: row.segment)
    assert (first.answer, first.covered_s) == ("no", 26.25)
    assert (second.answer, second.reason) == (None, "saw 15 of 30 s")


def test_a_video_of_unknown_length_has_no_no(work, claimed):
    write(work, claimed, segment_answers(claimed, FIRST, 30.0, said(WEAPON, False)), expected_s=None)
    assert video(work, WEAPON).reason == "it is not known how much was seen"
    least(work, 0.0)
    assert video(work, WEAPON).answer == "no"


def test_a_reader_without_rights_on_the_tables_reads_judged_answers(work, claimed, database_url, postgres_server):
    write(work, claimed, segment_answers(claimed, FIRST, 3.0, said(WEAPON, False)), expected_s=30.0)
    url = postgres_server.admin_url.set(database=make_url(database_url).database)
    superuser = Database(url.render_as_string(hide_password=False))
    with closing(superuser), superuser.engine.connect() as connection, connection.begin() as transaction:
        for change in (
            "CREATE ROLE coverage_reader",
            "GRANT USAGE ON SCHEMA reporting TO coverage_reader",
            "GRANT SELECT ON ALL TABLES IN SCHEMA reporting TO coverage_reader",
            "SET ROLE coverage_reader",
        ):
            connection.execute(text(change))
        for view in ("answers", "video_answers"):
            row = connection.execute(text(f"SELECT * FROM reporting.{view}")).one()
            assert (row.state, row.reason) == ("unknown", "saw 3 of 30 s")
        transaction.rollback()


def test_the_setting_is_stored_for_all_readers_and_stays_when_it_is_unset(work, claimed, database_url, monkeypatch):
    write(work, claimed, segment_answers(claimed, FIRST, 15.0, said(WEAPON, False)), expected_s=30.0)
    monkeypatch.setenv("NIGHTREEL_DATABASE_URL", database_url)
    for value, answer in ((None, None), ("0.5", "no"), (None, "no"), ("0.51", None)):
        settings = load_settings(min_coverage=value)
        with open_database(settings):
            assert video(work, WEAPON).answer == answer, value


@pytest.mark.parametrize("value", ["-0.1", "1.1", "much"])
def test_a_coverage_outside_0_to_1_is_refused(monkeypatch, value):
    monkeypatch.setenv("NIGHTREEL_MIN_COVERAGE", value)
    with pytest.raises(PermanentError, match="NIGHTREEL_MIN_COVERAGE"):
        load_settings()


def test_the_view_of_videos_shows_their_coverage(work, claimed):
    write(work, claimed, segment_answers(claimed, FIRST, 15.0, said(WEAPON, False)), expected_s=30.0)
    with work.database.begin() as connection:
        row = connection.execute(text("SELECT * FROM reporting.videos")).one()
    assert (row.covered_s, row.expected_s, row.coverage, row.failed_segments) == (15.0, 30.0, 0.5, 0)
