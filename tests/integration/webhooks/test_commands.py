"""`nightreel webhooks`, and the receiver of docs/webhooks.md, as people use them."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from fixtures.receiver import signature
from fixtures.work import Work
from integration.webhooks.test_events import CAPTION, GUN, NUDITY, analyse_video
from sqlalchemy import text
from typer.testing import CliRunner

from nightreel.cli.app import app
from nightreel.domain import PromptSet
from nightreel.errors import SettingsError

PAGE = (Path(__file__).parents[3] / "docs" / "webhooks.md").read_text()


@pytest.fixture
def work(open_work, monkeypatch, database_url) -> Work:
    monkeypatch.setenv("NIGHTREEL_DATABASE_URL", database_url)
    return open_work(prompts=PromptSet("test", (CAPTION, GUN, NUDITY)))


def webhooks(*arguments: str, status: int = 0) -> str:
    done = CliRunner().invoke(app, ["webhooks", *arguments])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == status, done.output
    return done.stdout


def added(url: str, *options: str) -> str:
    return re.search(r"secret: (whsec_\S+)", webhooks("add", url, *options))[1]


def test_a_webhook_from_its_first_event_to_its_last(work, receiver):
    receiver.secret = added(receiver.url + "?token=T0KEN", "--prompt-set", "test", "--prompt", "gun")
    assert "answered 204" in webhooks("test", "1")
    analyse_video(work, "a.mp4", 0.9)
    assert webhooks("deliver") == "1 event delivered\n"
    assert webhooks("deliver") == "nothing was due\n"
    assert receiver.types == ["webhook.test", "flag.raised"]
    assert all(one.is_genuine for one in receiver.got)
    (row,) = json.loads(webhooks("list", "--json"))
    assert (row["delivered"], row["prompt"], row["restricted"]) == (1, "gun", False)
    listed = webhooks("list")
    assert "test, gun" in listed
    for hidden in (receiver.secret, "T0KEN"):
        assert hidden not in listed + str(row)
    webhooks("remove", "1")
    assert "no webhooks" in webhooks("list")


def test_a_secret_is_rotated_while_the_receiver_changes_to_the_new_one(work, receiver):
    old = added(receiver.url)
    new = re.search(r"secret: (whsec_\S+)", webhooks("rotate", "1", "--keep", "2d"))[1]
    assert old != new
    for receiver.secret in (old, new):
        assert "answered 204" in webhooks("test", "1")
    (row,) = json.loads(webhooks("list", "--json"))
    assert row["old_secret_until"]
    assert not {old, new} & set(map(str, row.values()))
    receiver.secret = new
    webhooks("rotate", "1", "--leaked")
    webhooks("test", "1")
    assert [one.is_genuine for one in receiver.got] == [True, True, False]
    with pytest.raises(SettingsError, match="no webhook 7"):
        webhooks("rotate", "7")
    with pytest.raises(SettingsError, match="--keep 'long'"):
        webhooks("rotate", "1", "--keep", "long")


def test_a_paused_webhook_is_listed_as_such(work, receiver):
    receiver.secret = added(receiver.url)
    receiver.answers(429, {"Retry-After": "600"})
    analyse_video(work, "a.mp4", 0.9)
    assert webhooks("deliver") == "0 events delivered, 1 will be tried again\n"
    assert "paused until 20" in webhooks("list")
    assert webhooks("retry", "1") == "0 events queued again\n"
    assert "paused" not in webhooks("list")


def test_dead_events_are_shown_and_sent_again(work, receiver, monkeypatch):
    monkeypatch.setenv("NIGHTREEL_WEBHOOK_ATTEMPTS", "1")
    receiver.secret = added(receiver.url)
    receiver.answers(500)
    assert "answered 500" in webhooks("test", "1", status=1)
    analyse_video(work, "a.mp4", 0.9)
    assert webhooks("deliver") == "0 events delivered, 1 dead\n"
    assert "the receiver answered 500" in webhooks("dead")
    (row,) = json.loads(webhooks("dead", "--json"))
    assert row["event_id"] == receiver.got[-1].id
    receiver.answers(200)
    assert webhooks("retry") == "1 event queued again\n"
    assert webhooks("deliver") == "1 event delivered\n"
    assert webhooks("dead") == "no dead deliveries\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("add", "https://example.com/", "--prompt-set", "tset"), "'tset' is no prompt set: did you mean 'test'?"),
        (("add", "https://example.com/", "--prompt", "gnu"), "'gnu' is no prompt: did you mean 'gun'?"),
        (("add", "http://example.com/"), "use https://"),
        (("remove", "7"), "there is no webhook 7: there are none"),
        (("retry", "7"), "there is no webhook 7"),
        (("test", "7"), "there is no webhook 7"),
    ],
)
def test_a_wrong_word_is_refused_with_the_right_one(work, arguments, message):
    with pytest.raises(SettingsError) as refused:
        webhooks(*arguments)
    assert message in str(refused.value)


@contextmanager
def receiver_of_the_page(secret: str, port: int):
    program = re.search(r"```python\n(.*?)```", PAGE, re.DOTALL)[1]
    assert len([line for line in program.splitlines() if line.strip()]) <= 22, "the page promises a short one"
    command = [sys.executable, "-c", program, secret, str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            end = time.monotonic() + 20
            while time.monotonic() < end:
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", port)) == 0:
                        break
                time.sleep(0.05)
            yield process
        finally:
            process.terminate()


def test_the_receiver_of_the_page_takes_genuine_events_and_no_others(work, free_port):
    port = free_port
    url = f"http://127.0.0.1:{port}/"
    secret = added(url)
    with receiver_of_the_page(secret, port) as process:
        assert "answered 204" in webhooks("test", "1")
        assert json.loads(process.stdout.readline())["type"] == "webhook.test"
        analyse_video(work, "a.mp4", 0.9)
        webhooks("deliver")
        event = json.loads(process.stdout.readline())
        assert (event["type"], event["data"]["prompt"]) == ("flag.raised", "gun")
        with work.database.begin() as connection:
            connection.execute(text("UPDATE nightreel.webhooks SET secret = 'whsec_' || repeat('QUJD', 8)"))
        assert "answered 401" in webhooks("test", "1", status=1), "signed with another secret"


def test_the_page_shows_an_event_with_the_fields_that_events_have(work, receiver):
    receiver.secret = added(receiver.url)
    analyse_video(work, "a.mp4", 0.9)
    webhooks("deliver")
    shown = json.loads(re.search(r"```json\n(.*?)```", PAGE, re.DOTALL)[1])
    event = receiver.got[0].event
    assert shown.keys() == event.keys()
    assert shown["data"].keys() == event["data"].keys()


def test_the_page_and_the_receiver_of_the_tests_sign_alike():
    """Two independent readings of the specification agree with its example."""
    example = ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330")
    assert signature(*example, b'{"test": 2432232314}') == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
