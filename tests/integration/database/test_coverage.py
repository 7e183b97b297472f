"""Stored verdicts on segments and videos follow from how much was seen: a "no" needs coverage."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace

import pytest
from fixtures.judged import yes_no
from fixtures.work import Work, stored
from fixtures.work_answers import analyse, answered, window, write
from sqlalchemy import make_url, text

from nightreel.database.connection import Database
from nightreel.database.policies import apply_policy
from nightreel.domain import (
    Answer,
    AnswerState,
    Claim,
    Prompt,
    PromptKind,
    PromptSet,
    judge,
)
from nightreel.errors import PermanentError
from nightreel.settings import load_settings
from nightreel.stages.rejudge import apply_changes

WEAPON = Prompt.of(name="weapon", kind=PromptKind.YES_NO, text="Weapon?", flags=("yes",), set_name="test")
DRAWN = Prompt.of(name="drawn", kind=PromptKind.YES_NO, text="Drawn?", when=(("weapon", "yes"),), set_name="test")
TAGS = Prompt.of(
    name="tags", kind=PromptKind.TAGS, text="Tags?", choices=("gun", "dog"), flags=("gun",), set_name="test"
)
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
    question = prompt.question
    if prompt is COUNT:
        return Answer(question_hash=question.hash, text=f"{value:g}")
    if prompt is TAGS:
        scores = {tag: 0.9 if tag in value else 0.1 for tag in question.choices}
    elif prompt is PLACE:
        scores = {choice: 0.9 if choice == value else 0.1 for choice in question.choices}
    else:
        return yes_no(question, 0.9 if value else 0.1)
    return Answer(question_hash=question.hash, scores=scores, mass=0.9)


def rows(work: Work, view: str) -> dict[str, list]:
    with work.database.begin() as connection:
        found = connection.execute(text(f"SELECT * FROM reporting.{view}")).all()
    return {prompt: [row for row in found if row.prompt == prompt] for prompt in {row.prompt for row in found}}


def video(work: Work, prompt: Prompt):
    (row,) = rows(work, "video_answers")[prompt.name]
    return row


def least(work: Work, coverage: float) -> None:
    """Change the policy of all prompts, and judge the stored answers again."""
    with work.database.begin() as connection:
        for prompt in PROMPTS.prompts:
            policy = replace(prompt.policy, coverage=coverage)
            apply_policy(connection, work.recipe.prompt_ids[prompt.name], policy, made_by="test")
    apply_changes(work.database)


FIRST, SECOND = window(0), window(1)


@pytest.mark.parametrize("covered_s", [0.0, 23.99, 24.0, 30.0])
@pytest.mark.parametrize("coverage", [0.0, 0.5, 0.8, 1.0])
def test_what_is_stored_is_what_the_judge_says(work, claimed, covered_s, coverage):
    answers = [said(WEAPON, False), said(DRAWN, True), said(TAGS, []), said(COUNT, 0.0), said(PLACE, "in")]
    items = answered(claimed, FIRST, *answers, covered_s=covered_s)
    analyse(work, claimed, items, expected_s=30.0)
    with work.database.begin() as connection:
        connection.execute(text("UPDATE nightreel.verdicts SET due = true"))
    least(work, coverage)
    shown = rows(work, "answers")
    for prompt, answer in zip(PROMPTS.prompts, answers, strict=True):
        seen = replace(answer, covered_s=covered_s, expected_s=30.0)
        right = judge(prompt.question, seen, replace(prompt.policy, coverage=coverage))
        (row,) = shown[prompt.name]
        assert (row.state, row.answer, row.value, row.reason) == (right.state, right.text, right.value, right.reason)


def test_a_no_never_stands_below_the_number_and_a_yes_always_stands(work, claimed):
    items = [
        answered(claimed, FIRST, said(WEAPON, False), said(TAGS, ["dog"])),
        answered(claimed, SECOND, said(WEAPON, False), said(TAGS, ["gun"]), covered_s=12.0),
    ]
    analyse(work, claimed, *items, expected_s=60.0)
    for hundredth in (0, 39, 40, 41, 71, 100):
        least(work, hundredth / 100)
        no, yes = video(work, WEAPON), video(work, TAGS)
        assert (no.state == "answered") == (hundredth <= 40), "an unknown segment leaves no no"
        assert no.needs_review == (hundredth > 40), "a segment, then the video, was seen too little"
        assert (yes.answer, yes.flagged, yes.needs_review) == ("gun, dog", True, True)


def test_a_video_is_judged_by_what_the_whole_file_should_hold(work, claimed):
    analyse(work, claimed, answered(claimed, FIRST, said(WEAPON, False)), expected_s=120.0)
    (segment,) = rows(work, "answers")["weapon"]
    assert (segment.answer, segment.needs_review, segment.little_of_video) == ("no", False, True)
    row = video(work, WEAPON)
    assert (row.answer, row.state, row.reason, row.needs_review) == (None, "unknown", "saw 30 of 120 s", True)


def test_a_cut_last_segment_is_judged_by_the_window_that_it_should_hold(work, claimed):
    last = replace(FIRST, end_s=1.2, promised_s=6.2)
    analyse(work, claimed, answered(claimed, last, said(WEAPON, False), said(TAGS, ["dog"])), expected_s=6.2)
    (row,) = rows(work, "answers")["weapon"]
    assert (row.state, row.reason, row.needs_review) == ("unknown", "saw 1.2 of 6.2 s", True)
    (tags,) = rows(work, "answers")["tags"]
    assert (tags.answer, tags.flagged, tags.needs_review) == ("dog", False, True), "no gun in what was seen"
    assert video(work, WEAPON).reason == "saw 1.2 of 6.2 s"


def test_segments_that_were_not_seen_count_against_a_no_of_the_video(work, claimed):
    analyse(work, claimed, answered(claimed, FIRST, said(WEAPON, False)), expected_s=60.0)
    assert video(work, WEAPON).reason == "saw 30 of 60 s"


def test_a_video_whose_analysis_has_not_ended_has_no_verdict(work, claimed):
    write(work, claimed, answered(claimed, FIRST, said(WEAPON, False)), ended=False)
    assert rows(work, "video_answers") == {}


def test_a_follow_up_that_was_asked_of_few_segments_is_judged_by_the_whole_video(work, claimed):
    items = [
        answered(claimed, FIRST, said(WEAPON, True), said(DRAWN, False)),
        answered(claimed, SECOND, said(WEAPON, False)),
    ]
    analyse(work, claimed, *items, expected_s=60.0)
    assert video(work, DRAWN).answer == "no"


def test_zero_is_a_no_only_if_every_segment_counted_zero(work, claimed):
    unsure = Answer(question_hash=COUNT.question.hash, state=AnswerState.UNMEASURED, reason="refused")
    items = [
        answered(claimed, FIRST, said(COUNT, 0.0)),
        answered(claimed, SECOND, unsure),
    ]
    analyse(work, claimed, *items, expected_s=60.0)
    row = video(work, COUNT)
    assert (row.answer, row.state, row.reason) == (None, "unknown", "1 of 2 segments have no answer")


def test_answers_from_before_coverage_was_measured_are_judged_by_their_good_frames(work, claimed):
    pts_s = tuple(float(number) for number in range(8))
    items = [
        answered(claimed, FIRST, said(WEAPON, False), pts_s=pts_s, damaged_frames=1, covered_s=None),
        answered(claimed, SECOND, said(WEAPON, False), pts_s=pts_s, damaged_frames=4, covered_s=None),
    ]
    analyse(work, claimed, *items, expected_s=60.0)
    first, second = sorted(rows(work, "answers")["weapon"], key=lambda row: row.segment)
    assert (first.answer, first.covered_s) == ("no", 26.25)
    assert (second.answer, second.reason) == (None, "saw 15 of 30 s")


def test_a_video_of_unknown_length_has_no_no(work, claimed):
    analyse(work, claimed, answered(claimed, FIRST, said(WEAPON, False)), expected_s=None)
    assert video(work, WEAPON).reason == "it is not known how much was seen"
    least(work, 0.0)
    assert video(work, WEAPON).answer == "no"


def test_a_reader_without_rights_on_the_tables_reads_judged_answers(work, claimed, database_url, postgres_server):
    analyse(work, claimed, answered(claimed, FIRST, said(WEAPON, False), covered_s=3.0), expected_s=30.0)
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


@pytest.mark.parametrize("value", ["-0.1", "1.1", "much"])
def test_a_coverage_outside_0_to_1_is_refused(monkeypatch, value):
    monkeypatch.setenv("NIGHTREEL_MIN_COVERAGE", value)
    with pytest.raises(PermanentError, match="NIGHTREEL_MIN_COVERAGE"):
        load_settings()


def test_the_view_of_videos_shows_their_coverage(work, claimed):
    analyse(work, claimed, answered(claimed, FIRST, said(WEAPON, False), covered_s=15.0), expected_s=30.0)
    with work.database.begin() as connection:
        row = connection.execute(text("SELECT * FROM reporting.videos")).one()
    assert (row.covered_s, row.expected_s, row.coverage, row.failed_segments) == (15.0, 30.0, 0.5, 0)
