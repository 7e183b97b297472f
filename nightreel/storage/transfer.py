"""Moving the bytes of one object: parallel ranges, resumed where they broke off, into a sink of bounded memory.

`s3.py` downloads through it. It knows nothing of S3: an `ObjectSource` opens ranges and says by its errors what may be
tried again (TransientError) and what not.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from nightreel.errors import TransientError

_log = logging.getLogger(__name__)
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferOptions:
    """How hard a transfer tries.

    Args:
        part_bytes: size of a range; smaller objects take one request.
        block_bytes: what one range holds in memory before it is written.
        parallel: ranges of one object in flight.
        stall_s: a range that brings no block within this time is asked for again from where it is, seconds.
        attempts: tries of a range in a row that bring next to nothing before the transfer fails.
        backoff_s: longest wait before the second try; it doubles with each.
    """

    part_bytes: int = 16 << 20
    block_bytes: int = 1 << 20
    parallel: int = 4
    stall_s: float = 30.0
    attempts: int = 5
    backoff_s: float = 0.5

    @property
    def progress_bytes(self) -> int:
        """A try that brings this much counts as progress, and the tries are counted anew."""
        return min(64 << 10, self.block_bytes)


class RangeStream(Protocol):
    """The answer to a request for a range of an object."""

    total_bytes: int

    async def read(self, size: int) -> bytes:
        """1 to `size` bytes, or none at the end."""

    def close(self) -> None: ...


class ObjectSource(Protocol):
    """One version of one object somewhere."""

    name: str

    async def open(self, start: int, stop: int) -> RangeStream:
        """Bytes `start` to `stop` (exclusive), fewer where the object ends."""


class Sink(Protocol):
    """Where the bytes go. Its methods run in threads, each range's in order."""

    def prepare(self, total_bytes: int) -> None:
        """Called once, before any write; refuses by raising."""

    def write(self, offset: int, data: bytes) -> None: ...

    def completed(self, stop: int) -> None:
        """All bytes below `stop` are written. Called in ascending order, never beside itself."""


async def download(source: ObjectSource, sink: Sink, options: TransferOptions) -> int:
    """Copy the whole object into `sink`.

    Holds about `parallel * 2 * block_bytes` in memory. Returns the object's size in bytes.

    Raises:
        TransientError: the last one when the tries are used up.
        Whatever else the source or the sink raised.
    """
    first = await _open_first(source, options)
    try:
        total = first.total_bytes
        await in_thread(sink.prepare, total)
    except BaseException:
        first.close()
        raise
    starts = list(range(0, total, options.part_bytes)) or [0]
    arrived = {start: asyncio.Event() for start in starts}
    waiting = iter(starts)

    async def work(opened: RangeStream | None) -> None:
        for start in waiting:
            stop = min(start + options.part_bytes, total)
            await _copy_range(source, sink, options, start=start, stop=stop, opened=opened)
            opened = None
            arrived[start].set()

    async def follow() -> None:
        for start in starts:
            await arrived[start].wait()
            await in_thread(sink.completed, min(start + options.part_bytes, total))

    workers = [work(first)] + [work(None) for _ in range(min(options.parallel, len(starts)) - 1)]
    await _all_or_none([*workers, follow()])
    return total


async def _copy_range(
    source: ObjectSource,
    sink: Sink,
    options: TransferOptions,
    *,
    start: int,
    stop: int,
    opened: RangeStream | None,
) -> None:
    position = start
    failures, failed_at = 0, start
    while True:
        try:
            stream = opened or await source.open(position, stop)
            opened = None
            try:
                while position < stop:
                    block, problem = await _read_block(stream, min(options.block_bytes, stop - position), options)
                    if block:
                        await in_thread(sink.write, position, block)
                        position += len(block)
                    if problem:
                        raise TransientError(
                            "storage_unreachable", f"{source.name} broke off at byte {position:,}: {problem}"
                        )
                return
            finally:
                stream.close()
        except TransientError as error:
            if error.reason != "storage_unreachable":
                raise
            if position - failed_at >= options.progress_bytes:
                failures, failed_at = 0, position
            failures += 1
            await _back_off(failures, error, options)


async def _read_block(stream: RangeStream, size: int, options: TransferOptions) -> tuple[bytes, str | None]:
    """`size` bytes, or what came before something went wrong, and what that was."""
    chunks: list[bytes] = []
    missing = size
    problem = None
    try:
        async with asyncio.timeout(options.stall_s):
            while missing:
                chunk = await stream.read(missing)
                if not chunk:
                    problem = "the answer was too short"
                    break
                chunks.append(chunk)
                missing -= len(chunk)
    except TimeoutError:
        problem = f"too little came within {options.stall_s:g} s"
    except TransientError as error:
        problem = error.detail
    return b"".join(chunks), problem


async def _open_first(source: ObjectSource, options: TransferOptions) -> RangeStream:
    failures = 0
    while True:
        try:
            return await source.open(0, options.part_bytes)
        except TransientError as error:
            if error.reason != "storage_unreachable":
                raise
            failures += 1
            await _back_off(failures, error, options)


async def _back_off(failures: int, error: TransientError, options: TransferOptions) -> None:
    """Wait, or give up with `error`. Jitter keeps ranges that failed together from coming back together."""
    if failures >= options.attempts:
        raise error
    _log.debug("try %d of %d: %s", failures + 1, options.attempts, error)
    await asyncio.sleep(options.backoff_s * 2 ** (failures - 1) * random.uniform(0.5, 1))  # noqa: S311


async def in_thread(function: Callable[..., _T], *arguments: Any) -> _T:
    """`function` in a thread. A cancelled caller still waits for it: nothing may write to a file that was closed."""
    future = asyncio.ensure_future(asyncio.to_thread(function, *arguments))
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        await asyncio.wait([future])
        raise


async def _all_or_none(coroutines: list[Any]) -> None:
    """Run them together; when one fails, end the others first and raise its error."""
    tasks = [asyncio.ensure_future(coroutine) for coroutine in coroutines]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
