"""The mapping of a run: chunks of videos onto the GPU tasks encode, ask and write, a bounded number at a time.

    backlog ──▶ chunk ──▶ encode ──▶ ask ──▶ write      chunk 1
                  chunk ──▶ encode ──▶ ask ──▶ write    chunk 2: it is encoded while chunk 1 is asked

`analyze_videos` runs it. Memory stays flat whatever the number of videos.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from prefect import allow_failure, get_run_logger
from prefect.futures import PrefectFuture

from nightreel.domain import ChunkCounts, Claim
from nightreel.errors import NightreelError
from nightreel.reasons import Reason
from tasks.ask import ask
from tasks.encode import encode
from tasks.write import close_failed, write


class Chunks(Protocol):
    """Where chunks come from."""

    def next(self) -> list[Claim] | None:
        """The next chunk; None where none can be started now."""
        ...

    def put_first(self, chunks: list[list[Claim]]) -> None:
        """Start these before any other chunk."""
        ...

    def wait(self) -> bool:
        """Wait for more, with no chunk unfinished; False at the end."""
        ...


def map_chunks(run_id: int, chunks: Chunks, *, at_once: int) -> Iterator[ChunkCounts]:
    """Map chunks onto encode, ask and write, with at most `at_once` chunks unfinished.

    Yields:
        The counts of each chunk, in the order in which the chunks were started.

    Raises:
        NightreelError: what failed the chunk would fail any other: database, cache, model.
    """
    window: deque[_Submitted] = deque()
    while True:
        while len(window) < at_once and (claims := chunks.next()):
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
        """Wait until the chunk is encoded: the segments of its videos that belong to another chunk."""
        self.encoded.wait()
        return self.encoded.result().rest if self.encoded.state.is_completed() else ()


def _submit(run_id: int, claims: list[Claim], *, after: _Submitted | None) -> _Submitted:
    """Submit a chunk's tasks. Chunks are written in order, so that a long video is not closed before its middle."""
    encoded: Any = encode.submit(run_id, claims)  # a future stands for its value, which Prefect's types do not say
    answered: Any = ask.submit(run_id, encoded)
    before = [allow_failure(after.written)] if after else None
    written: Any = write.submit(run_id, claims, encoded, answered, wait_for=before, return_state=False)
    return _Submitted(claims, encoded, answered, written)


def _settle(run_id: int, chunk: _Submitted) -> tuple[ChunkCounts, list[list[Claim]]]:
    """Wait for a chunk: its counts, and the chunks to try in its place."""
    futures = (chunk.encoded, chunk.answered, chunk.written)
    for future in futures:
        future.wait()
    failed = next((future.state for future in futures if not future.state.is_completed()), None)
    if failed is None:
        return chunk.written.result(), []
    error = failed.result(raise_on_failure=False)
    if isinstance(error, NightreelError):
        raise error
    get_run_logger().error("a chunk of %d videos failed: %r", len(chunk.claims), error)
    if len(chunk.claims) > 1:  # each on its own, to find the one that fails it
        return ChunkCounts(), [[claim] for claim in chunk.claims]
    detail = f"{type(error).__name__}: {error}"
    return close_failed(run_id, chunk.claims, Reason.INTERNAL_ERROR, detail, transient=False), []
