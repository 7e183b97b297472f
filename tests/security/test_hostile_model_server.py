"""A model server cannot keep a run waiting, whatever it sends and however slowly, nor fill its memory."""

from __future__ import annotations

import gzip
import resource
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress

import pytest

from nightreel.errors import NightreelError
from nightreel.models.loading import find_model
from nightreel.models.served import chat_endpoint
from nightreel.models.served.chat_endpoint import ChatEndpoint
from nightreel.settings import load_settings

TIMEOUT_S = 0.5
Behaviour = Callable[[socket.socket], None]
OK = b"HTTP/1.1 200 OK\r\n"


class Server:
    """Accepts connections, reads a request and then does what `behaves` does, until the client hangs up."""

    def __init__(self) -> None:
        self.behaves: Behaviour = lambda _: None
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            connection.settimeout(20)
            connection.recv(1 << 16)
            self.behaves(connection)

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def server() -> Iterator[Server]:
    with closing(Server()) as started:
        yield started


def drip(start: bytes, again: bytes, every_s: float = 0.05) -> Behaviour:
    """Send `start`, then `again` for ever: each read of the client succeeds in time."""

    def behave(connection: socket.socket) -> None:
        connection.sendall(start)
        while True:
            connection.sendall(again)
            time.sleep(every_s)

    return behave


def flood(start: bytes, again: bytes) -> Behaviour:
    return drip(start, again * (65536 // len(again)), 0)


def send(answer: bytes) -> Behaviour:
    return lambda connection: connection.sendall(answer)


SLOW = {
    "nothing": lambda _: time.sleep(20),
    "the status line drips": drip(b"HTTP/1.1 200 ", b"O"),
    "headers drip": drip(OK, b"X-A: b\r\n"),
    "one header drips": drip(OK + b"X-A: ", b"b"),
    "interim responses drip": drip(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "the body drips": drip(OK + b"Content-Length: 100000\r\n\r\n", b" "),
    "the body drips until the connection closes": drip(OK + b"\r\n", b" "),
    "chunks drip": drip(OK + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
    "the size of a chunk drips": drip(OK + b"Transfer-Encoding: chunked\r\n\r\n", b"0"),
    "trailers drip": drip(OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"X-A: b\r\n"),
    "an error drips": drip(b"HTTP/1.1 500 No\r\nContent-Length: 100000\r\n\r\n", b" "),
}
LARGE = {
    "headers without end": flood(OK, b"X-A: b\r\n"),
    "a header without end": flood(OK + b"X-A: ", b"b"),
    "a body without end": flood(OK + b"\r\n", b" "),
    "chunks without end": flood(OK + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
    "a body that says it is huge": flood(OK + b"Content-Length: 99999999999999\r\n\r\n", b" "),
    "an error without end": flood(b"HTTP/1.1 500 No\r\n\r\n", b" "),
    "a compressed body": send(
        OK + b"Content-Encoding: gzip\r\nConnection: close\r\n\r\n" + gzip.compress(bytes(1 << 26), compresslevel=1)
    ),
    "a body that is nested too deeply": send(OK + b"Connection: close\r\n\r\n" + b"[" * 1_000_000),
    "a redirect to itself": send(b"HTTP/1.1 302 Found\r\nLocation: /v1/models\r\nContent-Length: 0\r\n\r\n"),
}


def ask_once(url: str, timeout_s: float = TIMEOUT_S) -> tuple[NightreelError, float]:
    """The error of one request without a second try, and its seconds."""
    once = threading.Event()
    once.set()
    with closing(ChatEndpoint(url, api_key=None, timeout_s=timeout_s, patience_s=0, connections=1)) as endpoint:
        began = time.monotonic()
        with pytest.raises(NightreelError) as caught:
            endpoint.post("chat/completions", {"model": "eyes"}, stop=once)
        return caught.value, time.monotonic() - began


@pytest.mark.parametrize("behaves", SLOW.values(), ids=SLOW.keys())
def test_one_deadline_bounds_the_whole_request(server, behaves):
    server.behaves = behaves
    error, seconds = ask_once(f"http://127.0.0.1:{server.port}/v1")
    assert error.reason == "model_unreachable"
    assert "within 0.5 s" in error.detail
    assert seconds < TIMEOUT_S + 1


@pytest.mark.parametrize("records", [b"", b"\x16\x03\x03\x40\x00"], ids=["bytes", "a record"])
def test_a_tls_handshake_that_drips_ends_with_the_deadline(server, records):
    server.behaves = drip(records, b"\x16" if not records else b"\x02")
    error, seconds = ask_once(f"https://127.0.0.1:{server.port}/v1")
    assert error.reason == "model_unreachable"
    assert seconds < TIMEOUT_S + 1


@pytest.mark.parametrize("behaves", LARGE.values(), ids=LARGE.keys())
def test_a_response_of_any_size_costs_little_memory_and_time(server, behaves):
    server.behaves = behaves
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    error, seconds = ask_once(f"http://127.0.0.1:{server.port}/v1", timeout_s=3)
    assert error.reason in ("model_unreachable", "model_protocol")
    assert seconds < 4
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 << 10


def test_the_model_list_has_the_same_deadline_and_ends_after_its_tries(server, monkeypatch):
    monkeypatch.setattr(chat_endpoint, "_FIRST_WAIT_S", 0.01)
    server.behaves = SLOW["headers drip"]
    began = time.monotonic()
    with pytest.raises(NightreelError) as caught:
        find_model(load_settings(model=f"openai:http://127.0.0.1:{server.port}/v1#eyes", remote_timeout_s=0.2))
    assert caught.value.reason == "model_unreachable"
    assert time.monotonic() - began < 5 * 0.2 + 2


def test_a_request_after_a_cancelled_one_succeeds(server):
    answer = b'{"choices": []}'
    once = threading.Event()
    once.set()
    with closing(
        ChatEndpoint(
            f"http://127.0.0.1:{server.port}/v1", api_key=None, timeout_s=TIMEOUT_S, patience_s=0, connections=1
        )
    ) as endpoint:
        server.behaves = SLOW["headers drip"]
        with pytest.raises(NightreelError):
            endpoint.post("chat/completions", {}, stop=once)
        server.behaves = send(OK + b"Content-Length: %d\r\n\r\n" % len(answer) + answer)
        assert endpoint.post("chat/completions", {}, stop=once) == {"choices": []}
