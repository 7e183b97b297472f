"""Replies of S3 servers, of limited size, and readable although one object in them is not. Used by `s3_bucket.py`.

botocore reads a reply of any size into memory, and refuses a whole page of a listing for one value that is wrong.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

from aiobotocore.awsrequest import AioAWSResponse
from aiobotocore.httpsession import AIOHTTPSession
from aiobotocore.parsers import AioResponseParserFactory
from aiobotocore.session import AioSession
from botocore.parsers import ResponseParserError
from botocore.utils import parse_timestamp

UNWRITABLE = "\ufdd0"
"""Stands in a key for characters that XML cannot hold. Unicode has no character of this number."""

LARGEST_REPLY = 64 << 20
"""A page of a listing has 1000 keys of at most 1024 bytes, each of which may be encoded to six times its length."""

_NOT_IN_XML = re.compile(
    r"[\x00-\x08\x0b\x0c\x0e-\x1f\udc80-\udcff]"
    r"|&#0*(?:[0-8]|1[124-9]|2\d|3[01]);|&#[xX]0*(?:[0-8bcef]|1[0-9a-f]|d[89a-f][0-9a-f]{2}|fff[ef]);",
    re.IGNORECASE,
)

_ISO = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3})?Z\Z", re.ASCII)
"""How S3 writes a time. botocore reads it 200 times slower: 5 s in a listing of 100,000 objects."""


class BoundedSession(AIOHTTPSession):  # type: ignore[misc]
    """The HTTP client of aiobotocore. It refuses replies of more than `LARGEST_REPLY`, other than bytes of objects."""

    async def send(self, request: Any) -> AioAWSResponse:
        if not request.stream_output:
            request.stream_output = True  # else the client reads all of it at once
            response = await super().send(request)
            response._content = await _read(response.raw)
            return response
        response = await super().send(request)
        if response.status_code >= 300:  # an error, and no object
            response._content = await _read(response.raw)
        return response


async def _read(body: Any) -> bytes:
    content = bytearray()
    async for piece in body.content.iter_any():
        content += piece
        if len(content) > LARGEST_REPLY:
            body.close()
            raise ResponseParserError(f"it is larger than {LARGEST_REPLY >> 20} MiB")
    return _readable(bytes(content))


def _readable(content: bytes) -> bytes:
    """XML without characters that it cannot hold, which a server wrote in a key: parsers refuse the whole page."""
    text = content.decode("utf-8", "surrogateescape")
    return _NOT_IN_XML.sub(UNWRITABLE, text).encode() if _NOT_IN_XML.search(text) else content


def tolerant_session() -> AioSession:
    """A session whose listings survive an impossible date, and a size that is no number."""
    session = AioSession()
    factory = _TolerantParsers()
    factory.set_parser_defaults(timestamp_parser=_time_or_none)
    session.register_component("response_parser_factory", factory)
    return session


class _TolerantParsers(AioResponseParserFactory):  # type: ignore[misc]
    def create_parser(self, protocol_name: str) -> Any:
        parser = super().create_parser(protocol_name)
        if protocol_name == "rest-xml":
            read_number = parser._handle_long

            def number(shape: Any, text: Any) -> int | None:
                try:
                    return int(read_number(shape, text))
                except ValueError:
                    if shape.name == "Size":
                        return None  # which the listing skips
                    raise

            parser._handle_long = number
        return parser


def _time_or_none(value: Any) -> datetime | None:
    """A time as S3 writes it, or in another form that botocore reads. One without a time zone is in UTC."""
    try:
        time: datetime = datetime.fromisoformat(value) if _ISO.match(str(value)) else parse_timestamp(value)
        return time if time.tzinfo else time.replace(tzinfo=UTC)
    except (ValueError, OverflowError, OSError, RuntimeError):
        return None
