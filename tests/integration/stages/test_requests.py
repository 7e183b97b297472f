"""Requests: the console only asks, and a process of the worker's role carries out what a lead may ask for."""

from __future__ import annotations

import pytest
from sqlalchemy import insert, text

from nightreel.database import schema
from nightreel.database.requests import add_request, list_requests
from nightreel.domain.requests import ChangeBackfill, MoveThreshold, RetryFailures
from nightreel.errors import PermanentError
from nightreel.stages.requests import carry_out_requests


def ask(desk, who, wish) -> None:
    with desk.console.begin() as connection:
        add_request(connection, desk[who], wish)


def outcomes(desk) -> list[tuple[str | None, bool]]:
    with desk.console.begin() as connection:
        return [(one.outcome, one.failed) for one in reversed(list_requests(connection, limit=100))]


def in_force(desk, prompt="violence"):
    (row,) = desk.rows(
        f"SELECT policy_id, prompt_id, definition FROM reporting.policies WHERE in_force AND prompt = '{prompt}'"
    )
    return row


def flagged(desk) -> list[str]:
    return [row.uri for row in desk.rows("SELECT uri FROM reporting.flags WHERE found = 'flagged' ORDER BY uri")]


def move(desk, threshold, doubt=0.0) -> MoveThreshold:
    row = in_force(desk)
    return MoveThreshold(prompt_id=row.prompt_id, policy_id=row.policy_id, threshold=threshold, doubt=doubt)


def test_a_new_threshold_changes_flags_when_it_is_carried_out_and_not_before(desk):
    desk.analyse("a", violence=0.6)
    desk.analyse("b", violence=0.9)
    ask(desk, "lea", move(desk, 0.8))
    assert len(flagged(desk)) == 2
    done = carry_out_requests(desk.work.database)
    assert (done.done, done.refused) == (1, 0)
    assert [uri.rsplit("/", 1)[-1] for uri in flagged(desk)] == ["b.mp4"]
    assert in_force(desk).definition["band"] == [0.8, 0.8]
    assert carry_out_requests(desk.work.database).done == 0


def test_a_threshold_of_an_outdated_preview_is_refused(desk):
    desk.analyse("a", violence=0.6)
    first, second = move(desk, 0.8), move(desk, 0.7)
    ask(desk, "lea", first)
    ask(desk, "leo", second)
    carry_out_requests(desk.work.database)
    (_, failed), (outcome, refused) = outcomes(desk)
    assert (failed, refused) == (False, True)
    assert "preview it again" in str(outcome)
    assert in_force(desk).definition["band"] == [0.8, 0.8]


@pytest.mark.parametrize("who", ["ann", "vera"])
def test_who_leads_nobody_gets_nothing(desk, who):
    desk.analyse("a", violence=0.6)
    ask(desk, who, move(desk, 0.8))
    carry_out_requests(desk.work.database)
    ((outcome, failed),) = outcomes(desk)
    assert failed
    assert "needs a lead" in str(outcome)
    assert in_force(desk).definition["band"] == [0.5, 0.5]


def test_failed_videos_are_pending_again(desk):
    desk.analyse("a")
    with desk.work.database.begin() as connection:
        connection.execute(text("UPDATE nightreel.analyses SET status = 'failed', reason = 'no_index'"))
    ask(desk, "lea", RetryFailures(reason="storage_unreachable"))
    carry_out_requests(desk.work.database)
    assert [row.status for row in desk.rows("SELECT status FROM nightreel.analyses")] == ["failed"]
    ask(desk, "lea", RetryFailures(reason="no_index"))
    carry_out_requests(desk.work.database)
    assert [row.status for row in desk.rows("SELECT status FROM nightreel.analyses")] == ["pending"]


def test_the_same_request_waits_once_and_a_backfill_that_does_not_exist_is_an_outcome(desk):
    for _ in range(2):
        ask(desk, "lea", ChangeBackfill(backfill_id=7, action="pause"))
    carry_out_requests(desk.work.database)
    ((outcome, failed),) = outcomes(desk)
    assert failed
    assert "there is no backfill 7" in str(outcome)


@pytest.mark.parametrize(
    ("kind", "detail"),
    [
        ("backfill", {"backfill_id": "7; DROP TABLE", "action": "pause"}),
        ("backfill", {"backfill_id": 7, "action": "delete"}),
        ("policy", {"prompt_id": 1, "policy_id": 1, "threshold": 7, "doubt": 0}),
        ("policy", {"prompt_id": 1, "policy_id": 1, "threshold": "0.5", "doubt": 0}),
        ("policy", {"prompt_id": 1}),
        ("retry", {"reason": {"a": 1}}),
        ("retry", []),
    ],
)
def test_a_row_that_no_page_writes_is_refused_and_the_next_one_is_carried_out(desk, kind, detail):
    with desk.console.begin() as connection:
        connection.execute(insert(schema.requests).values(kind=kind, detail=detail, user_id=desk["lea"].id))
    ask(desk, "lea", RetryFailures(reason=None))
    assert str(carry_out_requests(desk.work.database)).startswith("1 request carried out, 1 refused")


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE nightreel.requests SET outcome = 'done', ended_at = now()",
        "DELETE FROM nightreel.requests",
        "INSERT INTO nightreel.requests (kind, detail, user_id, outcome) VALUES ('retry', '{}', 1, 'x')",
        "UPDATE nightreel.policies SET made_by = 'x'",
        "UPDATE nightreel.prompts SET policy_id = policy_id",
        "UPDATE nightreel.analyses SET status = 'pending'",
    ],
)
def test_the_role_of_the_console_asks_and_does_nothing_itself(desk, statement):
    ask(desk, "lea", RetryFailures(reason=None))
    with pytest.raises(PermanentError, match="permission denied"), desk.console.begin() as connection:
        connection.execute(text(statement))
