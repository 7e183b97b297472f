"""Events reach their receivers: signed, again after failures, never lost, never two at the same time."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from email.utils import formatdate
from pathlib import Path

import pytest
from fixtures.judged import yes_no
from fixtures.receiver import Got, Receiver, receiving
from fixtures.work import Work, stored
from fixtures.work_answers import analyse, answered, window
from integration.webhooks.test_events import GUN, NUDITY, move
from sqlalchemy import text

from nightreel.database.webhooks import NewWebhook, add_webhook, list_webhooks, retry_dead, rotate_secret
from nightreel.domain import PromptSet
from nightreel.metrics import metrics_text
from nightreel.settings import Settings, child_environment
from nightreel.stages import deliver
from nightreel.stages.deliver import Delivered, deliver_due
from nightreel.webhooks import new_secret

SETTINGS = Settings(_env_file=None)


@pytest.fixture
def work(open_work) -> Work:
    return open_work(prompts=PromptSet("test", (GUN, NUDITY)))


def hook(work: Work, receiver: Receiver, **wanted) -> int:
    receiver.secret = new_secret()
    with work.database.begin() as connection:
        return add_webhook(connection, NewWebhook(url=receiver.url, secret=receiver.secret, **wanted))


def flag(work: Work, count: int = 1) -> None:
    """Analyse new videos with a flag."""
    work.discover(*(stored(f"{time.monotonic_ns()}-{number}.mp4") for number in range(count)))
    for claim in work.claim(segments=1000):
        answers = yes_no(GUN.question, 0.9), yes_no(NUDITY.question, 0.01)
        analyse(work, claim, answered(claim, window(0), *answers), expected_s=30.0)


def pass_(work: Work, **settings) -> Delivered:
    return deliver_due(work.database, SETTINGS.model_copy(update=settings))


def rows(work: Work, columns: str = "state, attempts, status, error") -> list[tuple]:
    with work.database.begin() as connection:
        query = f"SELECT {columns} FROM nightreel.webhook_deliveries ORDER BY id"
        return [tuple(row) for row in connection.execute(text(query))]


def make_due(work: Work) -> None:
    """Move on to the next attempts."""
    with work.database.begin() as connection:
        connection.execute(text("UPDATE nightreel.webhook_deliveries SET next_at = now()"))


def test_an_event_arrives_once_with_a_genuine_signature(work, receiver):
    hook(work, receiver)
    flag(work, 3)
    assert pass_(work) == Delivered(delivered=3)
    assert pass_(work) == Delivered()
    assert all(one.is_genuine for one in receiver.got)
    assert len({one.id for one in receiver.got}) == 3
    assert {one.event["data"]["event_id"] for one in receiver.got} == {one.id for one in receiver.got}
    assert {one.headers["content-type"] for one in receiver.got} == {"application/json"}
    assert rows(work) == [("delivered", 1, 204, None)] * 3


def test_a_failed_attempt_is_repeated_later_and_later_with_the_same_id(work, receiver):
    hook(work, receiver)
    flag(work)
    receiver.answers(503)
    waits = []
    for _ in range(4):
        assert pass_(work) == Delivered(failed=1)
        assert pass_(work) == Delivered(), "it is not due yet"
        (wait_s,) = rows(work, "extract(epoch FROM next_at - now())::float8")[0]
        waits.append(wait_s)
        make_due(work)
    for number, wait_s in enumerate(waits):
        longest_s = 20 * 4**number
        assert longest_s / 2 - 5 <= wait_s <= longest_s
    receiver.answers(200)
    assert pass_(work) == Delivered(delivered=1)
    assert len({one.id for one in receiver.got}) == 1
    assert len(receiver.got) == 5
    assert all(one.is_genuine for one in receiver.got), "each attempt has its own time, and is signed"
    assert rows(work) == [("delivered", 5, 200, None)]


def test_after_the_last_attempt_it_is_dead_and_a_person_can_repeat_it(work, receiver, database_url):
    webhook_id = hook(work, receiver)
    flag(work)
    receiver.answers(500)
    for _ in range(2):
        pass_(work, webhook_attempts=3)
        make_due(work)
    assert pass_(work, webhook_attempts=3) == Delivered(dead=1)
    assert rows(work) == [("dead", 3, 500, "the receiver answered 500")]
    make_due(work)
    assert pass_(work) == Delivered()
    assert 'nightreel_webhook_deliveries{state="dead"} 1.0' in metrics_text(SETTINGS, database=work.database)
    receiver.answers(200)
    with work.database.begin() as connection:
        assert retry_dead(connection) == 1
        assert list_webhooks(connection)[0].waiting == 1
    assert pass_(work) == Delivered(delivered=1)
    assert receiver.got[-1].id == receiver.got[0].id
    with work.database.begin() as connection:
        (one,) = list_webhooks(connection)
    assert (one.id, one.delivered, one.dead) == (webhook_id, 1, 0)


def test_a_receiver_that_is_gone_gets_nothing_more_until_a_person_enables_it(work, receiver):
    webhook_id = hook(work, receiver)
    flag(work, 4)
    receiver.answers(410)
    deliver_due(work.database, SETTINGS, threads=1)
    assert len(receiver.got) == 1
    assert [row[0] for row in rows(work)] == ["dead"] * 4
    flag(work)
    assert len(rows(work)) == 4, "a disabled webhook gets no new events"
    with work.database.begin() as connection:
        assert "410 Gone" in list_webhooks(connection)[0].disabled
        assert retry_dead(connection) == 0, "it is disabled, and was not named"
        assert retry_dead(connection, webhook_id) == 4
    receiver.answers(200)
    assert pass_(work).delivered == 4


@pytest.mark.parametrize(
    ("status", "said", "least_s", "most_s"),
    [
        pytest.param(429, "600", 590, 601, id="seconds"),
        pytest.param(503, lambda: formatdate(time.time() + 600, usegmt=True), 590, 601, id="a date"),
        pytest.param(503, "99999999", 3590, 3601, id="no longer than an hour"),
        pytest.param(503, "9" * 64, 3590, 3601, id="a number without end"),
        pytest.param(500, "600", 0, 0, id="a status that does not ask to wait"),
        pytest.param(429, "0", 0, 0, id="no time"),
        pytest.param(429, "-5", 0, 0, id="a negative time"),
        pytest.param(429, "1e9", 0, 0, id="no number"),
        pytest.param(429, "Thu, 01 Jan 1970 00:00:00 GMT", 0, 0, id="a date in the past"),
        pytest.param(429, "Thu, 99 Foo 99999 77:00:00 GMT", 0, 0, id="no date"),
        pytest.param(429, "\x1b[31m" + "a" * 5000, 0, 0, id="rubbish"),
    ],
)
def test_a_receiver_that_asks_for_a_pause_gets_it_for_all_its_events(work, receiver, status, said, least_s, most_s):
    hook(work, receiver)
    flag(work, 2)
    receiver.answers(status, {"Retry-After": said() if callable(said) else said})
    deliver_due(work.database, SETTINGS, threads=1)
    with work.database.begin() as connection:
        query = "SELECT coalesce(extract(epoch FROM paused_until - now()), 0)::float8 FROM nightreel.webhooks"
        paused_s = connection.execute(text(query)).scalar_one()
    assert least_s <= paused_s <= most_s
    sent = len(receiver.got)
    assert sent == (1 if paused_s else 2), "the second event is not tried in the pause"
    make_due(work)
    receiver.answers(204)
    assert pass_(work) == (Delivered() if paused_s else Delivered(delivered=2))
    assert "nightreel_webhook_longest_wait_seconds 0.0" in metrics_text(SETTINGS, database=work.database)


def test_the_other_webhooks_get_their_events_in_a_pause(work, receiver):
    hook(work, receiver)
    receiver.answers(429, {"Retry-After": "600"})
    with receiving() as other:
        hook(work, other)
        flag(work)
        assert pass_(work) == Delivered(delivered=1, failed=1)
        with work.database.begin() as connection:
            connection.execute(text("UPDATE nightreel.webhooks SET paused_until = now() WHERE paused_until > now()"))
        make_due(work)
        receiver.answers(204)
        assert pass_(work) == Delivered(delivered=1), "it goes on after the pause"


def test_both_secrets_sign_until_the_old_one_ends(work, receiver):
    webhook_id = hook(work, receiver)
    old, new = receiver.secret, new_secret()
    with work.database.begin() as connection:
        rotate_secret(connection, webhook_id, new, keep_old=timedelta(hours=1))
    for receiver.secret in (old, new):
        flag(work)
        assert pass_(work) == Delivered(delivered=1)
    assert [one.is_genuine for one in receiver.got] == [True, True]
    assert len(receiver.got[0].headers["webhook-signature"].split()) == 2
    with work.database.begin() as connection:
        connection.execute(text("UPDATE nightreel.webhooks SET old_secret_until = now()"))
    flag(work)
    receiver.secret = old
    pass_(work)
    assert not receiver.got[-1].is_genuine
    with work.database.begin() as connection:
        assert connection.execute(text("SELECT old_secret FROM nightreel.webhooks")).scalar() is None, "it is not kept"


def test_a_secret_that_leaked_signs_nothing_from_now_on(work, receiver):
    webhook_id = hook(work, receiver)
    with work.database.begin() as connection:
        rotate_secret(connection, webhook_id, new_secret(), keep_old=timedelta(hours=1))
        rotate_secret(connection, webhook_id, new_secret(), keep_old=None)
        assert connection.execute(text("SELECT old_secret FROM nightreel.webhooks")).scalar() is None
    flag(work)
    pass_(work)
    assert not receiver.got[-1].is_genuine


def test_a_redirect_is_a_failure_and_is_not_followed(work, receiver):
    hook(work, receiver)
    flag(work)
    with receiving() as other:
        receiver.answers(307, {"Location": other.url})
        assert pass_(work) == Delivered(failed=1)
        assert other.got == []
    assert rows(work)[0][3] == "the receiver answered 307"


def test_what_a_receiver_says_is_neither_read_nor_kept(work, receiver):
    hook(work, receiver)
    flag(work)
    receiver.answers(400, body=b"\x1b[31m<script>" * 1_000_000)
    assert pass_(work) == Delivered(failed=1)
    assert rows(work)[0][3] == "the receiver answered 400"


def test_an_answer_that_is_no_http_is_a_failure_and_is_not_repeated(work):
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        hook(work, Receiver(url=f"http://127.0.0.1:{server.getsockname()[1]}/"))
        flag(work)

        def babble() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(65_536)
                connection.sendall(b"\x1b[31m{{ a lie }}\r\n\r\n")

        thread = threading.Thread(target=babble)
        thread.start()
        assert pass_(work) == Delivered(failed=1)
        thread.join()
    assert rows(work)[0][3] == "webhook_unreachable: 127.0.0.1 did not respond in HTTP"


def test_a_receiver_that_dribbles_is_left_at_the_deadline(work, monkeypatch):
    """A byte now and then keeps every read alive: only a deadline for all of them ends it."""
    monkeypatch.setattr(deliver, "send", lambda *a, **k: send(*a, **k, timeout_s=1.0))
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        receiver = Receiver(url=f"http://127.0.0.1:{server.getsockname()[1]}/")
        hook(work, receiver)
        flag(work)
        stop = threading.Event()

        def dribble() -> None:
            connection, _ = server.accept()
            with connection:
                connection.sendall(b"HTTP/1.1 200 OK\r\n")
                while not stop.wait(0.1):
                    try:
                        connection.sendall(b"x-more: 1\r\n")
                    except OSError:
                        return

        thread = threading.Thread(target=dribble)
        thread.start()
        began = time.monotonic()
        try:
            assert pass_(work) == Delivered(failed=1)
        finally:
            stop.set()
            thread.join()
    assert time.monotonic() - began < 5
    assert "did not respond within 1 s" in rows(work)[0][3]


def send(*arguments, **named):
    from nightreel.webhooks.sending import send as real

    return real(*arguments, **named)


def test_a_process_that_is_killed_between_request_and_record_repeats_the_event_with_its_id(
    work, receiver, database_url, tmp_path
):
    hook(work, receiver)
    flag(work)
    killed = child_environment(NIGHTREEL_DATABASE_URL=database_url, NIGHTREEL_WORK_DIR=str(tmp_path))
    command = [sys.executable, "-m", "nightreel.cli", "webhooks", "deliver"]
    with subprocess.Popen(command, env=killed, cwd=Path(__file__).parents[3]) as process:

        def kill_the_sender(_: Got) -> tuple[int, dict[str, str], bytes]:
            process.kill()
            process.wait()
            return 204, {}, b""

        receiver.answer = kill_the_sender
        assert process.wait() == -signal.SIGKILL
    assert len(receiver.got) == 1
    assert rows(work) == [("waiting", 0, None, None)]
    receiver.answers(204)
    assert pass_(work) == Delivered(delivered=1)
    assert receiver.got[0].id == receiver.got[1].id


def test_a_video_that_became_restricted_since_is_not_told(work, receiver):
    hook(work, receiver)
    with receiving() as scoped:
        hook(work, scoped, restricted=True)
        flag(work)
        move(work, NUDITY, min_mass=0.99)  # its answer is unknown now, and restricts
        done = pass_(work)
        assert receiver.got == []
        assert sorted(scoped.types) == ["flag.raised"]
    assert done == Delivered(delivered=1, dropped=1)
    assert ("dropped", 0, None, "the video is restricted") in rows(work)
    assert (None,) in rows(work, "payload"), "what must not be sent is not kept"


def test_events_pile_up_while_no_receiver_answers_and_all_arrive_later(work, unused_url):
    receiver = Receiver(url=unused_url)
    hook(work, receiver)
    flag(work, 6)
    done = pass_(work)
    assert done.failed >= 3
    assert done.delivered == 0
    assert "webhook_unreachable: 127.0.0.1" in next(error for *_, error in rows(work) if error)
    assert {row[0] for row in rows(work)} == {"waiting"}


@pytest.fixture
def unused_url() -> Iterator[str]:
    """A port that refuses connections: it is bound, and nothing listens."""
    with closing(socket.socket()) as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}/"
