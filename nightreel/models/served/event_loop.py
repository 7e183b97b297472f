"""A thread that runs coroutines, each with a deadline. `chat_endpoint` calls it.

Timeouts of HTTP libraries hold for one read or write: a server that sends a byte of its headers every second meets all
of them for ever. A coroutine can be cancelled wherever it waits: in a connect, a TLS handshake, headers or body.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import TypeVar

_T = TypeVar("_T")


class EventLoop:
    """An event loop in a thread of its own, which starts with the first call. Threads may share it."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def run(self, work: Callable[[], Awaitable[_T]], *, timeout_s: float) -> _T:
        """Run `work` and wait for its result.

        Raises:
            TimeoutError: it took longer than `timeout_s`; it is cancelled.
            Any error of `work`.
        """

        async def bounded() -> _T:
            async with asyncio.timeout(timeout_s):
                return await work()

        future = asyncio.run_coroutine_threadsafe(bounded(), self._started())
        try:
            return future.result()
        except BaseException:  # an interrupt of this thread, or an error of the work, which has ended then
            future.cancel()
            raise

    def close(self) -> None:
        """Stop the thread. Call it when no work is running."""
        with self._lock:
            if self._loop is None or self._thread is None:
                return
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop = self._thread = None

    def _started(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=_serve, args=(self._loop,), name="model-server", daemon=True)
                self._thread.start()
            return self._loop


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    loop.run_forever()
    loop.run_until_complete(_end_all())
    loop.close()


async def _end_all() -> None:
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)
    await asyncio.get_running_loop().shutdown_asyncgens()
    await asyncio.sleep(0.05)  # connections that were just closed take some more steps
