"""Golden items: cases of which the right decision is known, which nobody can tell from others."""

from __future__ import annotations

import pytest
from fixtures.work_reviewed import RESTRICTED, URGENT

from nightreel.domain.queues import Queue, Queues, SecondReview
from nightreel.errors import SettingsError
from nightreel.review.agreement import read_accuracy
from nightreel.review.desk import release, take_case
from nightreel.review.golden import add_golden_item, golden_items, remove_golden_item
from nightreel.review.history import read_history
from nightreel.review.refusals import NotFoundError
from nightreel.review.showing import show_case, show_queues

ALWAYS = Queues((RESTRICTED, URGENT, Queue(name="general", golden_share=1.0)))


@pytest.fixture
def golden(desk):
    """One case that waits, and one golden item that shows violence and no weapon."""
    desk.bring(ALWAYS)
    desk.analyse("waiting", violence=None)
    video = desk.analyse("known", violence=0.02)
    with desk.work.database.begin() as connection:
        add_golden_item(connection, video, {"violence": True, "test/weapons": False}, made_by="lea")
    return desk


def accuracy(desk):
    with desk.work.database.begin() as connection:
        return [(one.prompt, one.judged, one.correct, one.unsure) for one in read_accuracy(connection)]


def test_each_person_gets_an_item_once_in_place_of_a_case_that_waits(golden):
    for who in ("ann", "bob"):
        case = golden.take(who)
        assert case.videos[0][1].endswith("known.mp4")
        golden.decide(who, case)
        waiting = golden.take(who)
        assert waiting.videos[0][1].endswith("waiting.mp4"), "the item was given, now the case"
        golden.call(release, who, waiting.case_id)


def test_an_item_looks_like_a_case_that_waits(golden):
    case, other = golden.take("ann"), golden.take("bob")
    golden.decide("bob", other)
    other = golden.take("bob")
    assert case.case_id != other.case_id
    assert other.videos[0][1].endswith("waiting.mp4")

    def look(one):
        return {
            name: type(getattr(one, name)) if name in ("seconds_left", "taken_until") else getattr(one, name)
            for name in ("queue", "state", "version", "severity", "copies", "mine", "seconds_left", "taken_until")
        } | {"assigned_to": one.assigned_to, "content": len(one.content)}

    assert look(case) == look(other)
    mine = [(one.prompt, one.found, one.p, one.reason, one.ranges, len(one.answer_ids)) for one in case.findings]
    theirs = [(one.prompt, one.found, one.p, one.reason, one.ranges, len(one.answer_ids)) for one in other.findings]
    assert theirs == [one for one in mine if one[0] == "violence"]
    kinds = [entry.what for entry in golden.call(read_history, "ann", case.case_id)]
    assert kinds == ["opened", "taken"]


def test_a_decision_about_an_item_is_about_no_video(golden):
    case = golden.take("ann")
    golden.decide("ann", case, "reject")
    assert golden.rows("SELECT * FROM reporting.decisions") == []
    assert golden.rows("SELECT * FROM reporting.flags WHERE decision IS NOT NULL") == []
    assert [row.uri for row in golden.rows("SELECT uri FROM reporting.cases")] == ["s3://bucket/waiting.mp4"]
    assert golden.rows("SELECT * FROM reporting.agreement") == []
    assert golden.call(show_queues, "bob")[-1].open == 1
    assert accuracy(golden) == [("violence", 1, 0, 0), ("weapons", 1, 1, 0)]


def test_unsure_is_neither_right_nor_wrong(golden):
    golden.decide("ann", golden.take("ann"), "unsure", weapons="reject")
    assert accuracy(golden) == [("violence", 0, 0, 1), ("weapons", 1, 1, 0)]


def test_the_first_decision_about_an_item_counts_though_it_is_undone(golden):
    case = golden.take("ann")
    done = golden.decide("ann", case, "reject")
    golden.undo("ann", done)
    assert accuracy(golden) == [("violence", 1, 0, 0), ("weapons", 1, 1, 0)]
    golden.call(take_case, "ann", case.case_id)
    golden.decide("ann", golden.call(show_case, "ann", case.case_id), "confirm")
    assert accuracy(golden) == [("violence", 1, 0, 0), ("weapons", 1, 1, 0)]


def test_nobody_else_sees_the_case_of_an_item_and_it_needs_no_second_person(golden):
    golden.bring(
        Queues((RESTRICTED, URGENT, Queue(name="general", golden_share=1, second_review=SecondReview(share=1))))
    )
    case = golden.take("ann")
    for operation in (show_case, take_case):
        with pytest.raises(NotFoundError, match="there is no case"):
            golden.call(operation, "leo", case.case_id)
    assert golden.decide("ann", case).state == "closed"


def test_an_item_comes_only_while_a_case_waits(desk):
    desk.bring(ALWAYS)
    video = desk.analyse("known", violence=0.02)
    with desk.work.database.begin() as connection:
        add_golden_item(connection, video, {"violence": True}, made_by="lea")
    assert desk.take("ann") is None, "an empty queue that has a case would be noticed"


def test_a_released_item_does_not_come_back_nor_wait_for_others(golden):
    case = golden.take("ann")
    golden.call(release, "ann", case.case_id)
    assert golden.call(show_queues, "ann")[-1].open == 1
    assert golden.take("ann").videos[0][1].endswith("waiting.mp4")


def test_an_item_needs_labels_that_people_judge(desk):
    video = desk.analyse("known")
    with desk.work.database.begin() as connection:
        with pytest.raises(SettingsError, match="'gun' is no label"):
            add_golden_item(connection, video, {"gun": True}, made_by="lea")
        with pytest.raises(SettingsError, match="no label"):
            add_golden_item(connection, video, {}, made_by="lea")


def test_a_removed_item_is_given_to_nobody(golden):
    with golden.work.database.begin() as connection:
        (item,) = golden_items(connection)
        assert (item.labels, item.given) == ({"violence": True, "weapons": False}, 0)
        remove_golden_item(connection, item.golden_id)
        with pytest.raises(NotFoundError):
            remove_golden_item(connection, item.golden_id)
    assert golden.take("ann").videos[0][1].endswith("waiting.mp4")
