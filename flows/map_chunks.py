"""Map the chunks of a run onto the tasks encode, ask and write, a bounded number of chunks at a time.

    backlog ──▶ chunk ──▶ encode ──▶ ask ──▶ write      chunk 1
                  chunk ──▶ encode ──▶ ask ──▶ write    chunk 2: encode runs while chunk 1 is in ask

`analyze_videos` uses it. Memory stays flat for any number of videos.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from prefect import allow_failure, get_run_logger
from prefect.futures import PrefectFuture

from nightreel.domain import ChunkCounts, Claim
from nightreel.domain.run_health import AfterError, after_chunk_error
from nightreel.reasons import Reason
from tasks.ask import ask
from tasks.encode import encode
from tasks.write import close_failed, write


class Chunks(Protocol):
    """Where chunks come from."""

    def next(self, *, busy: bool) -> list[Claim] | None:
        """The next chunk; None if none can start now.

        Args:
            busy: other chunks are unfinished. Then no claim of the next chunk is `alone`.
        """
        ...

    def put_first(self, chunks: list[list[Claim]]) -> None:
        """Start these chunks before any other."""
        ...

    def wait(self) -> bool:
        """Wait for more chunks. Called when none is unfinished. Returns False if no more will come."""
        ...


def map_chunks(run_id: int, chunks: Chunks, *, in_flight: int) -> Iterator[ChunkCounts]:
    """Map chunks onto encode, ask and write, with at most `in_flight` chunks unfinished.

    A claim that is `alone` is mapped when no other chunk is unfinished, and no chunk starts before it is written.

    Yields:
        The counts of each chunk, in the order in which the chunks started.

    Raises:
        NightreelError: the chunk failed for a reason that fails every chunk: database, cache, model.
    """
    window: deque[_Submitted] = deque()
    while True:
        while _has_room(window, in_flight) and (claims := chunks.next(busy=bool(window))):
            window.append(_submit(run_id, claims, after=window[-1] if window else None))
            chunks.put_first([[claim] for claim in window[-1].wait_for_rest()])
        if window:
            counts, again = _settle(run_id, window.popleft())
            chunks.put_first(again)
            yield counts
        elif not chunks.wait():
            return


@dataclass(frozen=True)
class _Submitted:
    """A chunk and its tasks."""

    claims: list[Claim]
    encoded: PrefectFuture[Any]
    answered: PrefectFuture[Any]
    written: PrefectFuture[ChunkCounts]

    def wait_for_rest(self) -> tuple[Claim, ...]:
        """Wait until the chunk is encoded. Returns claims for the rest of its videos, which other chunks take."""
        self.encoded.wait()
        return self.encoded.result().rest if self.encoded.state.is_completed() else ()


def _has_room(window: deque[_Submitted], in_flight: int) -> bool:
    return len(window) < in_flight and not any(claim.alone for chunk in window for claim in chunk.claims)


def _submit(run_id: int, claims: list[Claim], *, after: _Submitted | None) -> _Submitted:
    """Submit a chunk's tasks. Chunks are written in order, so that a long video is not closed before its middle."""
    # Tasks take futures for their values; Prefect's types do not allow it. The futures are in lists: for each bare one,
    # Prefect asks its server for a state, which takes a minute if the server is gone.
    encoded: Any = encode.submit(run_id, claims)
    answered: Any = ask.submit(run_id, [encoded])
    before = [allow_failure(after.written)] if after else None
    written: Any = write.submit(run_id, claims, [encoded], [answered], wait_for=before, return_state=False)
    return _Submitted(claims, encoded, answered, written)


def _settle(run_id: int, chunk: _Submitted) -> tuple[ChunkCounts, list[list[Claim]]]:
    """Wait for a chunk. Returns its counts, and the chunks that go on with its videos, or try them again."""
    futures = (chunk.encoded, chunk.answered, chunk.written)
    for future in futures:
        future.wait()
    failed = next((future.state for future in futures if not future.state.is_completed()), None)
    if failed is None:
        counts = chunk.written.result()
        return counts, [list(counts.unfinished)] if counts.unfinished else []
    error: Any = failed.result(raise_on_failure=False)
    after = after_chunk_error(error, videos=len(chunk.claims))
    if after is AfterError.END_RUN:
        raise error
    if after is AfterError.KEEP_CLAIMS:
        get_run_logger().info("a chunk of %d videos was not analysed: %s", len(chunk.claims), error.detail)
        return ChunkCounts(), []
    get_run_logger().error("a chunk of %d videos failed: %r", len(chunk.claims), error)
    if after is AfterError.TRY_EACH_ALONE:
        return ChunkCounts(), [[claim] for claim in chunk.claims]
    if after is AfterError.GIVE_BACK:
        return close_failed(run_id, chunk.claims, error.reason, error.detail, transient=True), []
    detail = f"{type(error).__name__}: {error}"
    return close_failed(run_id, chunk.claims, Reason.INTERNAL_ERROR, detail, transient=False), []
