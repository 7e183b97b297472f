"""What a reviewer's browser asks the console for: how much of Postgres it costs, and what it says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sqlalchemy import event

from nightreel.domain.queues import Queue, Queues

if TYPE_CHECKING:
    from fixtures.work_signed_in import Client
    from fixtures.work_signed_in_desk import Reviewing

HTMX = {"HX-Request": "true", "Sec-Fetch-Site": "same-origin"}


@contextmanager
def counted(reviewing: Reviewing) -> Iterator[list[str]]:
    """The statements and commits of the console."""
    assert reviewing.desk is not None
    seen: list[str] = []
    listeners = {
        "before_cursor_execute": lambda connection, cursor, statement, *more: seen.append(statement),  # noqa: ARG005
        "commit": lambda connection: seen.append("COMMIT"),  # noqa: ARG005
    }
    for name, listener in listeners.items():
        event.listen(reviewing.desk.console.engine, name, listener)
    yield seen
    for name, listener in listeners.items():
        event.remove(reviewing.desk.console.engine, name, listener)


def take(client: Client) -> str:
    """Take the next case. Returns its path."""
    return client.submit("/review/queues/general/take").headers["Location"]


def decision(client: Client, path: str) -> dict[str, str]:
    """The form of a case, with a ruling for each label."""
    page = client.get(path).text
    fields = dict(re.findall(r'name="(csrf_token|version)" value="([^"]*)"', page))
    return fields | dict.fromkeys(re.findall(r'name="(ruling:[^"]*)"', page), "confirm")


def test_a_decision_with_the_next_case_is_two_transactions_and_few_statements(reviewing: Reviewing):
    reviewing.flagged(3)
    with reviewing.client("ann") as client:
        path = take(client)
        form = decision(client, path)
        with counted(reviewing) as seen:
            reply = client.post(f"{path}/decide", data=form, headers=HTMX)
        assert reply.headers["HX-Push-Url"] != path
    assert seen.count("COMMIT") == 3, "who asks, the decision with the next case, and that the case is on show"
    assert len(seen) - seen.count("COMMIT") <= 21, seen


def test_taking_a_case_is_one_statement_beside_the_queues(reviewing: Reviewing):
    reviewing.flagged(1)
    assert reviewing.desk is not None
    with counted(reviewing) as seen:
        case = reviewing.desk.take("ann")
    assert case is not None
    taking = [one for one in seen if "nightreel.case_events" in one and "INSERT" in one]
    assert len(taking) == 1
    assert "SKIP LOCKED" in taking[0]
    assert seen.index(taking[0]) == 1


def test_a_decision_counts_though_its_queue_is_gone_and_there_is_no_next_case_of_it(reviewing: Reviewing):
    reviewing.flagged(2)
    with reviewing.client("ann") as client:
        path = take(client)
        form = decision(client, path)
        reviewing.desk.bring(Queues((Queue(name="other"),)))
        reply = client.post(f"{path}/decide", data=form, headers=HTMX)
        assert reply.headers["HX-Redirect"] == "/review?done=general"
        assert client.get("/review?done=general").status_code == 200
    assert len(reviewing.desk.rows("SELECT FROM nightreel.decisions")) == 1
