"""HTTP to an OpenAI-compatible server: a JSON object comes back, or an error that says whose fault it is.

    tried again, with backoff     no connection, timeouts, 408, 425, 429, 5xx, a body that is cut short
    not tried again               any other status, a body that is too large

`served` and `remote` call it. It knows nothing of models and prompts. What the server says is untrusted: bounded,
stripped of what terminals obey, and of the key.
"""

from __future__ import annotations

import json
import logging
import random
import threading
import time
from dataclasses import dataclass
from typing import Any

import httpx
from pydantic import SecretStr

from nightreel.errors import PermanentError, SettingsError, TransientError
from nightreel.reasons import Reason

logger = logging.getLogger(__name__)

_ATTEMPTS = 5
_FIRST_WAIT_S = 0.5  # doubles with each failure
_LONGEST_WAIT_S = 60.0  # a server that wants more patience than this is down
_CONNECT_TIMEOUT_S = 10.0
_MAX_ANSWER_BYTES = 4 * 2**20  # 20 candidates for each of 100 tokens are a tenth of it
_MAX_SAID = 300
_TRANSIENT_STATUS = frozenset((408, 425, 429))


@dataclass(frozen=True, slots=True)
class _RetryableFailure:
    """Why a try failed that is worth another; `wait_s` is what the server asked for."""

    detail: str
    wait_s: float = 0.0


class ChatEndpoint:
    """One server. Threads may share it.

    Args:
        url: the root of its API, such as http://127.0.0.1:8000/v1, without credentials.
        api_key: sent as a bearer token.
        timeout_s: for one answer.
        connections: open at once at most.

    Raises:
        SettingsError: the key cannot be sent in a header, or the URL is none.
    """

    def __init__(self, url: str, *, api_key: SecretStr | None, timeout_s: float, connections: int) -> None:
        self.url = url
        self._key = api_key.get_secret_value() if api_key else ""
        if not (self._key.isascii() and self._key.isprintable()):
            raise SettingsError("NIGHTREEL_REMOTE_API_KEY=***: a key has printable ASCII characters alone")
        self._timeout_s = timeout_s
        self._dead = False
        # unpacked answers could be a thousand times larger than what was sent
        headers = {"Accept-Encoding": "identity", "Content-Type": "application/json"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        try:
            httpx.URL(url)
            self._client = httpx.Client(
                headers=headers,
                timeout=httpx.Timeout(timeout_s, connect=min(timeout_s, _CONNECT_TIMEOUT_S)),
                limits=httpx.Limits(max_connections=connections, max_keepalive_connections=connections),
                follow_redirects=False,
            )
        except (httpx.InvalidURL, ValueError) as error:  # of the server, or of a proxy in the environment
            raise SettingsError(f"NIGHTREEL_MODEL: {url!r} cannot be reached as it is written: {error}") from error

    def close(self) -> None:
        self._client.close()

    def get(self, path: str) -> dict[str, Any]:
        """As `post`, of a resource."""
        return self._request("GET", path, None, threading.Event())

    def post(self, path: str, body: dict[str, Any], *, stop: threading.Event) -> dict[str, Any]:
        """Send a JSON object and read the one that comes back.

        Args:
            path: below the root, such as chat/completions.
            stop: once set, failures are not waited for any more.

        Raises:
            TransientError: `model_unreachable` after the last try.
            PermanentError: `model_refused` with what the server said of this very request. `model_not_found` and
                `model_protocol`, which hold for every request: there is no such thing, or it speaks another language.
            SettingsError: it wants another key.
        """
        return self._request("POST", path, json.dumps(body).encode(), stop)

    def _request(self, method: str, path: str, body: bytes | None, stop: threading.Event) -> dict[str, Any]:
        attempt = 0
        while True:
            attempt += 1
            outcome = self._try(method, f"{self.url}/{path}", body)
            if not isinstance(outcome, _RetryableFailure):
                self._dead = False
                return outcome
            wait_s = max(outcome.wait_s, _FIRST_WAIT_S * 2 ** (attempt - 1) * random.uniform(0.5, 1))  # noqa: S311
            # Many requests fail together when a server dies: only the first ones are patient.
            self._dead = self._dead or attempt == _ATTEMPTS or wait_s > _LONGEST_WAIT_S
            if self._dead or stop.wait(wait_s):
                raise TransientError(
                    Reason.MODEL_UNREACHABLE,
                    f"{self.url}: {outcome.detail} (try {attempt}): is the server of NIGHTREEL_MODEL up, and not "
                    "overloaded?",
                )
            logger.debug("try %d of %d: %s", attempt + 1, _ATTEMPTS, outcome.detail)

    def _try(self, method: str, url: str, body: bytes | None) -> dict[str, Any] | _RetryableFailure:
        try:
            with self._client.stream(method, url, content=body) as response:
                content = self._read(response)
        except httpx.TimeoutException:
            return _RetryableFailure(f"no answer within {self._timeout_s:g} s")
        except httpx.TransportError as error:
            return _RetryableFailure(self._tame(str(error) or type(error).__name__))
        if isinstance(content, _RetryableFailure):
            return content
        status = response.status_code
        if status >= 500 or status in _TRANSIENT_STATUS:
            said = self._said(content)
            return _RetryableFailure(
                f"status {status}: {said}", _retry_after_s(response.headers.get("Retry-After", ""))
            )
        if status != 200:
            raise self._refusal(status, self._said(content))
        try:
            answer = json.loads(content, parse_constant=_no_number)
        except (ValueError, RecursionError) as error:
            return _RetryableFailure(
                f"its answer is no JSON ({error}): {self._tame(content.decode(errors='replace'))!r}"
            )
        if not isinstance(answer, dict):
            raise PermanentError(
                Reason.MODEL_PROTOCOL, f"{self.url}: expected a JSON object, got {self._tame(repr(answer))}"
            )
        return answer

    def _refusal(self, status: int, said: str) -> PermanentError:
        detail = f"{self.url}: status {status}: {said}"
        if status in (401, 403):
            return SettingsError(f"{detail}: set NIGHTREEL_REMOTE_API_KEY to a key that this server takes")
        if status == 404:
            return PermanentError(Reason.MODEL_NOT_FOUND, f"{detail}: check NIGHTREEL_MODEL")
        if status >= 400:
            return PermanentError(Reason.MODEL_REFUSED, detail)
        return PermanentError(
            Reason.MODEL_PROTOCOL, f"{detail}: expected status 200; set NIGHTREEL_MODEL to where it leads"
        )

    def _read(self, response: httpx.Response) -> bytes | _RetryableFailure:
        """The body as it came over the wire, within the time and the size that one answer may take."""
        encoding = response.headers.get("Content-Encoding", "identity")
        if encoding != "identity":
            raise PermanentError(
                Reason.MODEL_PROTOCOL, f"{self.url}: sent {self._tame(encoding)!r} content though it was asked for none"
            )
        deadline = time.monotonic() + self._timeout_s
        content = bytearray()
        for piece in response.iter_raw():
            content += piece
            if len(content) > _MAX_ANSWER_BYTES:
                raise PermanentError(
                    Reason.MODEL_PROTOCOL, f"{self.url}: an answer of more than {_MAX_ANSWER_BYTES >> 20} MiB"
                )
            if time.monotonic() > deadline:
                return _RetryableFailure(f"no whole answer within {self._timeout_s:g} s")
        return bytes(content)

    def _said(self, content: bytes) -> str:
        """The message in an error's body, whichever of the usual shapes it has."""
        try:
            message = json.loads(content)
        except (ValueError, RecursionError):
            message = content.decode(errors="replace")
        for key in ("error", "message", "detail"):
            if isinstance(message, dict) and message.get(key):
                message = message[key]
        return self._tame(message if isinstance(message, str) else json.dumps(message)) or "no message"

    def _tame(self, text: str) -> str:
        """Untrusted text for a log: short, printable, and without the key should the server repeat it."""
        if self._key:
            text = text.replace(self._key, "***")
        shown = "".join(character if character.isprintable() else " " for character in text[: 2 * _MAX_SAID]).strip()
        return shown if len(shown) <= _MAX_SAID else f"{shown[:_MAX_SAID]}..."


def _retry_after_s(value: str) -> float:
    """Seconds of a Retry-After header; a date or nonsense counts as none.

    >>> _retry_after_s("2"), _retry_after_s("Wed, 21 Oct 2026 07:28:00 GMT"), _retry_after_s("-1")
    (2.0, 0.0, 0.0)
    """
    return float(value) if value.isascii() and value.isdigit() else 0.0


def _no_number(constant: str) -> float:
    """NaN and the infinities are no JSON, and no probability."""
    raise ValueError(f"it holds {constant}")
