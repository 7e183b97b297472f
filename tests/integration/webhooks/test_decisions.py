"""A decision that settles a label is an event for webhooks, written in its transaction."""

from __future__ import annotations

from fixtures.work_reviewed import Desk, twice

from nightreel.database.webhooks import NewWebhook, add_webhook
from nightreel.review.bulk import BulkFilter, decide_bulk, preview_bulk

SECRET = "whsec_" + "c2VjcmV0" * 6
NOTE = "a private remark"


def hook(desk: Desk, **wanted) -> int:
    with desk.work.database.begin() as connection:
        return add_webhook(connection, NewWebhook(url="http://127.0.0.1/", secret=SECRET, **wanted))


def events(desk: Desk, webhook_id: int) -> list[dict]:
    rows = desk.rows(
        f"SELECT payload FROM nightreel.webhook_deliveries WHERE webhook_id = {webhook_id} AND type LIKE 'decision%' "
        "ORDER BY id"
    )
    return [row.payload for row in rows]


def test_a_decision_and_its_undoing_are_events_for_each_copy_without_note_and_person(desk):
    webhook_id = hook(desk)
    desk.analyse("a", violence=0.9, content="a" * 64)
    desk.analyse("copy", violence=0.9, content="a" * 64)
    digest = desk.call(preview_bulk, "lea", BulkFilter(queue="general")).digest
    done = desk.call(decide_bulk, "lea", BulkFilter(queue="general"), ruling="reject", note=NOTE, digest=digest)
    told = events(desk, webhook_id)
    assert [event["type"] for event in told] == ["decision.made"] * 2
    assert {event["data"]["uri"] for event in told} == {"s3://bucket/a.mp4", "s3://bucket/copy.mp4"}
    data = told[0]["data"]
    assert (data["prompt"], data["ruling"], data["stage"], data["severity"]) == ("violence", "reject", "first", 2)
    assert data["batch_id"] == str(done.batch_id)
    for secret in (NOTE, "lea", desk["lea"].pseudonym):
        assert secret not in str(told)
    desk.undo("lea", done)
    assert [event["type"] for event in events(desk, webhook_id)[2:]] == ["decision.undone"] * 2


def test_a_decision_that_waits_for_a_second_person_is_not_told(desk):
    webhook_id = hook(desk)
    desk.bring(twice(share=1))
    desk.analyse("a", violence=0.9)
    desk.judge("ann")
    assert events(desk, webhook_id) == []
    desk.judge("bob")
    assert [event["data"]["stage"] for event in events(desk, webhook_id)] == ["second"]


def test_a_webhook_gets_the_decisions_that_it_chose(desk):
    severe, restricted, other = hook(desk, least_severity=3), hook(desk, restricted=True), hook(desk, prompt="weapons")
    desk.analyse("a", violence=0.9)
    desk.analyse("b", gore=0.9)
    desk.judge("ann")
    desk.judge("leo", queue="restricted")
    assert [event["data"]["prompt"] for event in events(desk, restricted)] == ["violence", "gore"]
    assert events(desk, severe) == events(desk, other) == []
