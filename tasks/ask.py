"""Features to answers."""

from __future__ import annotations

from nightreel.domain import AnsweredChunk, EncodedChunk
from nightreel.stages.ask import ask_chunk
from tasks.runtime import bench, task


@task("ask")
def ask(run_id: int, encoded: EncodedChunk) -> AnsweredChunk:
    return ask_chunk(bench(run_id), encoded.segments)
