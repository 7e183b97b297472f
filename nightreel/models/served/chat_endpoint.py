"""HTTP requests to an OpenAI-compatible server: each returns a JSON object or raises an error.

    awaited, with patience    no connection, 502, 503, a server that dies while it works on a request: it restarts
    retried, with backoff     timeouts, 408, 425, 429, other 5xx, a truncated body
    not retried               any other status, a body that is too large, a name of the server that does not exist

`identity` and `remote` call it. It does not depend on models and prompts. Responses are untrusted: their size is
limited, one deadline bounds connection, headers and body together, and terminal control characters and the key are
removed from messages.
"""

from __future__ import annotations

import json
import logging
import socket
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from pydantic import SecretStr

from nightreel.backoff import backoff_s
from nightreel.errors import PermanentError, SettingsError, TransientError
from nightreel.models.served.event_loop import EventLoop
from nightreel.models.served.health import Health, ServerDownError
from nightreel.models.served.outages import Outage
from nightreel.models.served.transport import resolution_error, transport_to
from nightreel.proxies import via_proxy
from nightreel.reasons import Reason

logger = logging.getLogger(__name__)

CHAT = "chat/completions"

_ATTEMPTS = 5
_FIRST_WAIT_S = 0.5  # doubles with each failure
_LONGEST_WAIT_S = 60.0  # a server that asks for a longer wait counts as down
_CONNECT_TIMEOUT_S = 10.0
_MAX_ANSWER_BYTES = 4 * 2**20  # 20 candidates for each of 100 tokens need a tenth of it
_MAX_SAID = 300
_TRANSIENT_STATUS = frozenset((408, 425, 429))
_RESTARTING_STATUS = frozenset((502, 503))
_LONGEST_POLL_S = 5.0  # between requests to a server that restarts
_NOT_KNOWN = frozenset((404, 405, 500, 501))  # to a trial
_UNKNOWN_NAME = (socket.EAI_NONAME, socket.EAI_NODATA)  # any other error is of the name server
_UNRESOLVED_ATTEMPTS = 2  # before the first answer


@dataclass(frozen=True, slots=True)
class _RetryableFailure:
    """Why an attempt failed that may be retried.

    Args:
        wait_s: the wait that the server asked for. attempts: most attempts.
        is_up: the server answers, but not as the protocol says: if it does so each time, it is not unreachable.
        restarts: the server may be restarting.
    """

    detail: str
    wait_s: float = 0.0
    attempts: int = _ATTEMPTS
    is_up: bool = False
    restarts: bool = False


class ChatEndpoint:
    """One server. Threads may share it.

    Args:
        url: the root of its API, such as http://127.0.0.1:8000/v1, without credentials.
        api_key: sent as a bearer token.
        timeout_s: from the start of a request to the end of its response.
        patience_s: how long to wait for a server that restarts. patience_setting: the variable that sets it.
        connections: maximum number of open connections.
        socket_path: a Unix socket that the server listens on; None: the host and port of the URL.

    Raises:
        SettingsError: the key cannot be sent in a header, or the URL is invalid.
    """

    def __init__(
        self,
        url: str,
        *,
        api_key: SecretStr | None,
        timeout_s: float,
        patience_s: float,
        patience_setting: str = "NIGHTREEL_REMOTE_PATIENCE_S",
        connections: int,
        socket_path: Path | None = None,
    ) -> None:
        self.url = url
        self._place = url + via_proxy(url) if socket_path is None else str(socket_path)
        self._key = api_key.get_secret_value() if api_key else ""
        if not (self._key.isascii() and self._key.isprintable()):
            raise SettingsError("NIGHTREEL_REMOTE_API_KEY=***: expected only printable ASCII characters")
        self._timeout_s = timeout_s
        self._loop = EventLoop()
        self._outage = Outage(self._place, patience_s=patience_s, setting=patience_setting)
        self._dead = False
        self._answered = False
        # a compressed response could grow a thousandfold when unpacked
        headers = {"Accept-Encoding": "identity", "Content-Type": "application/json"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        try:
            httpx.URL(url)
            connections += 1  # for checks of its health
            limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections)
            self._client = httpx.AsyncClient(
                transport=transport_to(url, socket_path, limits),
                headers=headers,
                timeout=httpx.Timeout(None, connect=_CONNECT_TIMEOUT_S),  # the deadline bounds everything else
                limits=limits,
                follow_redirects=False,
            )
        except (httpx.InvalidURL, ValueError, ImportError) as error:  # of the server, or of a proxy
            raise SettingsError(
                f"NIGHTREEL_MODEL: {url!r}{via_proxy(url)}: the URL of the server or of the proxy is not valid: {error}"
            ) from error

        self._health = Health(self._client, f"{url.removesuffix('/v1')}/health")

    def close(self) -> None:
        with suppress(TimeoutError):
            self._loop.run(self._client.aclose, timeout_s=_CONNECT_TIMEOUT_S)
        self._loop.close()

    def get(self, path: str, *, is_trial: bool = False) -> dict[str, Any]:
        """Get a resource. Arguments and errors as `post`."""
        return self._request("GET", path, None, threading.Event(), is_trial)

    def post(self, path: str, body: dict[str, Any], *, stop: threading.Event, is_trial: bool = False) -> dict[str, Any]:
        """Send a JSON object and return the JSON object of the response.

        Args:
            path: below the root of the API, such as chat/completions; with a slash in front, of the server.
            stop: once set, failed requests are not retried.
            is_trial: the server may not know what is asked: any error of a client, and status 500 and 501, are then
                `model_refused`, without a retry.

        Raises:
            TransientError: `model_unreachable` after the last attempt.
            PermanentError: `model_refused` with the server's message about this request. `model_not_found` or
                `model_protocol` if every request would fail: the resource does not exist, or the server does not
                follow the protocol.
            SettingsError: the server does not accept the key, or its name does not exist.
        """
        return self._request("POST", path, json.dumps(body).encode(), stop, is_trial)

    def _request(
        self, method: str, path: str, body: bytes | None, stop: threading.Event, is_trial: bool
    ) -> dict[str, Any]:
        url = f"{self.url.removesuffix('/v1')}{path}" if path.startswith("/") else f"{self.url}/{path}"
        attempt = 0
        while True:
            attempt += 1
            began = time.monotonic()
            outcome = self._try(method, url, body, is_trial)
            if not isinstance(outcome, _RetryableFailure):
                self._dead, self._answered = False, True
                self._outage.end()
                return outcome
            can_wait = outcome.restarts and outcome.wait_s <= _LONGEST_WAIT_S
            if can_wait and (left_s := self._outage.left_s(outcome.detail, began=began)):
                poll_s = max(outcome.wait_s, backoff_s(attempt, first_s=_FIRST_WAIT_S, most_s=_LONGEST_POLL_S))
                if not stop.wait(min(left_s, poll_s)):
                    continue
            wait_s = max(outcome.wait_s, backoff_s(attempt, first_s=_FIRST_WAIT_S))
            if outcome.is_up and attempt == _ATTEMPTS:
                raise PermanentError(Reason.MODEL_PROTOCOL, f"{self.url}: {outcome.detail} (attempt {attempt})")
            # Many requests fail together when a server dies: only the first ones wait for all retries.
            self._dead = self._dead or attempt >= outcome.attempts or wait_s > _LONGEST_WAIT_S
            if self._dead or stop.wait(wait_s):
                raise TransientError(
                    Reason.MODEL_UNREACHABLE,
                    f"{self._place}: {outcome.detail} (attempt {attempt}): check that the server of NIGHTREEL_MODEL is "
                    "up and not overloaded",
                )
            logger.debug("attempt %d of %d: %s", attempt + 1, _ATTEMPTS, outcome.detail)

    def _try(self, method: str, url: str, body: bytes | None, is_trial: bool) -> dict[str, Any] | _RetryableFailure:
        try:
            response, content = self._loop.run(
                lambda: self._health.watch(lambda: self._send(method, url, body)), timeout_s=self._timeout_s
            )
        except TimeoutError:
            return _RetryableFailure(f"no complete response within {self._timeout_s:g} s")
        except ServerDownError as error:
            return _RetryableFailure(f"it died while it worked on a request: {self._tame(str(error))}", restarts=True)
        except httpx.ConnectTimeout:
            return _RetryableFailure(f"no connection within {_CONNECT_TIMEOUT_S:g} s", restarts=True)
        except httpx.TransportError as error:
            unresolved = None if self._answered else resolution_error(error)
            if unresolved and unresolved.errno in _UNKNOWN_NAME:
                raise SettingsError(
                    f"NIGHTREEL_MODEL: the name {httpx.URL(self.url).host!r} of the model server does not resolve "
                    f"({self._tame(str(error))}): correct the name, or use the address of the server"
                ) from error
            said = self._tame(str(error) or type(error).__name__)
            if unresolved:
                return _RetryableFailure(said, attempts=_UNRESOLVED_ATTEMPTS)
            return _RetryableFailure(said, restarts=isinstance(error, httpx.ConnectError))
        status = response.status_code
        if is_trial and status in _NOT_KNOWN:
            raise PermanentError(Reason.MODEL_REFUSED, f"{self._place}: status {status}: {self._said(content)}")
        if status >= 500 or status in _TRANSIENT_STATUS:
            said = self._said(content)
            wait_s = _retry_after_s(response.headers.get("Retry-After", ""))
            return _RetryableFailure(f"status {status}: {said}", wait_s, restarts=status in _RESTARTING_STATUS)
        if status != 200:
            raise self._refusal(status, self._said(content))
        try:
            answer = json.loads(content, parse_constant=_no_number)
        except (ValueError, RecursionError) as error:
            return _RetryableFailure(
                f"the response is not JSON ({error}): {self._tame(content.decode(errors='replace'))!r}",
                is_up=isinstance(error, _NotFiniteError),
            )
        if not isinstance(answer, dict):
            raise PermanentError(
                Reason.MODEL_PROTOCOL, f"{self._place}: expected a JSON object, got {self._tame(repr(answer))}"
            )
        return answer

    def _refusal(self, status: int, said: str) -> PermanentError:
        detail = f"{self._place}: status {status}: {said}"
        if status in (401, 403):
            return SettingsError(f"{detail}: set NIGHTREEL_REMOTE_API_KEY to a key that this server accepts")
        if status == 404:
            return PermanentError(Reason.MODEL_NOT_FOUND, f"{detail}: check NIGHTREEL_MODEL")
        if status >= 400:
            return PermanentError(Reason.MODEL_REFUSED, detail)
        return PermanentError(
            Reason.MODEL_PROTOCOL, f"{detail}: expected status 200; set NIGHTREEL_MODEL to the final URL"
        )

    async def _send(self, method: str, url: str, body: bytes | None) -> tuple[httpx.Response, bytes]:
        async with self._client.stream(method, url, content=body) as response:
            return response, await self._read(response)

    async def _read(self, response: httpx.Response) -> bytes:
        """The raw body, within the limit of size for one response."""
        encoding = response.headers.get("Content-Encoding", "identity")
        if encoding != "identity":
            raise PermanentError(
                Reason.MODEL_PROTOCOL, f"{self._place}: expected unencoded content, got {self._tame(encoding)!r}"
            )
        content = bytearray()
        async for piece in response.aiter_raw():
            content += piece
            if len(content) > _MAX_ANSWER_BYTES:
                raise PermanentError(
                    Reason.MODEL_PROTOCOL, f"{self._place}: the response is larger than {_MAX_ANSWER_BYTES >> 20} MiB"
                )
        return bytes(content)

    def _said(self, content: bytes) -> str:
        """The message in the body of an error response, in any of the usual shapes."""
        try:
            message = json.loads(content)
        except (ValueError, RecursionError):
            message = content.decode(errors="replace")
        for key in ("error", "message", "detail"):
            if isinstance(message, dict) and message.get(key):
                message = message[key]
        return self._tame(message if isinstance(message, str) else json.dumps(message)) or "no message"

    def _tame(self, text: str) -> str:
        """Untrusted text made safe for a log: short, printable, and without the key in case the server repeats it."""
        if self._key:
            text = text.replace(self._key, "***")
        shown = "".join(character if character.isprintable() else " " for character in text[: 2 * _MAX_SAID]).strip()
        return shown if len(shown) <= _MAX_SAID else f"{shown[:_MAX_SAID]}..."


class _NotFiniteError(ValueError):
    """JSON with NaN or an infinity, which the model gives for one prompt again and again."""


def _retry_after_s(value: str) -> float:
    """Seconds of a Retry-After header; 0 for a date or an invalid value.

    >>> _retry_after_s("2"), _retry_after_s("Wed, 21 Oct 2026 07:28:00 GMT"), _retry_after_s("-1")
    (2.0, 0.0, 0.0)
    """
    return float(value) if value.isascii() and value.isdigit() else 0.0


def _no_number(constant: str) -> float:
    """Refuse NaN and infinities: they are neither valid JSON nor probabilities."""
    raise _NotFiniteError(f"it contains {constant}")
