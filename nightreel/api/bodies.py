"""Bodies of requests, read within limits and after the token. FastAPI would read one before it knows who sends it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from fastapi import Depends, Request
from pydantic import BaseModel, ConfigDict, ValidationError

from nightreel.api.access import Caller
from nightreel.api.problems import Problem

_MOST_BYTES = 1 << 20
_WITHIN_S = 30


class Body(BaseModel):
    """What a request sends. An unknown key is a mistake."""

    model_config = ConfigDict(extra="forbid")


Sent = TypeVar("Sent", bound=Body)


def sent(shape: type[Sent], caller: Callable[..., Caller]) -> Callable[..., Awaitable[Sent]]:
    """A dependency: the body of a request of this caller, as this shape.

    Raises:
        Problem: 408, 413 or 422.
    """

    async def read(request: Request, _: Caller = Depends(caller)) -> Sent:  # noqa: B008 - FastAPI's way
        data = await read_body(request)
        try:
            return shape.model_validate_json(data or b"{}")
        except ValidationError as error:
            said = [f"{'.'.join(map(str, one['loc'])) or 'body'}: {one['msg']}" for one in error.errors()[:5]]
            raise Problem(422, "; ".join(said)) from error

    return read


async def read_body(request: Request) -> bytes:
    """The body of a request, within the limits.

    Raises:
        Problem: 408 or 413.
    """
    data = bytearray()
    try:
        async with asyncio.timeout(_WITHIN_S):
            async for chunk in request.stream():
                data += chunk
                if len(data) > _MOST_BYTES:
                    raise Problem(413, f"the body has more than {_MOST_BYTES:,} bytes")
    except TimeoutError as error:
        raise Problem(408, f"the body did not arrive within {_WITHIN_S} s") from error
    return bytes(data)


def described_body(shape: type[Body]) -> dict[str, Any]:
    """The body for the OpenAPI document."""
    schema = shape.model_json_schema(ref_template="#/components/schemas/{model}")
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}
