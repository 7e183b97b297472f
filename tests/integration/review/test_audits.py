"""Audits: a random sample of what the machine calls "no", judged like any other case."""

from __future__ import annotations

import pytest
from fixtures.work_reviewed import ASKED, GENERAL, RESTRICTED, twice

from nightreel.domain.queues import Queue, Queues
from nightreel.review.auditing import judged_items, newest_misses, read_audits
from nightreel.review.bulk import BulkFilter, preview_bulk
from nightreel.review.refusals import NotFoundError
from nightreel.settings import Settings
from nightreel.stages.audit import AuditWish, draw_audits, draw_due_audits
from nightreel.stages.sort import apply_queues


def draw(desk, *, sample: int = 100, prompt: str = "violence", **more):
    """Draw an audit of a prompt."""
    wish = AuditWish(sample=sample, made_by="lea", prompt=prompt, **more)
    return [audit_id for _, audit_id in draw_audits(desk.work.database, wish)]


def audits(desk, **more):
    with desk.work.database.begin() as connection:
        return read_audits(connection, **more)


def night(desk, *, clean: int = 6, missed: int = 2):
    """Videos that are flagged, not known, and called "no"; of those, some have p near the threshold."""
    desk.analyse("flagged", violence=0.9)
    desk.analyse("unsure", violence=None)
    for number in range(clean):
        desk.analyse(f"clean-{number}", violence=0.01 + number / 1000)
    for number in range(missed):
        desk.analyse(f"missed-{number}", violence=0.45 + number / 100)


def work_off(desk, who: str = "ann") -> list[str]:
    """Decide all cases: what is flagged or missed is confirmed. Returns the files in their order."""
    seen = []
    while case := desk.take(who):
        name = case.videos[0][1].rsplit("/", 1)[1]
        seen.append(name)
        desk.decide(who, case, "reject" if name.startswith("clean") else "confirm")
    return seen


def test_what_the_machine_calls_no_becomes_cases_and_says_what_was_missed(desk):
    night(desk)
    assert len(draw(desk)) == 1
    assert sorted(desk.states()) == sorted(
        f"general/{name}"
        for name in ("flagged", "unsure", "missed-0", "missed-1", *(f"clean-{number}" for number in range(6)))
    )
    (audit,) = audits(desk)
    assert (audit.name, audit.size, audit.drawn, audit.judged, audit.misses) == ("violence", 10, 10, 0, None)
    assert [stratum.found for stratum in audit.strata][:2] == ["flagged", "unknown"]
    assert sum(stratum.size for stratum in audit.strata if stratum.found == "answered") == 8
    work_off(desk)
    (audit,) = audits(desk)
    assert audit.judged == 10
    misses = audit.misses
    assert (misses.missed.value, misses.missed.low, misses.missed.high) == (2, 2, 2), "all are judged: nothing is open"
    assert misses.prevalence.value == pytest.approx(0.4)
    assert misses.recall.value == pytest.approx(0.5), "of four, two were shown"


def test_a_sample_is_random_and_leaves_the_rest_alone(desk):
    night(desk, clean=30, missed=0)
    draw(desk, sample=8)
    (first,) = audits(desk)
    assert first.drawn == 2 + sum(stratum.drawn for stratum in first.strata if stratum.found == "answered")
    assert 8 <= first.drawn - 2 <= 10, "each stratum gives at least two"
    chosen = {name for name, state in desk.states().items() if state == "open"}
    assert len(chosen) == first.drawn
    draw(desk, sample=8)
    again = {name for name, state in desk.states().items() if state == "open"}
    assert again != chosen, "another seed draws others"
    assert len(again) == len(chosen), "what the first sample asked and nobody judged is asked no more"
    assert [one.ended_at is None for one in audits(desk, ended=True)] == [False, True]


def test_an_item_of_an_audit_looks_like_one_that_is_not_known(desk):
    night(desk, clean=1, missed=0)
    draw(desk)
    shown = {}
    while case := desk.take("ann"):
        (finding,) = case.findings
        shown[case.videos[0][1].rsplit("/", 1)[1]] = (
            finding.found,
            finding.severity,
            finding.p,
            finding.reason,
            finding.ranges,
            finding.first_s,
            len(finding.answer_ids),
            case.state,
            case.version,
            case.queue,
        )
        desk.decide("ann", case)
    assert shown["clean-0.mp4"] == shown["unsure.mp4"]
    assert shown["flagged.mp4"] != shown["unsure.mp4"]
    found = desk.rows("SELECT uri, found, p FROM reporting.decisions ORDER BY decision_id")
    assert {row.uri.rsplit("/", 1)[1]: row.found for row in found}["clean-0.mp4"] == "unknown"
    assert desk.rows("SELECT * FROM reporting.flags WHERE uri LIKE '%clean%'") == [], "it is no flag"


def test_views_show_no_item_of_an_audit_before_it_is_judged(desk):
    night(desk)
    draw(desk)
    assert desk.rows("SELECT * FROM reporting.audit_decisions") == []
    work_off(desk)
    assert len(desk.rows("SELECT * FROM reporting.audit_decisions")) == 10


def test_a_decision_that_is_undone_or_unsure_is_not_judged(desk):
    desk.analyse("clean", violence=0.01)
    draw(desk)
    desk.judge("ann", "unsure")
    assert audits(desk)[0].judged == 0
    desk.bring(Queues((RESTRICTED, GENERAL)))
    desk.analyse("other", violence=0.01)
    draw(desk)
    done = desk.judge("ann", "reject")
    assert audits(desk)[0].judged == 1
    desk.undo("ann", done)
    assert audits(desk)[0].judged == 0


def test_a_case_of_an_audit_stays_when_queues_are_sorted_again(desk):
    video = desk.analyse("clean", violence=0.01)
    draw(desk)
    apply_queues(desk.work.database, Queues((RESTRICTED, Queue(name="rest"))), made_by="lea")
    rows = desk.rows("SELECT queue, state FROM reporting.cases WHERE findings > 0")
    assert [tuple(row) for row in rows] == [("rest", "open")]
    assert desk.take("ann", "rest").findings[0].video_id == video


def test_bulk_decisions_leave_audits_alone(desk):
    night(desk)
    draw(desk)
    assert desk.call(preview_bulk, "lea", BulkFilter(queue="general")).cases == 2, "flagged, unsure"


def test_second_reviews_count_when_they_settle_a_label(desk):
    desk.bring(twice(share=1))
    desk.analyse("clean", violence=0.01)
    draw(desk)
    desk.judge("ann", "reject")
    assert audits(desk)[0].judged == 0
    desk.judge("bob", "reject")
    assert audits(desk)[0].judged == 1


def test_each_label_with_a_flag_has_an_audit_of_its_own(desk):
    night(desk)
    wish = AuditWish(sample=100, made_by="lea")
    drawn = {label.prompt: audit_id for label, audit_id in draw_audits(desk.work.database, wish)}
    assert set(drawn) == {prompt.name for prompt in ASKED.prompts if prompt.policy.flags}
    assert {one.audit_id for one in audits(desk)} == set(drawn.values())
    assert newest_misses(audits(desk), "test/weapons").prompt == "weapons"
    with pytest.raises(NotFoundError, match="'smoke' has no audit"):
        newest_misses(audits(desk), "smoke")


def test_judged_items_stand_for_those_that_were_not_drawn(desk):
    night(desk, clean=40, missed=0)
    draw(desk, sample=10)
    work_off(desk)
    (audit,) = audits(desk)
    with desk.work.database.begin() as connection:
        items = judged_items(connection, audit)
    assert sum(item.weight for item in items) == pytest.approx(42)
    assert max(item.weight for item in items) > 2
    assert sorted(item.positive for item in items)[-2:] == [True, True]


def test_copies_are_one_item(desk):
    for name in ("a", "b"):
        desk.analyse(name, violence=0.01, content="a" * 64)
    draw(desk)
    assert audits(desk)[0].size == 1


def due(desk, **settings) -> str:
    return str(draw_due_audits(Settings(_env_file=None, **settings), desk.work.database))


def test_audits_are_drawn_by_a_schedule_where_a_label_has_none_or_an_old_one(desk):
    night(desk)
    assert due(desk) == "0 audits drawn, 0 labels without a verdict to draw"
    assert audits(desk) == [], "without the setting, only people draw"
    assert due(desk, audit_every_days=30).startswith("3 audits drawn")
    first = {one.name: one.audit_id for one in audits(desk)}
    assert due(desk, audit_every_days=30).startswith("0 audits drawn"), "they are new"
    desk.rows("UPDATE nightreel.audits SET drawn_at = drawn_at - interval '31 days' WHERE id IN "
              f"({first['violence']}) RETURNING id")  # fmt: skip
    assert due(desk, audit_every_days=30).startswith("1 audit drawn")
    second = {one.name: one.audit_id for one in audits(desk)}
    assert {name for name in first if first[name] != second[name]} == {"violence"}
    assert {one.made_by for one in audits(desk)} == {"schedule"}


def test_an_audit_that_a_person_drew_is_not_replaced_before_its_time(desk):
    night(desk)
    draw(desk)
    due(desk, audit_every_days=30)
    assert {one.name: one.made_by for one in audits(desk)}["violence"] == "lea"
