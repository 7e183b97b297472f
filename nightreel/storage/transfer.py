"""Download the bytes of one object: parallel ranges that resume after an error, into a sink, in bounded memory.

Used by `s3.py`. It knows nothing about S3: an `ObjectSource` opens ranges, and raises TransientError where a retry may
help.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from nightreel.errors import TransientError
from nightreel.reasons import Reason
from nightreel.storage.retrying import Attempts, retrying

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferOptions:
    """Parallelism, timeouts and retries of a transfer.

    Args:
        part_bytes: size of a range; smaller objects take one request.
        block_bytes: bytes of a range that are held in memory before they are written.
        parallel: ranges of one object in flight.
        stall_s: seconds without a complete block after which a range is requested again from its current position.
        reply_s: seconds from the start of a request to the end of its reply, without the bytes of an object.
        attempts: tries in a row without progress, of a request or a range, before the transfer fails.
        backoff_s: longest wait before the second try in seconds; it doubles with each try.
    """

    part_bytes: int = 16 << 20
    block_bytes: int = 1 << 20
    parallel: int = 4
    stall_s: float = 30.0
    reply_s: float = 300.0
    attempts: int = 5
    backoff_s: float = 0.5

    @property
    def progress_bytes(self) -> int:
        """A try that brings this many bytes counts as progress and resets the count of tries."""
        return min(64 << 10, self.block_bytes)

    def tries(self) -> Attempts:
        return Attempts(self.attempts, self.backoff_s)


class RangeStream(Protocol):
    """The reply to a request for a range of an object."""

    total_bytes: int

    async def read(self, size: int) -> bytes:
        """1 to `size` bytes, or none at the end."""

    def close(self) -> None: ...


class ObjectSource(Protocol):
    """One version of one object."""

    name: str

    async def open(self, start: int, stop: int) -> RangeStream:
        """Open bytes `start` to `stop` (exclusive); fewer where the object ends."""


class Sink(Protocol):
    """The destination of the bytes. Its methods run in threads; those of one range run in order."""

    def prepare(self, total_bytes: int) -> None:
        """Called once, before any write. Raises to refuse the object."""

    def write(self, offset: int, data: bytes) -> None: ...

    def completed(self, stop: int) -> None:
        """All bytes below `stop` are written. Calls come in ascending order, one at a time."""


async def download(source: ObjectSource, sink: Sink, options: TransferOptions) -> int:
    """Copy the whole object into `sink`.

    Holds about `parallel * 2 * block_bytes` in memory. Returns the object's size in bytes.

    Raises:
        TransientError: the last one, when the tries are used up.
        Any other error of the source or the sink.
    """
    first = await retrying(lambda: source.open(0, options.part_bytes), options.tries())
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
    position = counted_from = start
    tries = options.tries()
    while True:
        try:
            stream = opened or await source.open(position, stop)
            opened = None
            try:
                while position < stop:
                    size = min(options.block_bytes, stop - position)
                    block, problem = await _read_block(stream, size, source.name, options.stall_s)
                    if block:
                        await in_thread(sink.write, position, block)
                        position += len(block)
                    if problem is not None:
                        raise problem
                return
            finally:
                stream.close()
        except TransientError as error:
            if position - counted_from >= options.progress_bytes:
                tries.progressed()
                counted_from = position
            await tries.failed(error)


async def _read_block(stream: RangeStream, size: int, name: str, stall_s: float) -> tuple[bytes, TransientError | None]:
    """Read `size` bytes. After an error, return the bytes received before it, and the error."""
    chunks: list[bytes] = []
    missing = size
    problem = None
    try:
        async with asyncio.timeout(stall_s):
            while missing:
                chunk = await stream.read(missing)
                if not chunk:
                    problem = TransientError(Reason.STORAGE_UNREACHABLE, f"{name}: the reply ended too early")
                    break
                chunks.append(chunk)
                missing -= len(chunk)
    except TimeoutError:
        problem = TransientError(
            Reason.STORAGE_UNREACHABLE, f"{name}: {size:,} bytes did not arrive within {stall_s:g} s"
        )
    except TransientError as error:
        problem = error
    return b"".join(chunks), problem


async def in_thread(function: Callable[..., _T], *arguments: Any) -> _T:
    """Run `function` in a thread. A cancelled caller still waits for it: no thread may write to a closed file."""
    future = asyncio.ensure_future(asyncio.to_thread(function, *arguments))
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        await asyncio.wait([future])
        raise


async def _all_or_none(coroutines: list[Any]) -> None:
    """Run coroutines concurrently. If one fails, end the others, then raise its error."""
    tasks = [asyncio.ensure_future(coroutine) for coroutine in coroutines]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
