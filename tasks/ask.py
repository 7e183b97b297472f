"""Features to answers."""

from __future__ import annotations

from nightreel.domain import AnsweredChunk, EncodedChunk
from nightreel.orchestration.runtime import bench, task
from nightreel.stages.ask import ask_chunk


@task("ask")
def ask(run_id: int, encoded: EncodedChunk) -> AnsweredChunk:
    return ask_chunk(bench(run_id), encoded.segments)
