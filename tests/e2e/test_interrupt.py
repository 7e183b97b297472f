"""Ctrl-C during a run: the command says at once that it is stopping, and its unfinished videos are pending again."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import time
from contextlib import suppress

import pytest
from fixtures.chat_server import ChatServer
from fixtures.hosts import one_by_one, wait_for

WITHIN_S = 2.0  # on a busy machine; the end of the work in progress takes longer
DELAY_S = 3.0


@pytest.fixture
def slow(make_pipeline, clips, chat_server: ChatServer, tmp_path):
    """A run whose model server takes seconds for an answer."""
    chat_server.delay_s = DELAY_S
    return make_pipeline(clips, **one_by_one(tmp_path, chat_server, chunk=1))


@pytest.mark.parametrize("terminal", [False, True], ids=["pipe", "terminal"])
def test_an_interrupted_run_says_at_once_that_it_is_stopping(slow, terminal):
    ours, theirs = pty.openpty() if terminal else os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-m", "nightreel.cli", "analyze", slow.source],
        env={**os.environ, **slow.environment},
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    os.set_blocking(ours, False)
    said = ""

    def read() -> str:
        nonlocal said
        with suppress(OSError):  # nothing to read now
            while piece := os.read(ours, 65536):  # a terminal gives a few kilobytes at a time
                said += piece.decode(errors="replace")
        return said

    try:
        wait_for(
            lambda: read() and slow.value("SELECT count(*) FROM nightreel.analyses WHERE status = 'claimed'"), read
        )
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        sent = time.monotonic()
        wait_for(lambda: "stopping…" in read(), read)
        assert time.monotonic() - sent < WITHIN_S
        assert process.wait(120) == 130, read()
    finally:
        process.kill()
        process.wait()
    assert "finished videos are kept" in read()
    assert "Traceback" not in said
    assert slow.value("SELECT count(*) FROM nightreel.analyses WHERE status = 'claimed'") == 0
