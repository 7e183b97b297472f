"""JSON as the service sends it: with an ETag, so that a client that has it already gets status 304 and no body."""

from __future__ import annotations

import hashlib
import json
import math
from typing import Any

from fastapi import Request, Response

from nightreel.stages.export import plain_value

_HEADERS = {"Cache-Control": "private, no-cache", "Vary": "Authorization", "X-Content-Type-Options": "nosniff"}
_ETAG_CHARACTERS = 32


def json_reply(request: Request, value: Any) -> Response:
    """A value as JSON. Numbers that JSON does not have (NaN, infinity) are null."""
    body = json.dumps(_finite(value), ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    etag = f'"{hashlib.sha256(body).hexdigest()[:_ETAG_CHARACTERS]}"'
    headers = {"ETag": etag} | _HEADERS
    if _matches(request.headers.get("if-none-match", ""), etag):
        return Response(status_code=304, headers=headers)
    return Response(body, media_type="application/json", headers=headers)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(name): _finite(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    plain = plain_value(value)
    return None if isinstance(plain, float) and not math.isfinite(plain) else plain


def _matches(given: str, etag: str) -> bool:
    """
    >>> _matches('W/"a", "b"', '"a"'), _matches("*", '"a"'), _matches('"b"', '"a"')
    (True, True, False)
    """
    tags = [tag.strip().removeprefix("W/") for tag in given.split(",")]
    return etag in tags or "*" in tags
