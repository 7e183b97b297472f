"""A run waits for a model server that restarts, and finds a dead one in seconds."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from typing import Any

import pytest
from fixtures.chat_server import ChatServer, Response, failure, said
from fixtures.vllm_like import VllmLike

from nightreel.domain import FrameBatch, Prompt, PromptKind, Segment
from nightreel.errors import NightreelError, SettingsError, TransientError
from nightreel.models.loading import describe_model, load_model
from nightreel.models.served import chat_endpoint, health
from nightreel.models.served.chat_endpoint import ChatEndpoint
from nightreel.settings import load_settings

_GOOD = said("yes", top={"yes": -0.1, "no": -2.4})


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat_endpoint, "_FIRST_WAIT_S", 0.01)
    monkeypatch.setattr(chat_endpoint, "_LONGEST_POLL_S", 0.05)
    monkeypatch.setattr(health, "_EVERY_S", 0.1)
    monkeypatch.setattr(health, "_TIMEOUT_S", 0.2)


def endpoint(url: str, *, patience_s: float) -> Any:
    return closing(ChatEndpoint(url, api_key=None, timeout_s=30, patience_s=patience_s, connections=2))


def post(to: ChatEndpoint) -> dict[str, Any]:
    return to.post("chat/completions", {"messages": [{"content": "Hello"}]}, stop=threading.Event())


def test_a_run_that_starts_before_its_server_waits_for_it(free_port: int, caplog: pytest.LogCaptureFixture) -> None:
    server: list[ChatServer] = []
    starting = threading.Timer(1.0, lambda: server.append(ChatServer(port=free_port)))
    starting.start()
    try:
        spec = describe_model(load_settings(model=f"openai:http://127.0.0.1:{free_port}/v1#eyes"))
    finally:
        starting.join()
        server[0].close()
    assert spec.name == "eyes"
    lines = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert len(lines) == 2
    assert f"127.0.0.1:{free_port}/v1 does not respond" in lines[0]
    assert "waiting up to NIGHTREEL_REMOTE_PATIENCE_S=600 s" in lines[0]
    assert "responds again, after" in lines[1]


@pytest.mark.parametrize("status", [502, 503])
def test_a_server_that_restarts_is_awaited_longer_than_failures_are_retried(
    chat_server: ChatServer, status: int
) -> None:
    chat_server.plan.extend([failure(status, "loading the model")] * 20)
    chat_server.answer = lambda _: _GOOD
    with endpoint(chat_server.url, patience_s=30) as to:
        assert "choices" in post(to)
    assert len(chat_server.requests) == 21


def test_threads_wait_together_and_one_line_says_so(chat_server: ChatServer, caplog: pytest.LogCaptureFixture) -> None:
    until = time.monotonic() + 0.5
    chat_server.answer = lambda _: _GOOD if time.monotonic() > until else failure(503)
    with endpoint(chat_server.url, patience_s=30) as to:
        threads = [threading.Thread(target=post, args=(to,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sum("does not respond" in record.message for record in caplog.records) == 1
    assert sum("responds again" in record.message for record in caplog.records) == 1


def test_patience_ends_as_the_setting_says_and_once_for_all_requests(chat_server: ChatServer) -> None:
    chat_server.answer = lambda _: failure(503, "loading the model")
    with endpoint(chat_server.url, patience_s=1) as to:
        for most_s in (3, 0.5):
            began_s = time.monotonic()
            with pytest.raises(TransientError, match="status 503: loading the model") as caught:
                post(to)
            assert caught.value.reason == "model_unreachable"
            assert time.monotonic() - began_s < most_s


def test_without_patience_a_missing_server_is_refused_soon(free_port: int) -> None:
    began_s = time.monotonic()
    with pytest.raises(TransientError, match="model_unreachable"):
        describe_model(load_settings(model=f"openai:http://127.0.0.1:{free_port}/v1#eyes", remote_patience_s=0))
    assert time.monotonic() - began_s < 2


def test_a_wait_ends_when_the_work_is_given_up(chat_server: ChatServer) -> None:
    chat_server.answer = lambda _: failure(503)
    stop = threading.Event()
    threading.Timer(0.3, stop.set).start()
    began_s = time.monotonic()
    with endpoint(chat_server.url, patience_s=600) as to, pytest.raises(TransientError):
        to.post("chat/completions", {"messages": [{"content": "Hello"}]}, stop=stop)
    assert time.monotonic() - began_s < 5


# -- requests in flight ------------------------------------------------------------------------------------------


def test_a_request_is_not_cancelled_while_the_server_is_healthy(chat_server: ChatServer) -> None:
    chat_server.delay_s = 1.0
    chat_server.answer = lambda _: _GOOD
    with endpoint(chat_server.url, patience_s=0) as to:
        assert "choices" in post(to)
    assert len(chat_server.requests) == 1


def test_a_request_to_a_server_whose_engine_died_ends_in_seconds(chat_server: ChatServer) -> None:
    chat_server.answer = lambda _: Response(_GOOD.body, sent_bytes=10, then="stall")
    chat_server.answer_other = lambda path, _: failure(503, "engine dead") if path == "/health" else failure(404)
    began_s = time.monotonic()
    with endpoint(chat_server.url, patience_s=0) as to, pytest.raises(TransientError, match="it died while it worked"):
        post(to)
    assert time.monotonic() - began_s < 5


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A host that accepts connections and never responds."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        accepted: list[socket.socket] = []

        def accept() -> None:
            with suppress(OSError):
                while True:
                    accepted.append(server.accept()[0])

        threading.Thread(target=accept, daemon=True).start()
        yield server.getsockname()[1]
        for connection in accepted:
            connection.close()


def test_a_request_to_a_silent_host_ends_after_some_checks(silent_port: int) -> None:
    began_s = time.monotonic()
    with (
        endpoint(f"http://127.0.0.1:{silent_port}/v1", patience_s=0) as to,
        pytest.raises(TransientError, match="in 3 checks"),
    ):
        post(to)
    assert time.monotonic() - began_s < 10


# -- refusals ----------------------------------------------------------------------------------------------------

_YES = Prompt.of(name="red", kind=PromptKind.YES_NO, text="Is it red?")


@contextmanager
def asking(chat_server: ChatServer, segments: int) -> Iterator[Callable[[], Any]]:
    """A call that asks a model about this many segments."""
    with closing(load_model(load_settings(model=chat_server.setting, remote_patience_s=0))) as model:
        batches = [FrameBatch.blank(6, height=64, width=64, level=10 * level) for level in range(segments)]
        features = model.encode(batches, segments=[Segment(0, 0.0, 6.0)] * segments, keys=["k"] * segments)
        yield lambda: model.ask(features, [[_YES]] * segments)


def test_a_limit_that_every_video_would_meet_ends_the_run(chat_server: ChatServer, vllm_like: VllmLike) -> None:
    with asking(chat_server, 1) as ask:
        vllm_like.context = 30  # restarted with other limits
        with pytest.raises(SettingsError, match="refuses grey frames, too") as caught:
            ask()
    assert "exceeds model's maximum context length (30)" in str(caught.value)


def test_a_video_whose_content_is_refused_fails_alone(chat_server: ChatServer, vllm_like: VllmLike) -> None:
    with asking(chat_server, 2) as ask:
        chat_server.answer = lambda _: failure(400, "the content filter refused this")
        with pytest.raises(NightreelError) as caught:
            ask()
    assert caught.value.reason == "model_refused"
