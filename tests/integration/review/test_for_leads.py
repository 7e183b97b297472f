"""What leads see beside the queues: both sides of a disagreement, how much is decided, and calibration."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from fixtures.work_reviewed import twice

from nightreel.review.calibrating import calibratable, read_calibration
from nightreel.review.desk import look_ahead
from nightreel.review.disagreeing import list_disagreements
from nightreel.review.exposure import break_is_due
from nightreel.review.pace import read_pace
from nightreel.review.refusals import NotAllowedError
from nightreel.review.showing import show_queues


def disagreeing(desk, **analysed) -> None:
    """A case on which ann and bob disagree."""
    desk.bring(twice(min_severity=1))
    desk.analyse("a", violence=0.9, **analysed)
    desk.judge("ann", "confirm")
    desk.judge("bob", "reject")


def test_a_lead_sees_what_both_said(desk):
    disagreeing(desk)
    (found,) = desk.call(list_disagreements, "lea")
    assert (found.queue, found.state) == ("general", "escalated")
    said = [(one.who, one.stage, one.ruling) for one in found.said["violence"]]
    assert said == [(desk["ann"].pseudonym, "first", "confirm"), (desk["bob"].pseudonym, "second", "reject")]


def test_a_decision_that_waits_for_a_second_person_and_an_undone_one_are_not_shown(desk):
    desk.bring(twice(min_severity=1))
    desk.analyse("a", violence=0.9)
    first = desk.judge("ann", "confirm")
    assert desk.call(list_disagreements, "lea") == []
    desk.undo("ann", first)
    desk.judge("ann", "escalate")
    (found,) = desk.call(list_disagreements, "lea")
    assert [one.ruling for one in found.said["violence"]] == ["escalate"]


def test_a_restricted_case_does_not_exist_for_a_lead_who_may_not_see_it(desk):
    desk.bring(twice(min_severity=1))
    desk.analyse("a", violence=0.9, gore=0.9)
    desk.judge("cleo", "escalate")
    assert desk.call(list_disagreements, "lea") == []
    assert [one.queue for one in desk.call(list_disagreements, "leo")] == ["general"]


@pytest.mark.parametrize("who", ["ann", "vera"])
def test_others_get_none_of_it(desk, who):
    disagreeing(desk)
    with pytest.raises(NotAllowedError):
        desk.call(list_disagreements, who)
    with pytest.raises(NotAllowedError):
        desk.call(read_pace, who, days=7, time_zone="UTC")


def test_the_pace_names_queues_and_days_and_nobody(desk):
    for name in ("a", "b", "c"):
        desk.analyse(name, violence=0.9)
    desk.judge("ann")
    desk.judge("bob")
    desk.undo("bob", desk.judge("bob", "reject"))
    (row,) = desk.call(read_pace, "lea", days=7, time_zone="UTC")
    assert (row.queue, row.cases, row.labels, row.confirmed, row.undone) == ("general", 3, 3, 2, 1)
    assert row.day == datetime.now(UTC).date()
    assert row.median_s is not None
    assert not any(person.name in str(row) or person.pseudonym in str(row) for person in desk.people.values())


def test_the_calibration_counts_what_people_decided_by_the_probability_that_was_on_show(desk):
    for index, p in enumerate((0.55, 0.65, 0.95, 0.96)):
        desk.analyse(f"v{index}", violence=p)
    for ruling in ("reject", "reject", "confirm", "confirm"):
        desk.judge("ann", ruling)
    prompt_id, prompt = next(
        (key, one) for key, one in desk.call(lambda c, _: calibratable(c), "lea").items() if one.name == "violence"
    )
    found = desk.call(read_calibration, "lea", prompt_id, prompt)
    assert found.judged == 4
    assert [(one.low, one.count, one.positive.value) for one in found.table.bins] == [
        (0.5, 1, 0.0),
        (0.6, 1, 0.0),
        (0.9, 2, 1.0),
    ]
    assert sum(found.answers) == 4


def test_a_break_is_due_after_each_so_many_severe_cases_and_once(desk):
    for index in range(4):
        desk.analyse(f"v{index}", weapons=0.9)  # severity 4
    desk.analyse("mild", violence=0.9)

    def due(after=2, pause_minutes=10):
        return desk.call(break_is_due, "ann", after=after, pause_minutes=pause_minutes)

    seen = []
    for _ in range(4):
        desk.judge("ann", queue="urgent")
        seen.append(due())
    assert seen == [None, 2, None, 4]
    assert due(after=0) is None
    assert due(pause_minutes=0) is None, "a pause of any length is a pause"
    desk.judge("ann")
    assert due() is None, "the person went on"


def test_looking_ahead_shows_the_next_case_and_takes_nothing(desk):
    desk.analyse("a", violence=0.9)
    desk.analyse("b", violence=0.9)
    mine = desk.take("ann")
    ahead = desk.call(look_ahead, "ann", "general")
    assert ahead not in (None, mine.case_id)
    assert desk.take("bob").case_id == ahead
    assert desk.call(look_ahead, "ann", "general") is None
    (general,) = [one for one in desk.call(show_queues, "ann") if one.name == "general"]
    assert (general.open, general.taken, general.oldest_at) == (2, 2, None)
