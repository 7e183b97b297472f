"""Turn features into answers."""

from __future__ import annotations

from nightreel.domain import AnsweredChunk, EncodedChunk
from nightreel.orchestration.runs import open_run_of
from nightreel.orchestration.task import task


@task("ask")
def ask(run_id: int, encoded: list[EncodedChunk]) -> AnsweredChunk:
    """Ask about one chunk: the list has one item."""
    return open_run_of(run_id).asking.ask_chunk(encoded[0].segments, encoded[0].outcomes)
