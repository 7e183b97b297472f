"""Cases come from verdicts: what a person should see, sorted into queues, one case for all copies of a content."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from fixtures.judged import under
from fixtures.work import stored
from fixtures.work_reviewed import ASKED, GENERAL, RESTRICTED, VIOLENCE

from nightreel.database.policies import apply_policy
from nightreel.domain import Band
from nightreel.domain.queues import Queue, Queues
from nightreel.stages.rejudge import apply_changes
from nightreel.stages.sort import apply_queues

SAME = "a" * 64


def test_what_is_flagged_and_what_is_not_known_becomes_a_case(desk):
    desk.analyse("clean")
    desk.analyse("flagged", violence=0.9)
    desk.analyse("unsure", violence=None)
    assert desk.states() == {"general/flagged": "open", "general/unsure": "open"}
    case = desk.take("ann")
    (finding,) = case.findings
    assert (case.videos[0][1], finding.prompt, finding.found, finding.severity) == (
        "s3://bucket/flagged.mp4",
        "violence",
        "flagged",
        2,
    )
    assert finding.p == pytest.approx(0.9)
    assert finding.ranges == [[0, 30]]
    assert len(finding.answer_ids) == len(finding.model_ids) == 1


def test_each_finding_goes_to_the_first_queue_that_takes_it(desk):
    desk.analyse("all", violence=0.9, weapons=0.9, gore=0.9)
    assert desk.states() == {"restricted/all": "open", "urgent/all": "open", "general/all": "open"}
    assert [one.prompt for one in desk.take("leo", "urgent").findings] == ["weapons"]
    assert [one.prompt for one in desk.take("leo", "restricted").findings] == ["gore"]


def test_copies_are_judged_once(desk):
    desk.analyse("first", violence=0.9, content=SAME)
    desk.analyse("copy", violence=0.9, content=SAME)
    assert list(desk.states().values()) == ["open"]
    case = desk.take("ann")
    assert (case.copies, len(case.videos)) == (2, 2)
    desk.decide("ann", case)
    desk.analyse("later", violence=0.9, content=SAME)
    assert list(desk.states().values()) == ["closed"], "a copy that comes later is judged already"
    decisions = desk.rows("SELECT uri, decision FROM reporting.flags ORDER BY video_id")
    assert [row.decision for row in decisions] == ["confirm"] * 3


def test_a_new_policy_changes_a_case_and_no_decision(desk):
    desk.analyse("decided", violence=0.9)
    desk.analyse("waiting", violence=0.9)
    desk.judge("ann", "reject")
    before = desk.rows("SELECT * FROM nightreel.decisions")
    prompt_id = desk.work.recipe.prompt_ids["violence"]
    with desk.work.database.begin() as connection:
        apply_policy(connection, prompt_id, under(VIOLENCE, severity=4).policy, made_by="lea")
    apply_changes(desk.work.database)
    assert desk.rows("SELECT * FROM nightreel.decisions") == before
    states = desk.rows("SELECT queue, state, findings FROM reporting.cases ORDER BY case_id")
    assert [tuple(row) for row in states] == [
        ("general", "closed", 0),
        ("general", "empty", 0),
        ("urgent", "closed", 1),
        ("urgent", "open", 1),
    ], "severity 4 belongs to another queue; what was decided needs no other decision there"


def test_a_label_that_is_found_later_opens_the_case_again(desk):
    video = desk.analyse("a", violence=0.9)
    desk.judge("ann")
    desk.bring(Queues((RESTRICTED, GENERAL)))
    with desk.work.database.begin() as connection:
        prompt_id = desk.work.recipe.prompt_ids["weapons"]
        apply_policy(connection, prompt_id, under(ASKED.prompts[2], band=Band(0.0, 0.005)).policy, made_by="lea")
    apply_changes(desk.work.database)
    assert desk.states() == {"general/a": "open"}
    case = desk.take("bob")
    assert {one.prompt: one.to_decide for one in case.findings} == {"weapons": True, "violence": False}
    assert desk.decide("bob", case).state == "closed"
    assert video == case.findings[0].video_id


def test_a_replaced_video_leaves_nothing_to_judge(desk):
    desk.analyse("a", violence=0.9)
    desk.work.discover(stored("a.mp4", "2"))
    assert list(desk.states().values()) == ["empty"]
    assert desk.take("ann") is None


def test_an_analyst_asks_what_people_said(desk):
    page = (Path(__file__).parents[3] / "docs" / "analysts.md").read_text(encoding="utf-8")
    (query,) = re.findall(r"## What did people say of it\?\n\n```sql\n(.*?)```", page, re.DOTALL)
    desk.analyse("a", violence=0.9)
    desk.analyse("b", violence=0.9)
    assert desk.rows(query) == []
    desk.judge("ann", "reject")
    assert [(row.uri, row.decision) for row in desk.rows(query)] == [("s3://bucket/a.mp4", "reject")]


def test_other_queues_sort_all_cases_again(desk):
    desk.analyse("a", violence=0.9)
    desk.analyse("b", weapons=0.9)
    desk.judge("ann")
    everything = Queues((Queue(name="weapons_only", categories=("weapons",)), Queue(name="rest")))
    assert apply_queues(desk.work.database, everything, made_by="lea")
    rows = desk.rows("SELECT queue, state FROM reporting.cases WHERE findings > 0 ORDER BY case_id")
    assert {tuple(row) for row in rows} == {("rest", "closed"), ("weapons_only", "open")}
    assert not apply_queues(desk.work.database, everything, made_by="lea")
