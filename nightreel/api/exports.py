"""Whole views as files: CSV, JSON Lines or Parquet, sent while Postgres still reads.

An error in the middle breaks the connection off, so a client never takes a part for the whole.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Generator, Iterator, Sequence
from contextlib import ExitStack
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from fastapi.responses import StreamingResponse
from sqlalchemy import Connection
from starlette.concurrency import run_in_threadpool

from nightreel.api.access import Caller, needs
from nightreel.api.problems import busy, described
from nightreel.api.reading import reading
from nightreel.api.rows import Columns, Filters, Under, find_view, parse_filters
from nightreel.api.service import EXPORTS_AT_ONCE, Service, service_of
from nightreel.database.view_rows import Column, chosen_columns, read_rows, view_columns
from nightreel.domain.tokens import Scope
from nightreel.stages.export import Format, export_chunks

_TYPES = {
    Format.CSV: "text/csv; charset=utf-8",
    Format.JSONL: "application/jsonl",
    Format.PARQUET: "application/vnd.apache.parquet",
}


Rows = Callable[[Connection], tuple[Iterator[Sequence[Any]], Sequence[Column]]]
"""Batches of rows, and their columns."""


def add_exports(router: APIRouter) -> None:
    """Add the route."""
    router.add_api_route(
        "/exports/{view}",
        _export,
        response_class=Response,
        operation_id="export_view",
        responses={
            200: {"description": "The file", "content": {kind: {} for kind in _TYPES.values()}},
            **described(400, 401, 403, 404, 422, 429),
        },
    )


def _export(
    request: Request,
    caller: Annotated[Caller, Depends(needs(Scope.EXPORT))],
    view: Annotated[str, Path(max_length=100, description="a path of /views, such as answers")],
    form: Annotated[Format, Query(alias="format")] = Format.CSV,
    filters: Filters = None,
    columns: Columns = None,
    under: Under = None,
) -> Response:
    """All rows of a view as one file."""
    service, conditions = service_of(request), parse_filters(filters)

    def rows(connection: Connection) -> tuple[Iterator[Sequence[Any]], Sequence[Column]]:
        name = find_view(connection, view)
        chosen = chosen_columns(columns, view_columns(connection, name))
        found = read_rows(connection, name, chosen, filters=conditions, under=under, restricted=caller.restricted)
        return found, chosen

    return export_reply(service, rows, name=view, form=form, restricted=caller.restricted)


def export_reply(service: Service, rows: Rows, *, name: str, form: Format, restricted: bool) -> Response:
    """Rows as a file that is sent while Postgres still reads.

    Args:
        rows: gives, in a transaction, batches of rows and their columns.
        name: of the file, without an ending.
        restricted: the caller may see restricted videos.

    Raises:
        Problem: 429 if others run. NightreelError: as `rows`, before the first byte.
    """
    if not service.exports.acquire(blocking=False):
        raise busy(f"{EXPORTS_AT_ONCE} exports are running: wait for one to end", retry_after_s=30)
    chunks = _chunks(service, rows, form=form, restricted=restricted)
    try:
        first = next(chunks)  # so that a wrong filter has a status
    except BaseException:
        chunks.close()
        raise
    headers = {
        "Content-Disposition": f'attachment; filename="{name}.{form}"',
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
    }
    return StreamingResponse(_sent(first, chunks), media_type=_TYPES[form], headers=headers)


def _chunks(service: Service, rows: Rows, *, form: Format, restricted: bool) -> Generator[bytes, None, None]:
    """The bytes of the file. Holds a connection, and one of the places for exports, until it ends or is closed."""
    with ExitStack() as stack:
        stack.callback(service.exports.release)
        connection = stack.enter_context(reading(service.database, restricted=restricted))
        batches, columns = rows(connection)
        yield from export_chunks(batches, columns, form)


async def _sent(first: bytes, chunks: Generator[bytes, None, None]) -> AsyncIterator[bytes]:
    try:
        yield first
        while (chunk := await run_in_threadpool(next, chunks, None)) is not None:
            yield chunk
    finally:
        chunks.close()
