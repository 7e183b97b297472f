"""How far people agree: second reviews that stand."""

from __future__ import annotations

from fixtures.work_reviewed import twice

from nightreel.review.agreement import read_agreement


def agreement(desk):
    with desk.work.database.begin() as connection:
        return [(one.prompt, one.labels, one.agreed, one.alpha) for one in read_agreement(connection)]


def test_alpha_is_that_of_second_reviews_that_stand(desk):
    desk.bring(twice(share=1))
    for name in ("a", "b", "c"):
        desk.analyse(name, violence=0.9)
    assert agreement(desk) == []
    first = {}
    for ruling in ("confirm", "reject", "reject"):
        case = desk.take("ann")
        first[case.case_id] = ruling
        desk.decide("ann", case, ruling)
    assert agreement(desk) == [], "one person alone"
    for ruling in ("confirm", "reject", "confirm"):
        last = desk.decide("bob", desk.take("bob"), ruling)
    assert agreement(desk) == [("violence", 3, 2, 0.4444444444444444)]
    rows = desk.rows("SELECT first_ruling, second_ruling, agreed FROM reporting.agreement ORDER BY decision_id")
    assert [tuple(row) for row in rows] == [
        ("confirm", "confirm", True),
        ("reject", "reject", True),
        ("reject", "confirm", False),
    ]
    desk.undo("bob", last)
    assert agreement(desk) == [("violence", 2, 2, 1.0)]


def test_what_a_lead_decides_is_no_second_review(desk):
    desk.analyse("a", violence=0.9)
    desk.judge("ann", "escalate")
    desk.judge("lea")
    assert agreement(desk) == []
