"""Passes of deliverers: several at the same time, fair to all webhooks, and what they leave."""

from __future__ import annotations

import threading
import time

import pytest
from fixtures.receiver import receiving
from fixtures.work import Work
from integration.webhooks.test_delivery import SETTINGS, flag, hook, pass_, rows
from integration.webhooks.test_events import GUN, NUDITY
from sqlalchemy import text

from nightreel.database.webhook_outbox import lock_next
from nightreel.domain import PromptSet
from nightreel.stages.deliver import Delivered, deliver_due, watch


@pytest.fixture
def work(open_work) -> Work:
    return open_work(prompts=PromptSet("test", (GUN, NUDITY)))


def test_two_deliverers_send_each_event_once(work, receiver):
    hook(work, receiver)
    flag(work, 40)
    ends: list[Delivered] = []
    threads = [threading.Thread(target=lambda: ends.append(pass_(work))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(end.delivered for end in ends) == 40
    assert len(receiver.got) == len({one.id for one in receiver.got}) == 40


def test_a_delivery_that_is_being_sent_is_skipped(work, receiver):
    webhook_id = hook(work, receiver)
    flag(work)
    with work.database.begin() as connection:
        assert lock_next(connection, webhook_id) is not None
        assert pass_(work) == Delivered()
    assert pass_(work) == Delivered(delivered=1)


def test_a_receiver_that_is_down_does_not_hold_up_another_one(work, receiver):
    with receiving() as down:
        hook(work, down)
        hook(work, receiver)
        flag(work, 8)
        down.answers(500)
        done = deliver_due(work.database, SETTINGS, threads=1)
        assert done == Delivered(delivered=8, failed=3)
        assert len(down.got) == 3, "after three failures in a row it is left alone"


def test_webhooks_take_turns(work, receiver):
    """One with many events does not hold up one with a few."""
    order: list[str] = []
    with receiving() as busy:
        hook(work, busy)
        flag(work, 6)
        hook(work, receiver)
        flag(work, 2)
        for name, one in (("busy", busy), ("calm", receiver)):
            one.answer = lambda _, name=name: (order.append(name) or 204, {}, b"")
        assert deliver_due(work.database, SETTINGS, threads=1) == Delivered(delivered=10)
    assert sorted(order[:4]) == ["busy", "busy", "calm", "calm"]


def test_watching_sends_events_as_they_come(work, receiver):
    hook(work, receiver)
    stop = threading.Event()
    passes: list[Delivered] = []
    arguments = {"every_s": 0.05, "on_pass": passes.append, "stop": stop}
    thread = threading.Thread(target=watch, args=(work.database, SETTINGS), kwargs=arguments)
    thread.start()
    try:
        for count in (1, 2):
            flag(work)
            end = time.monotonic() + 20
            while len(receiver.got) < count and time.monotonic() < end:
                time.sleep(0.02)
            assert len(receiver.got) == count
    finally:
        stop.set()
        thread.join()
    assert passes == [Delivered(delivered=1)] * 2


def test_old_deliveries_are_deleted_and_dead_ones_stay(work, receiver):
    hook(work, receiver)
    flag(work, 2)
    pass_(work)
    with work.database.begin() as connection:
        connection.execute(text("UPDATE nightreel.webhook_deliveries SET ended_at = now() - interval '31 days'"))
        connection.execute(
            text(
                "UPDATE nightreel.webhook_deliveries SET state = 'dead' "
                "WHERE id = (SELECT min(id) FROM nightreel.webhook_deliveries)"
            )
        )
    pass_(work)
    assert [row[0] for row in rows(work)] == ["dead"]
