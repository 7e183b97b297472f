"""What a reviewer's browser asks the console for: how much of Postgres it costs, and what it says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import event, text

from nightreel.database.users import change_user
from nightreel.domain.queues import Queue, Queues

if TYPE_CHECKING:
    from fixtures.work_signed_in import Client
    from fixtures.work_signed_in_desk import Reviewing
    from httpx import Response

SAME_SITE = {"Sec-Fetch-Site": "same-origin"}
HTMX = SAME_SITE | {"HX-Request": "true"}
PROBLEM = re.compile(r'<p class="card problem" role="alert">([^<]*)')


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


def problem_of(reply: Response) -> str:
    """The sentence that a page says why."""
    found = PROBLEM.search(reply.text)
    assert found, reply.text
    return found[1].strip()


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


ON_A_CASE = {
    "decide": {},
    "extend": {},
    "release": {},
    "skip": {},
    "hold": {"hours": "1"},
    "assign": {"to": "bob"},
    "take": {},
}


@pytest.mark.parametrize("action", ON_A_CASE)
def test_who_comes_too_late_sees_the_case_as_it_is_now_with_a_sentence(reviewing: Reviewing, action: str):
    reviewing.flagged(1)
    with reviewing.client("ann") as client, reviewing.client("bob") as other:
        path = take(client)
        form = decision(client, path)
        late = {name: value for name, value in form.items() if action == "decide" or name == "csrf_token"}
        client.post(f"{path}/release", data=form, headers=SAME_SITE)
        assert take(other) == path
        other.post(f"{path}/decide", data=decision(other, path), headers=SAME_SITE)
        reply = client.post(f"{path}/{action}", data=late | ON_A_CASE[action], headers=SAME_SITE)
    said = problem_of(reply)
    assert reply.status_code in (403, 409)
    assert said
    assert 'class="case' in reply.text, "the case is on show"
    assert 'href="/review"' in reply.text, "and the way on"


def test_undo_without_a_decision_says_so_on_the_page_of_queues(reviewing: Reviewing):
    with reviewing.client("ann") as client:
        reply = client.submit("/review/undo")
        assert problem_of(reply) == "ann has no decision to undo"
        assert "<h2>Queues</h2>" in reply.text


def test_a_queue_that_is_gone_says_so_on_the_page_of_queues(reviewing: Reviewing):
    with reviewing.client("ann") as client:
        reply = client.submit("/review/queues/nowhere/take")
        assert "no queue that ann works" in problem_of(reply)
        assert "<h2>Queues</h2>" in reply.text


def test_a_case_is_not_kept_for_somebody_who_is_disabled_or_unknown_and_stays_on_show(reviewing: Reviewing):
    reviewing.flagged(1)
    with reviewing.owner.begin() as connection:
        change_user(connection, "bob", disabled=True)
    with reviewing.client("ann") as client:
        path = take(client)
        for name, said in (("bob", "bob may not work on case"), ("nobody", "there is no user &#39;nobody&#39;")):
            reply = client.submit(f"{path}/assign", to=name)
            assert said in problem_of(reply)
            assert "Decide, then the next case" in reply.text, "the case is still the person's"


def test_an_appeal_of_a_case_that_is_open_again_says_so(reviewing: Reviewing):
    reviewing.flagged(1)
    with reviewing.client("ann") as client:
        path = take(client)
        reply = client.submit(f"{path}/appeal", reason="a play")
        assert "only a closed case can be reopened" in problem_of(reply)


def test_a_case_that_became_restricted_sends_the_person_to_the_queues(reviewing: Reviewing):
    reviewing.flagged(1)
    with reviewing.client("ann") as client:
        path = take(client)
        form = decision(client, path)
        with reviewing.owner.begin() as connection:
            connection.execute(text("UPDATE nightreel.videos SET restricted = true"))
        whole = client.post(f"{path}/decide", data=form, headers=SAME_SITE)
        assert "<h2>Queues</h2>" in whole.text
        assert "there is no case" in problem_of(whole)
        part = client.post(f"{path}/decide", data=form, headers=HTMX)
        assert "there is no case" in problem_of(part)
        assert part.text.startswith('<div id="case"'), "htmx puts it in the place of the case"
        assert 'href="/review"' in part.text
