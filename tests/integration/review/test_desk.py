"""Taking cases: two people never get one, none is lost, and a lock ends by itself."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from fixtures.work_reviewed import RESTRICTED, URGENT
from sqlalchemy import text

from nightreel.database.users import add_user, change_user
from nightreel.domain.queues import Queue, Queues
from nightreel.domain.users import Role
from nightreel.errors import SettingsError
from nightreel.review.desk import assign, extend, hold, release, skip, take_case, take_next, why_nothing
from nightreel.review.refusals import ConflictError, NotAllowedError, NotFoundError
from nightreel.review.showing import show_case, show_queues


def short_locks(desk, seconds: float) -> None:
    desk.bring(Queues((RESTRICTED, URGENT, Queue(name="general", lock_minutes=seconds / 60))))


def uri_of(case) -> str:
    return case.videos[0][1].rsplit("/", 1)[-1]


def test_eight_people_at_the_same_time_get_each_case_once(desk):
    for number in range(40):
        desk.analyse(f"v{number:02}", violence=0.9)
    with desk.work.database.begin() as connection:
        people = [add_user(connection, f"person-{number}", role=Role.REVIEWER) for number in range(8)]
    start = threading.Barrier(8)

    def work_off(person) -> list[int]:
        desk.people[person.name] = person
        taken = []
        start.wait()
        while (case := desk.take(person.name)) is not None:
            taken.append(case.case_id)
            desk.decide(person.name, case)
        return taken

    with ThreadPoolExecutor(8) as pool:
        taken = [case_id for cases in pool.map(work_off, people) for case_id in cases]
    assert sorted(taken) == sorted(set(taken)), "none twice"
    assert len(taken) == 40, "none lost"
    assert Counter(desk.states().values()) == {"closed": 40}
    assert [row.n for row in desk.rows("SELECT count(*) AS n FROM nightreel.decisions")] == [40]


def test_a_case_is_taken_by_one_of_two_transactions_that_overlap(desk):
    desk.analyse("a", violence=0.9)
    with desk.console.begin() as first:
        assert take_next(first, desk["ann"], "general") is not None
        with desk.console.begin() as second:
            second.execute(text("SET LOCAL lock_timeout = '2s'"))
            assert take_next(second, desk["bob"], "general") is None, "it is passed over, and nobody waits"


def test_a_lock_expires_to_the_second_and_the_next_person_gets_the_case(desk):
    short_locks(desk, 1.5)
    desk.analyse("a", violence=0.9)
    case = desk.take("ann")
    assert 0 < case.seconds_left <= 1.5
    assert desk.take("bob") is None
    desk.rows(f"SELECT pg_sleep({case.seconds_left - 0.3})")
    assert desk.take("bob") is None, "it has not expired yet"
    desk.rows("SELECT pg_sleep(0.4)")
    assert desk.take("bob").case_id == case.case_id
    with pytest.raises(ConflictError, match="somebody else has it"):
        desk.decide("ann", case)
    assert desk.decide("bob", case).state == "closed"


def test_an_expired_lock_decides_nothing(desk):
    short_locks(desk, 0.2)
    desk.analyse("a", violence=0.9)
    case = desk.take("ann")
    desk.rows("SELECT pg_sleep(0.3)")
    with pytest.raises(ConflictError, match="the time ran out"):
        desk.decide("ann", case)
    assert desk.rows("SELECT * FROM nightreel.decisions") == []


def test_extending_starts_the_time_again(desk):
    short_locks(desk, 2)
    desk.analyse("a", violence=0.9)
    case = desk.take("ann")
    desk.rows("SELECT pg_sleep(1)")
    desk.call(extend, "ann", case.case_id)
    with desk.console.begin() as connection:
        assert show_case(connection, desk["ann"], case.case_id).seconds_left > 1.5
    with pytest.raises(ConflictError):
        desk.call(extend, "bob", case.case_id)


def test_a_person_with_a_case_gets_the_same_again(desk):
    desk.analyse("a", violence=0.9)
    desk.analyse("b", violence=0.9)
    first = desk.take("ann")
    assert desk.take("ann").case_id == first.case_id, "a client that died goes on where it was"
    assert desk.take("bob").case_id != first.case_id


def test_the_worst_case_comes_first_then_the_oldest(desk):
    desk.bring(Queues((Queue(name="general"),)))
    for name, found in (("mild", {"violence": 0.9}), ("worse", {"weapons": 0.9}), ("mild2", {"violence": 0.9})):
        desk.analyse(name, **found)
    order = []
    while (case := desk.take("cleo")) is not None:
        order.append(uri_of(case))
        desk.decide("cleo", case)
    assert order == ["worse.mp4", "mild.mp4", "mild2.mp4"]


def test_released_and_skipped_cases(desk):
    desk.analyse("a", violence=0.9)
    desk.analyse("b", violence=0.9)
    case = desk.take("ann")
    desk.call(release, "ann", case.case_id)
    assert desk.take("ann").case_id == case.case_id
    desk.call(skip, "ann", case.case_id)
    other = desk.take("ann")
    assert other.case_id != case.case_id
    assert desk.take("bob").case_id == case.case_id, "others get it"
    desk.decide("ann", other)
    assert desk.take("ann") is None
    assert "1 case skipped by you" in desk.call(why_nothing, "ann", "general")
    desk.call(release, "bob", case.case_id)
    desk.call(take_case, "ann", case.case_id)
    desk.decide("ann", case)


def test_a_case_on_hold_waits_until_its_time(desk):
    desk.analyse("a", violence=0.9)
    case = desk.take("ann")
    with pytest.raises(SettingsError, match="is over"):
        desk.call(hold, "ann", case.case_id, until=datetime.now(UTC) - timedelta(minutes=1))
    until = datetime.now(UTC) + timedelta(seconds=1.5)
    desk.call(hold, "ann", case.case_id, until=until)
    assert desk.take("bob") is None
    assert [queue.held for queue in desk.call(show_queues, "ann") if queue.name == "general"] == [1]
    desk.rows("SELECT pg_sleep(1.6)")
    assert desk.take("bob").case_id == case.case_id


def test_a_closed_case_is_not_skipped_held_or_assigned(desk):
    desk.analyse("a", violence=0.9)
    desk.judge("ann")
    case_id = desk.rows("SELECT case_id FROM reporting.cases")[0].case_id
    until = datetime.now(UTC) + timedelta(hours=1)
    for operation, more in ((skip, {}), (hold, {"until": until}), (assign, {"to": desk["bob"]}), (take_case, {})):
        with pytest.raises(ConflictError, match="nothing to decide"):
            desk.call(operation, "lea", case_id, **more)


def test_an_assigned_case_is_for_that_person_alone(desk):
    desk.analyse("a", violence=0.9)
    case_id = desk.rows("SELECT case_id FROM reporting.cases")[0].case_id
    with pytest.raises(NotAllowedError, match="needs a lead"):
        desk.call(assign, "ann", case_id, to=desk["bob"])
    desk.call(assign, "lea", case_id, to=desk["bob"])
    assert desk.take("ann") is None
    with pytest.raises(ConflictError, match="kept for somebody else"):
        desk.call(take_case, "ann", case_id)
    case = desk.take("bob")
    desk.call(assign, "bob", case_id, to=desk["ann"])
    assert case.mine
    assert desk.take("ann").case_id == case_id, "who has a case may hand it over"
    with pytest.raises(NotAllowedError):
        desk.call(assign, "lea", case_id, to=desk["vera"])


def test_a_viewer_and_a_disabled_person_work_no_queue(desk):
    desk.analyse("a", violence=0.9)
    with pytest.raises(NotFoundError, match="is no queue that vera works"):
        desk.take("vera")
    with desk.work.database.begin() as connection:
        desk.people["ann"] = change_user(connection, "ann", disabled=True)
    with pytest.raises(NotFoundError):
        desk.take("ann")
    assert desk.call(show_queues, "ann") == []


def test_a_queue_is_worked_by_the_people_it_names(desk):
    desk.bring(Queues((RESTRICTED, URGENT, Queue(name="general", people=("bob",)))))
    desk.analyse("a", violence=0.9)
    with pytest.raises(NotFoundError):
        desk.take("ann")
    assert desk.take("bob") is not None


def test_the_restricted_lane_is_only_for_those_allowed(desk):
    desk.analyse("a", violence=0.9, gore=0.9)
    with pytest.raises(NotFoundError):
        desk.take("ann", "restricted")
    assert desk.take("ann") is None, "its video is restricted, whatever the queue"
    for case_id in (row.case_id for row in desk.rows("SELECT case_id FROM reporting.cases")):
        for operation in (take_case, show_case):
            with pytest.raises(NotFoundError) as found:
                desk.call(operation, "ann", case_id)
            with pytest.raises(NotFoundError) as missing:
                desk.call(operation, "ann", 999)
            assert str(found.value).replace(str(case_id), "N") == str(missing.value).replace("999", "N")
    case = desk.take("cleo", "restricted")
    assert [one.prompt for one in case.findings] == ["gore"]
    with pytest.raises(NotAllowedError):
        desk.call(assign, "cleo", case.case_id, to=desk["ann"])
