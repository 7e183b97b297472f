"""Hostile requests to the REST service: each gets an answer, none is an error of the service or shows a row more.

schemathesis makes requests from the OpenAPI document, as it allows and as it does not. Hostile texts go through
each parameter that takes a text, and as conditions through filters.
"""

from __future__ import annotations

import itertools
import time

import httpx
import pytest
import requests
import schemathesis
from fixtures.work_rest import Rest
from hypothesis import HealthCheck, Phase, given, settings
from requests.exceptions import ChunkedEncodingError
from schemathesis import GenerationMode
from sqlalchemy import text

from nightreel.domain.tokens import Scope, token_sha256

_EXAMPLES = 12  # of a route and a mode: 23 routes in two modes take less than a minute

INJECTED = [
    "' OR '1'='1",
    "'; DROP TABLE nightreel.videos; --",
    "') OR restricted --",
    "1) OR 1=1 --",
    "x' UNION SELECT sha256::text FROM nightreel.tokens --",
    "$$; DELETE FROM nightreel.tokens; $$",
    "\\'; SELECT pg_sleep(5); --",
    "%(value_0)s",
    ":value_0 :under :after_0",
    "%s %d %n %%",
    "{0} {video_id} ${jndi:ldap://mallory}",
    'a" OR "b',
    "/* */ -- #",
    "nightreel.restricted = 'on'",
    "../../../../etc/passwd",
    "..%2f..%2fetc%2fpasswd",
    "file:///etc/passwd",
    "<script>alert(1)</script>",
    "\r\nSet-Cookie: x=1",
    "=HYPERLINK(1)",
    "NaN",
    "Infinity",
    "-1e309",
    "9" * 400,
    "\x00",
    "\x1b[31m",
    "\u202e\u2066\ufeff",
    "日本語 \U0001f4a9",
    "e\u0301" * 300,
    "a" * 999,
    "[" * 500,
    "null",
    "true",
    "0001-01-01 BC",
]
WRAPPED = [
    "{}",
    "prompt={}",
    "video_id={}",
    "severity>={}",
    "judged_at<{}",
    "uri!={}",
    "{}=1",
    "restricted={}",
    "needs_review={}",
]
HOSTILE = [wrapping.replace("{}", one) for wrapping, one in itertools.product(WRAPPED, INJECTED)]


@pytest.fixture
def counted(rest: Rest):
    """The number of videos, answers and tables, which nothing may change."""

    def counts() -> tuple[int, ...]:
        with rest.owner.begin() as connection:
            return tuple(
                connection.execute(
                    text(
                        "SELECT (SELECT count(*) FROM nightreel.videos), (SELECT count(*) FROM nightreel.answers), "
                        "(SELECT count(*) FROM nightreel.tokens), "
                        "(SELECT count(*) FROM pg_class WHERE relnamespace = 'nightreel'::regnamespace)"
                    )
                ).one()
            )

    return counts


def test_hostile_texts_are_values_or_are_refused(rest: Rest, counted):
    assert len(HOSTILE) >= 300
    token = rest.token(*(set(Scope) - {Scope.RESTRICTED}))
    secret, before = token_sha256(token).hex(), counted()
    with httpx.Client(headers={"Authorization": f"Bearer {token}"}, timeout=30) as client:
        for hostile in HOSTILE:
            began = time.monotonic()
            replies = [
                client.get(f"{rest.url}/flags", params={"filter": hostile}),
                client.get(f"{rest.url}/exports/flags", params={"filter": hostile, "format": "jsonl"}),
            ]
            if hostile in INJECTED:
                replies += [
                    client.get(f"{rest.url}/flags", params={"columns": hostile}),
                    client.get(f"{rest.url}/videos", params={"under": hostile}),
                    client.get(f"{rest.url}/videos", params={"after": hostile}),
                    client.get(f"{rest.url}/search", params={"q": hostile, "prompt": hostile, "under": hostile}),
                    client.get(f"{rest.url}/search", params={"q": "street", "verdict": hostile, "after": hostile}),
                    client.get(httpx.URL(f"{rest.url}/exports/").copy_with(raw_path=_path(rest, hostile))),
                ]
            assert time.monotonic() - began < 5, hostile
            for reply in replies:
                assert reply.status_code in (200, 400, 404, 422), (hostile, reply.url, reply.text[:300])
                assert "bloody" not in reply.text, hostile
                assert "set-cookie" not in reply.headers
                assert secret not in reply.text, hostile
    assert counted() == before


def _path(rest: Rest, hostile: str) -> bytes:
    path = httpx.URL(f"{rest.url}/exports/").raw_path
    return path + b"".join(f"%{byte:02x}".encode() for byte in hostile.encode())


@pytest.mark.timeout(600)
def test_no_request_that_schemathesis_makes_is_an_error_of_the_service(rest: Rest, counted, caplog):
    token = rest.token(*Scope)
    before = counted()
    schema = schemathesis.openapi.from_url(f"{rest.url}/openapi.json")
    base_url = rest.url.removesuffix("/api/v1")
    tried = 0
    for found in schema.get_all_operations():
        for mode in GenerationMode:

            @settings(
                max_examples=_EXAMPLES,
                phases=[Phase.generate],
                database=None,
                suppress_health_check=list(HealthCheck),
                derandomize=True,
            )
            @given(case=found.ok().as_strategy(generation_mode=mode))
            def send(case):
                nonlocal tried
                tried += 1
                try:
                    reply = case.call(base_url=base_url, headers={"Authorization": f"Bearer {token}"}, timeout=60)
                except (requests.ConnectionError, ChunkedEncodingError):
                    # The server closes the connection after its answer, which the client may then no longer read.
                    assert "Invalid HTTP request received." in caplog.messages, case.as_curl_command()
                    return
                finally:
                    caplog.clear()
                assert reply.status_code < 500, (case.as_curl_command(), reply.text)

            send()
    assert tried > 300
    assert counted() == before
